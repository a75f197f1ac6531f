"""Mutated bodies of every KIS call: whatever comes, an answer is a noun or one of our errors.

    python -m tests.providers.fuzz_bodies --count 200000 --seed 1

prints what the bodies came to and how much memory the process had at the start and the end. A body that makes anything
else happen stops it, with the seed and the number that make that body again.
"""

import argparse
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import NamedTuple

import msgspec
import psutil

from observer.errors import ProviderError
from observer.providers.http import decode
from observer.providers.kis import calls, issued
from observer.providers.kis.envelope import classify
from tests.providers.kis_contract import CONTRACTS, answer_of, encoded

NOW_NS = 1_790_000_000_000_000_000
WARM_UP = 2_000  # bodies before memory is first looked at: caches and allocators are filled then
TOKEN = {"access_token": "t", "token_type": "Bearer", "expires_in": 86400}
TOKEN_ENDS = {"access_token_token_expired": "2026-11-21 08:01:00"}

ODD_TEXTS = [
    "",
    " ",
    "0",
    "-0",
    "+7",
    "00012",
    "-12.50",
    "1e3",
    "1e400",
    "nan",
    "-inf",
    "1_000",
    "1,000",
    "٣",
    "Y",
    "20260230",
]
ODD_TEXTS += [
    "00000000",
    "99991231",
    "00010101",
    "240000",
    "000000",
    "9" * 5_000,
    "0x10",
    "\0",
    "\ud800",
    "삼성전자",
    "." * 300,
]
ODD_VALUES = [None, True, False, 0, -1, 2**63, 10**400, 1.5, [], {}, [[]], [None], {"": ""}, [{}], ["x"], *ODD_TEXTS]


class Target(NamedTuple):
    """One call: a well-formed body, and all that is done with one."""

    name: str
    answer: dict[str, object]
    read: Callable[[bytes], object]


def targets() -> list[Target]:
    """Every call of the table."""
    reading = [Target(contract.call.name, answer_of(contract.call), reader(contract)) for contract in CONTRACTS]
    token = Target("issue_token", {**TOKEN, **TOKEN_ENDS}, read_token)
    return [*reading, token, Target("issue_approval_key", {"approval_key": "k"}, read_approval)]


def reader(contract) -> Callable[[bytes], object]:
    return lambda content: contract.read(decode(content, contract.call.body_type, contract.call.name))


def read_token(content: bytes) -> object:
    return issued.issued_token(decode(content, calls.TOKEN.body_type, "issue_token"), NOW_NS)


def read_approval(content: bytes) -> object:
    return issued.issued_approval_key(decode(content, calls.APPROVAL.body_type, "issue_approval_key"))


# --- mutations -----------------------------------------------------------------------------------------------


def places_in(value: object) -> Iterator[tuple[dict | list, str | int]]:
    """Every place of a JSON value that holds another one."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places_in(value[key])


def with_odd_values(answer: dict[str, object], chance: Random) -> bytes:
    """Other types, absurd numbers, lone surrogates and impossible dates in some of the places."""
    changed = json.loads(json.dumps(answer))
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        holder, key = chance.choice(list(places_in(changed)))
        holder[key] = deepcopy(chance.choice(ODD_VALUES))
    return as_json(changed, chance)


def without_places(answer: dict[str, object], chance: Random) -> bytes:
    changed = json.loads(json.dumps(answer))
    holder, key = chance.choice(list(places_in(changed)))
    del holder[key]
    return as_json(changed, chance)


def as_json(value: object, chance: Random) -> bytes:
    """JSON text: escaped, or as it is, where a lone surrogate makes bytes that are no UTF-8."""
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def nested(answer: dict[str, object], chance: Random) -> bytes:
    """A place with brackets to a depth at which a parser that recurses gives up, closed again or not."""
    depth = chance.choice([10, 500, 2_000, 20_000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    deep = opening * depth + b"1" + closing * (depth if chance.random() < 0.5 else 0)
    return encoded({**answer, "output": "HERE", "extra": "HERE"}).replace(b'"HERE"', deep, chance.choice([1, 2]))


def with_flipped_bytes(answer: dict[str, object], chance: Random) -> bytes:
    content = bytearray(encoded(answer))
    for _ in range(chance.choice([1, 2, 16])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def truncated(answer: dict[str, object], chance: Random) -> bytes:
    content = encoded(answer)
    return content[: chance.randrange(len(content))]


def spliced(answer: dict[str, object], chance: Random) -> bytes:
    """A piece of the body once more somewhere in it."""
    content = encoded(answer)
    first, last, place = (chance.randrange(len(content)) for _ in range(3))
    return content[:place] + content[min(first, last) : max(first, last)] + content[place:]


MUTATIONS = [with_odd_values, with_odd_values, without_places, nested, with_flipped_bytes, truncated, spliced]


# --- the run -------------------------------------------------------------------------------------------------


def outcome_of(target: Target, content: bytes, status: int) -> str:
    """What a body comes to on the way that every answer takes.

    Raises:
        Exception: anything but our own errors, which is what is looked for.
    """
    try:
        refusal = classify(status, content)
        if refusal is not None:
            return type(refusal).__name__
        msgspec.msgpack.encode(target.read(content))  # whatever was read can travel
    except ProviderError as error:
        return type(error).__name__ if str(error).encode() else "nothing said"  # and whatever is said be written
    return "read"


def fuzzed(count: int, seed: int) -> tuple[Counter[str], list[int]]:
    """What `count` bodies came to, and the resident memory in bytes after the warm-up and at the end."""
    chance, aims, counts, memory_bytes = Random(seed), targets(), Counter(), []
    process = psutil.Process()
    for number in range(count):
        if number == min(WARM_UP, count - 1):
            gc.collect()
            memory_bytes.append(process.memory_info().rss)
        target, mutate = chance.choice(aims), chance.choice(MUTATIONS)
        content, status = mutate(target.answer, chance), chance.choice([200, 200, 200, 500])
        try:
            counts[outcome_of(target, content, status)] += 1
        except Exception as error:
            place = f"seed {seed}, body {number}: {target.name}, {mutate.__name__}"
            raise AssertionError(f"{place}: {error!r} of {content[:300]!r}") from error
    gc.collect()
    return counts, [*memory_bytes, process.memory_info().rss]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started_s = time.monotonic()
    counts, memory_bytes = fuzzed(arguments.count, arguments.seed)
    start_mb, end_mb = (each / 1e6 for each in memory_bytes)
    lines = [
        f"{arguments.count} bodies of {len(targets())} calls, seed {arguments.seed}: no exception but ours",
        *(f"  {outcome:22} {number:8}" for outcome, number in counts.most_common()),
        f"resident memory: {start_mb:.1f} MB after the warm-up, {end_mb:.1f} MB at the end",
        f"{time.monotonic() - started_s:.0f} s",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
