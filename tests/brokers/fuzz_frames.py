"""Mutated frames through the stream's decoders: each frame gives only messages, events or a quarantine entry.

    python -m tests.brokers.fuzz_frames --count 1000000 [--seed 1]

prints what came out and the memory at the start (after a warm-up) and at the end. A failure names its frame.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from random import Random

import msgspec
import psutil

from bus.codec import decode_events, pack, unpack
from bus.events import ExpectedPrice, MarketStateChanged
from observer.brokers.dialect import Data, Unreadable
from observer.brokers.kis.session import KisSession
from tests.brokers.kis_builders import PINGPONG, frame, reply
from tests.brokers.kis_records import LAYOUTS, fields_of

RECEIVED_NS = 1_795_136_401_000_000_000  # 2026-11-20 10:00:01 KST
WARM_UP = 20_000
ODD_TEXTS = (
    *("", " ", "0", "-1", "+1", "007", "nan", "inf", "-inf", "1e309", "1e-400", "1_000", "0x10", "9" * 400, "9" * 5000),
    *("9223372036854775808", "1.5", "２", "\0", "\ud800", "|", "^", "0|H0STCNT0|001|", "true", "null", '"7"', "[1]"),
    *("Y", "240000", "235960", "00000000", "20261399", "x" * 300),
)


def seeds() -> list[str]:
    """Sound frames of every kind of record, in several widths and numbers, and every control message."""
    data = []
    for transaction, (documented, _) in LAYOUTS.items():
        for appended in (0, 1, 4):
            one = fields_of(transaction, width=documented + appended)
            data += [frame(*[one] * records, transaction=transaction) for records in (1, 2, 4)]
    codes = ("OPSP0000", "OPSP0001", "OPSP0002", "OPSP0003", "OPSP0007", "OPSP0008", "OPSP0011", "OPSP8991", "OPSP8996")
    data.append(frame(["7"] * 26, transaction="HDFSCNT0"))
    data.append(frame(fields_of("H0STCNT0"), encrypted="1"))
    return data + [reply(code, text="WHY") for code in codes] * 3 + [PINGPONG] * 3


def mutated(text: str, rng: Random) -> str | bytes:
    """The text with one to three things wrong."""
    for _ in range(rng.randint(1, 3)):
        text = _mutated_once(text, rng)
    content = text.encode("utf-8", "surrogatepass")
    match rng.randrange(8):
        case 0:  # as text, as other clients would have it
            return text
        case 1:
            indices = [rng.randrange(len(content)) for _ in range(3)] if content else []
            changed = bytearray(content)
            for index in indices:
                changed[index] = rng.randrange(256)
            return bytes(changed)
    return content


def _mutated_once(text: str, rng: Random) -> str:
    fields = text.split("^")
    index, at = rng.randrange(len(fields)), rng.randrange(len(text) + 1)
    match rng.randrange(8):
        case 0:
            return text[:at]
        case 1:
            return text[at:]
        case 2:
            fields[index] = rng.choice(ODD_TEXTS)
        case 3:
            del fields[index]
        case 4:
            fields.insert(index, fields[rng.randrange(len(fields))])
        case 5:
            other = rng.randrange(len(fields))
            fields[index], fields[other] = fields[other], fields[index]
        case 6:
            return text[:at] + rng.choice(ODD_TEXTS) + text[at + rng.randrange(4) :]
        case 7:
            header, bar, payload = text.rpartition("|")
            return f"{header[:-3]}{rng.choice(('000', '002', '999', '-01', 'abc', ''))}{bar}{payload}"
    return "^".join(fields)


def fuzz(count: int, seed: int) -> Iterator[str]:
    """Yield the kind of result of each mutated frame.

    Raises:
        AssertionError: an exception escaped, or the bus cannot carry a result; names the frame.
    """
    rng, session, sound = Random(seed), KisSession("the-approval-key"), seeds()
    for number in range(count):
        content = mutated(rng.choice(sound), rng)
        try:
            yield _outcome(session, content)
        except Exception as error:
            raise AssertionError(f"seed {seed}, frame {number}: {content!r}") from error


def _outcome(session: KisSession, content: str | bytes) -> str:
    message = session.read(content)
    if not isinstance(message, Data):
        assert not isinstance(message, Unreadable) or message.reason
        return type(message).__name__
    parsed = session.parse(message, RECEIVED_NS)
    assert not parsed.trades or all(isinstance(fact, MarketStateChanged | ExpectedPrice) for fact in parsed.facts)
    events = [*parsed.trades, *parsed.facts]
    if parsed.broken is None:
        is_auction = b"|H0STANC0|" in message.frame or b"|H0NXANC0|" in message.frame or b"CNT0|" in message.frame
        assert events or b"^Y^" in message.frame or is_auction, (
            "a sound frame holds something, but for a known flag or no cross"
        )
        outcome = "read"
    else:
        assert parsed.broken.content == message.frame
        assert parsed.broken.reason
        events.append(parsed.broken)
        outcome = "quarantined, records kept" if events[1:] else "quarantined"
    assert not events or decode_events(unpack(pack("aa" * 16, 1, events))) == events
    return outcome


def main() -> None:
    """Fuzz with the command line's options and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    process, outcomes = psutil.Process(), Counter[str]()
    rss_bytes: list[int] = []
    for number, outcome in enumerate(fuzz(options.count, options.seed)):
        if number % max(1, options.count // 10) == 0 or number == min(WARM_UP, options.count - 1):
            rss_bytes.append(process.memory_info().rss)
        outcomes[outcome] += 1
    rss_bytes.append(process.memory_info().rss)
    reported = {
        "count": options.count,
        "outcomes": dict(outcomes.most_common()),
        "rss_mb": [b / 1e6 for b in rss_bytes],
    }
    sys.stdout.write(f"{msgspec.json.format(msgspec.json.encode(reported)).decode()}\n")


if __name__ == "__main__":
    main()
