"""Text from outside, made fit to show and to store: no control characters, a bounded length, no secrets.

`conceal` takes a secret once, when it is read or received: from then on `without_secrets` blanks it out wherever it
stands, whole or half, plain or encoded.
"""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from unicodedata import category
from urllib.parse import quote

CONCEALED: Final = "***"
SECRET_LENGTH_MIN: Final = 8  # shorter ones would redact ordinary words
_HALF_LENGTH_MIN: Final = 12  # half of a short secret may be an ordinary word, too

NAME_LENGTH_MAX: Final = 1_000  # letters of a name or of a text in a record; real ones have some dozen
SHOWN_BYTES_MAX: Final = 2_048  # of an alert, of a line in a log
SAID_BYTES_MAX: Final = 1_024  # of what an error quotes; an alert has words of its own around it
_COUNTED_BYTES: Final = 40  # "... (1,234,567 bytes more)"

# Controls, signs that change the direction of text or are not seen, lone surrogates, ends of lines and paragraphs.
_REMOVED: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BLANKS: Final = frozenset("\t\n\v\f\r\x85\u2028\u2029")


def plain_text(text: str) -> str:
    """The text without control characters and without signs that change its direction; ends of lines become blanks."""
    if text.isprintable():
        return text
    blanked = (" " if letter in _BLANKS else letter for letter in text)
    return "".join(letter for letter in blanked if category(letter) not in _REMOVED)


def plain_lines(text: str) -> str:
    """As `plain_text`, of each line."""
    return text if text.isprintable() else "\n".join(map(plain_text, text.split("\n")))


def cut(text: str, bytes_max: int = SHOWN_BYTES_MAX, beyond: int = 0) -> str:
    """The text, or its beginning and the number of bytes that are missing; at most `bytes_max` bytes in all. `beyond`
    is the number of bytes that the caller has left out at the end already: they count as missing.
    """
    if len(text) * 4 <= bytes_max and not beyond:
        return text
    content = text.encode("utf-8", "backslashreplace")
    if len(content) <= bytes_max and not beyond:
        return text
    head = content[: bytes_max - _COUNTED_BYTES].decode("utf-8", "ignore")
    return f"{head}... ({len(content) - len(head.encode()) + beyond:,} bytes more)"


def shown(text: str, bytes_max: int = SHOWN_BYTES_MAX) -> str:
    """The text as an alert or an error may show it: on one line, without secrets, cut. What lies far behind the cut is
    counted and not looked at.
    """
    return _fitted(text, bytes_max, plain_text)


def shown_lines(text: str, bytes_max: int = SHOWN_BYTES_MAX) -> str:
    """As `shown`, with its lines."""
    return _fitted(text, bytes_max, plain_lines)


def _fitted(text: str, bytes_max: int, plain: Callable[[str], str]) -> str:
    head, rest = text[: 4 * bytes_max], text[4 * bytes_max :]
    # First plain: signs that are not seen, within a secret, would hide it from the search and then be taken out.
    return cut(without_secrets(plain(head)), bytes_max, len(rest.encode("utf-8", "backslashreplace")))


# --- secrets -------------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    """A secret in one encoding. Each part of it of at least `shortest` letters contains one of the `blocks`."""

    text: str
    shortest: int
    blocks: tuple[tuple[int, str], ...]


_forms: Final[dict[str, _Form]] = {}


def conceal(secret: str) -> None:
    """Blank out this text in every later alert, error and log line of this process."""
    if len(secret) >= SECRET_LENGTH_MIN:
        _forms.update({text: _form(text) for text in _encoded(secret) if text not in _forms})


def without_secrets(text: str) -> str:
    """The text with every concealed secret blanked out: whole or at least half of it, as it is or encoded."""
    spans = sorted(span for form in _forms.values() for span in _spans(text, form))
    if not spans:
        return text
    parts: list[str] = []
    reached = 0
    for begin, end in spans:
        if begin >= reached:
            parts += [text[reached:begin], CONCEALED]
        reached = max(reached, end)
    return "".join([*parts, text[reached:]])


def _encoded(secret: str) -> set[str]:
    """The secret as it is, in URLs, in JSON, in hexadecimal digits, and within base64 at each of the three offsets."""
    content = secret.encode("utf-8", "surrogatepass")
    in_url = quote(content, safe="")
    forms = {secret, in_url, in_url.lower(), secret.replace("/", "\\/"), content.hex(), content.hex().upper()}
    for offset in range(3):
        within = slice(-(-4 * offset // 3), 4 * (offset + len(content)) // 3)  # what the bytes around it do not change
        forms |= {encode(bytes(offset) + content).decode()[within] for encode in (b64encode, urlsafe_b64encode)}
    return forms


def _form(text: str) -> _Form:
    shortest = min(len(text), max(_HALF_LENGTH_MIN, (len(text) + 1) // 2))
    length = (shortest + 1) // 2
    starts = range(0, len(text) - length + 1, length)
    return _Form(text, shortest, tuple((start, text[start : start + length]) for start in starts))


def _spans(text: str, form: _Form) -> Iterator[tuple[int, int]]:
    """Where the text repeats a part of the form that is long enough."""
    for start, block in form.blocks:
        begin = text.find(block)
        while begin >= 0:
            end, first, last = begin + len(block), start, start + len(block)
            found = begin
            while found and first and text[found - 1] == form.text[first - 1]:
                found, first = found - 1, first - 1
            while end < len(text) and last < len(form.text) and text[end] == form.text[last]:
                end, last = end + 1, last + 1
            if end - found >= form.shortest:
                yield found, end
            begin = text.find(block, begin + 1)


def csv_cell(text: str) -> str:
    """The text as a cell: a spreadsheet reads one that begins with =, +, - or @ as a formula, so ' stands before it."""
    plain = plain_text(text)
    return f"'{plain}" if plain.lstrip().startswith(("=", "+", "-", "@")) else plain
