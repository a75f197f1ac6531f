"""Mutated bodies of every KIS call: each answer is a model object or one of our errors.

    python -m tests.brokers.fuzz_bodies --count 200000 --seed 1

prints the outcomes and the process's memory at the start and the end. Any other outcome stops the run with the seed
and the number that reproduce the body.
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

from observer.base.errors import ProviderError
from observer.brokers.http import decode
from observer.brokers.kis import issuing
from observer.brokers.kis.envelope import classify
from tests.brokers.kis_contract import CONTRACTS, answer_of, encoded, read

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
    return lambda content: read(contract, content)


def read_token(content: bytes) -> object:
    return issuing.issued_token(decode(content, issuing.TokenBody, "issue_token"), NOW_NS)


def read_approval(content: bytes) -> object:
    return issuing.issued_approval_key(decode(content, issuing.ApprovalBody, "issue_approval_key"))


# --- mutations -----------------------------------------------------------------------------------------------


def indices_in(value: object) -> Iterator[tuple[dict | list, str | int]]:
    """Every position in a JSON value that holds another value."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from indices_in(value[key])


def with_odd_values(answer: dict[str, object], rng: Random) -> bytes:
    """Other types, absurd numbers, lone surrogates and impossible dates in some of the positions."""
    changed = json.loads(json.dumps(answer))
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        holder, key = rng.choice(list(indices_in(changed)))
        holder[key] = deepcopy(rng.choice(ODD_VALUES))
    return as_json(changed, rng)


def without_indices(answer: dict[str, object], rng: Random) -> bytes:
    changed = json.loads(json.dumps(answer))
    holder, key = rng.choice(list(indices_in(changed)))
    del holder[key]
    return as_json(changed, rng)


def as_json(value: object, rng: Random) -> bytes:
    """JSON text: escaped, or as it is, where a lone surrogate makes bytes that are no UTF-8."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def nested(answer: dict[str, object], rng: Random) -> bytes:
    """A position filled with brackets, closed or not, deeper than a recursive parser can follow."""
    depth = rng.choice([10, 500, 2_000, 20_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    deep = opening * depth + b"1" + closing * (depth if rng.random() < 0.5 else 0)
    return encoded({**answer, "output": "HERE", "extra": "HERE"}).replace(b'"HERE"', deep, rng.choice([1, 2]))


def with_flipped_bytes(answer: dict[str, object], rng: Random) -> bytes:
    content = bytearray(encoded(answer))
    for _ in range(rng.choice([1, 2, 16])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def truncated(answer: dict[str, object], rng: Random) -> bytes:
    content = encoded(answer)
    return content[: rng.randrange(len(content))]


def spliced(answer: dict[str, object], rng: Random) -> bytes:
    """A piece of the body once more somewhere in it."""
    content = encoded(answer)
    first, last, index = (rng.randrange(len(content)) for _ in range(3))
    return content[:index] + content[min(first, last) : max(first, last)] + content[index:]


MUTATIONS = [with_odd_values, with_odd_values, without_indices, nested, with_flipped_bytes, truncated, spliced]


# --- the run -------------------------------------------------------------------------------------------------


def outcome_of(target: Target, content: bytes, status: int) -> str:
    """Parse a body as every answer is parsed; return the kind of the outcome.

    Raises:
        Exception: any error but our own, a finding of the fuzzer.
    """
    try:
        refusal = classify(status, content)
        if refusal is not None:
            return type(refusal).__name__
        msgspec.msgpack.encode(target.read(content))  # the result can be sent over the bus
    except ProviderError as error:
        return type(error).__name__ if str(error).encode() else "nothing said"  # the error text can be encoded
    return "read"


def fuzzed(count: int, seed: int, measure: Callable[[], None] = lambda: None) -> Counter[str]:
    """Outcomes of `count` bodies; `measure` is called after the warm-up and at the end."""
    rng, aims, counts = Random(seed), targets(), Counter()
    for number in range(count):
        if number == min(WARM_UP, count - 1):
            measure()
        target, mutate = rng.choice(aims), rng.choice(MUTATIONS)
        content, status = mutate(target.answer, rng), rng.choice([200, 200, 200, 500])
        try:
            counts[outcome_of(target, content, status)] += 1
        except Exception as error:
            index = f"seed {seed}, body {number}: {target.name}, {mutate.__name__}"
            raise AssertionError(f"{index}: {error!r} of {content[:300]!r}") from error
    measure()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started_s = time.monotonic()
    process, resident_mb = psutil.Process(), []

    def measure() -> None:
        gc.collect()
        resident_mb.append(process.memory_info().rss / 1e6)

    counts = fuzzed(arguments.count, arguments.seed, measure)
    start_mb, end_mb = resident_mb
    lines = [
        f"{arguments.count} bodies of {len(targets())} calls, seed {arguments.seed}: no exception but ours",
        *(f"  {outcome:22} {number:8}" for outcome, number in counts.most_common()),
        f"resident memory: {start_mb:.1f} MB after the warm-up, {end_mb:.1f} MB at the end",
        f"{time.monotonic() - started_s:.0f} s",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
