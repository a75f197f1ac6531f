"""The values of KIS's JSON fields: every one a string, perhaps blank or padded, read with its meaning. Pure.

docs/kis.md#rest-envelope: numbers can be blank or padded; a change has a sign code of its own and sometimes the
sign in the number as well.
"""

from datetime import date
from typing import Final

import msgspec

from observer.base.errors import MalformedError
from observer.base.text import NAME_LENGTH_MAX, plain_text
from observer.brokers.kis.times import midnight_ns, moment_ns, parse_date

MAGNITUDE_MAX: Final = 1e18  # beyond the worth of any market in any currency; sums and products of such stay finite
HUNDRED_MILLION: Final = 1e8  # 억: KIS's unit of capitalisations and net assets
_YEAR_MIN: Final = 1900  # before any exchange's records; keeps arithmetic on days within the calendar
_plain_number: Final = msgspec.json.Decoder(float).decode  # a fifth of the time of `float`, without padding
_FALLING: Final = ("4", "5")  # sign codes: 1 limit up, 2 up, 3 flat, 4 limit down, 5 down


def text(field: str) -> str:
    """A text without the blanks around it and without control characters.

    Raises:
        MalformedError: it is longer than any name.
    """
    if len(field) > NAME_LENGTH_MAX:
        raise MalformedError(f"{_shown(field)} has {len(field):,} letters")
    return plain_text(field).strip()


def amount(text: str) -> float:
    """A number with or without sign, padding and leading zeros; blank is zero.

    Raises:
        MalformedError: it is none, or none that a market can bring about.
    """
    try:
        value = _plain_number(text)
    except (msgspec.DecodeError, UnicodeError):
        value = _padded_number(text)
    if not abs(value) <= MAGNITUDE_MAX:
        raise _no_number(text)
    return value


def number(text: str) -> float | None:
    """A number that may be zero, a rate for example; None when blank.

    Raises:
        MalformedError: see `amount`.
    """
    return amount(text) if text.strip() else None


def price(text: str) -> float | None:
    """A price or another figure that is never zero: KIS writes 0 or blank where there is none.

    Raises:
        MalformedError: see `amount`.
    """
    return amount(text) or None


def whole(text: str) -> int | None:
    """A whole number that is never zero, as `price`; the fraction that KIS may write after it is zero.

    Raises:
        MalformedError: it has a fraction, or see `amount`.
    """
    value = amount(text)
    if not value.is_integer():
        raise MalformedError(f"{_shown(text)} is not a whole number")
    return int(value) or None


def hundred_millions(text: str) -> float | None:
    """An amount that KIS states in hundred million won, in won; None as for `price`.

    Raises:
        MalformedError: see `amount`.
    """
    return amount(text) * HUNDRED_MILLION or None


def signed(text: str, sign_code: str) -> float:
    """A change whose direction is in its sign code, or in the number, or in both; blank is zero.

    Raises:
        MalformedError: see `amount`.
    """
    value = amount(text)
    return -abs(value) if sign_code.strip() in _FALLING else value


def change(text: str, sign_code: str) -> float | None:
    """As `signed`; None when blank.

    Raises:
        MalformedError: see `amount`.
    """
    return signed(text, sign_code) if text.strip() else None


def base_price(close: str, change: str, sign_code: str) -> float | None:
    """What a day's close is compared with: the close without its change; None when no change is given.

    Raises:
        MalformedError: see `amount`.
    """
    return amount(close) - signed(change, sign_code) if change.strip() else None


def yes(text: str) -> bool:
    """Whether a flag says Y; blank, N and whatever else a host may write mean no."""
    return text.strip() == "Y"


def yes_or_no(text: str) -> bool:
    """A flag on which much depends.

    Raises:
        MalformedError: neither Y nor N.
    """
    if text.strip() not in ("Y", "N"):
        raise MalformedError(f"{_shown(text)} is neither Y nor N")
    return yes(text)


def day(text: str) -> date | None:
    """A date YYYYMMDD; None when blank or all zeros.

    Raises:
        MalformedError: it is no date.
    """
    stripped = text.strip()
    if not stripped.strip("0"):
        return None
    try:
        found = parse_date(stripped)
    except ValueError as error:
        raise MalformedError(str(error)) from error
    if found.year < _YEAR_MIN:
        raise MalformedError(f"{_shown(text)} is no day of a market")
    return found


def certain_day(text: str) -> date:
    """A date YYYYMMDD that must be there.

    Raises:
        MalformedError: it is none.
    """
    found = day(text)
    if found is None:
        raise MalformedError("a date is missing")
    return found


def read_moment(date_text: str, hour_text: str | None = None) -> int:
    """UTC nanoseconds of a row's date, and time where it has one.

    Raises:
        MalformedError: they are not a date or a time.
    """
    try:
        if hour_text is None:
            return midnight_ns(date_text.strip())
        return moment_ns(date_text.strip(), hour_text.strip())
    except ValueError as error:
        raise MalformedError(str(error)) from error


def _padded_number(text: str) -> float:
    stripped = text.strip()
    if not stripped:
        return 0.0
    try:
        value = float(stripped)
    except ValueError as error:
        raise _no_number(text) from error
    # Python reads more than KIS can mean: 1_000, digits of other scripts. (nan is no number that compares.)
    if "_" in stripped or not stripped.isascii():
        raise _no_number(text)
    return value


def _no_number(text: str) -> MalformedError:
    return MalformedError(f"{_shown(text)} is not a number")


def _shown(text: str) -> str:
    """A text as an error shows it: never a page of it."""
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
