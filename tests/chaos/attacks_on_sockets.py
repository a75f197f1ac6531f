"""Attacks on a running system: frames of strangers, messages of clients with a key, local users, pages of a browser.

Each returns what it reached beside the harm to storage, which its caller judges; "" for nothing.
"""

import contextlib
import os
import socket
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import zmq

from tests.bus.test_bus_hostile import zmtp
from tests.chaos.attacked_system import AttackedSystem, Role, encode, head
from tests.chaos.inapplicable import InapplicableError
from tests.chaos.local_user import AsStranger, Target, hold_locks
from tests.waiting import until

MIB = 2**20
FRAMES, FRAME_BYTES_MAX = 4, 250 * MIB  # of each "1 GB" frame so much is sent
SUBSCRIPTIONS, HELLOS = 300_000, 100_000
ANSWER_MS = 5_000

Attack = Callable[[AttackedSystem], str]


def frames_of_a_gibibyte(attacked: AttackedSystem) -> str:
    """Without a key: begin four commands of 1 GiB on the ingest socket, and leave them open."""
    with contextlib.ExitStack() as stack:
        for _ in range(FRAMES):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", attacked.port("ingest")), 10))
            with contextlib.suppress(OSError):
                stranger.sendall(zmtp(b"CURVE") + b"\x06" + (2**30).to_bytes(8, "big"))
                for _ in range(FRAME_BYTES_MAX // MIB):
                    stranger.sendall(bytes(MIB))
        attacked.stores_within(3)
    return ""


def messages(attacked: AttackedSystem, *attacks: Callable[[str], Sequence[bytes]]) -> str:
    """As a client that may deliver: say hello, then send these."""
    stream = uuid.uuid4().hex
    with attacked.client("ingest", "collector") as evil:
        evil.send_multipart([b"H", attacked.checkout.hello("evil", [stream])])
        evil.poll(ANSWER_MS)
        for attack in attacks:
            evil.send_multipart(attack(stream))
        evil.poll(ANSWER_MS)
    return ""


def hellos(attacked: AttackedSystem) -> str:
    """One client says hello again and again, and reads no answer."""
    content = attacked.checkout.hello("evil", [uuid.uuid4().hex])
    with attacked.client("ingest", "collector") as evil:
        for _ in range(HELLOS):
            evil.send_multipart([b"H", content])
        stored_s = attacked.stores_within(60)
    return "a good producer was starved for a minute" if stored_s is None else ""


def subscriptions(attacked: AttackedSystem, contents: Callable[[], Sequence[bytes]]) -> str:
    """As a client that may read: subscribe so often. Before there were roles the feed was an XPUB."""
    kind = zmq.DEALER if attacked.checkout.has_roles else zmq.XSUB
    with attacked.client("feed", "reader", kind) as evil:
        for content in contents():
            evil.send(content)
        evil.poll(2 * ANSWER_MS)
    return ""


def many_subscriptions(attacked: AttackedSystem) -> str:
    if attacked.checkout.has_roles:
        make = lambda n: encode(["subscription", f"{n:032x}", ["trade"]])  # noqa: E731
    else:
        make = lambda n: b"\x01trade." + f"{n:0200}".encode()  # noqa: E731
    return subscriptions(attacked, lambda: [make(number) for number in range(SUBSCRIPTIONS)])


def shutdown(attacked: AttackedSystem) -> str:
    """A collector's key orders the end of the system."""
    done = attacked.checkout.run("ctl", "shutdown", "--config", attacked.configuration_of("collector"))
    return "" if done.returncode else "a key of a collector ended the system"


def capture_anywhere(attacked: AttackedSystem) -> str:
    """A client's key orders the system to write files outside of its folders."""
    path = attacked.folder.parent / f"written-{uuid.uuid4().hex}"

    def is_answered(role: Role) -> bool:
        words = ("ctl", "capture", "start", "--out", path, "--config", attacked.configuration_of(role))
        return b"(busy)" not in attacked.checkout.run(*words).stderr

    until(lambda: is_answered("collector"), "an answer", every_s=1)
    until(lambda: is_answered("reader"), "an answer", every_s=1)
    return "a file outside of its folders was written" if path.exists() else ""


def read_locks(attacked: AttackedSystem) -> str:
    """Another user opens and locks what it may read."""
    if os.geteuid() != 0:
        raise InapplicableError("only root can become another user")
    files = [path for path in sorted(attacked.folder.rglob("*")) if path.is_file()]
    target = Target(attacked.folder, attacked.folder, files, [], [], [], [])
    with AsStranger(hold_locks(target)) as user:
        locked = user.report()["locked"]
        stored_s = attacked.stores_within(10)
    stop = " and stopped storage" if stored_s is None else ""
    return f"another user locked {len(locked)} files{stop}" if locked else ""


def secrets_in_processes(attacked: AttackedSystem) -> str:
    """Core dumps, and files for others."""
    found = [
        f"core dumps of {process.pid}"
        for process in attacked.processes()
        for line in Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        if "core file" in line and line.split()[5] != "0"
    ]
    found += [f"mode of {path.name}" for path in (attacked.folder / "data").rglob("*") if path.stat().st_mode & 0o044]
    return f"{len(found)} of {found[0]} ..." if found else ""


def foreign_origin(attacked: AttackedSystem) -> str:
    """A page of another site makes a fault in the simulated broker."""
    rest_url = next(each["rest_url"] for each in attacked.settings.values() if "rest_url" in each)
    request = urllib.request.Request(
        f"{rest_url}/simulator/faults",
        b'{"kind": "rest_refused", "for_s": 0.001, "share": 1.0, "by_s": 0.0}',
        {"Origin": "http://attacker.example"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return f"answered {answer.status}"
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise InapplicableError("this simulator has no such call") from None
        return "" if error.code == 403 else f"answered {error.code}, which is no refusal of the origin"


def _nested_hello(_: str) -> Sequence[bytes]:
    return [b"H", b"\x95\xa5hello\xa1a\x80\xa0" + b"\x91" * 200_000]


SOCKET_ATTACKS: Mapping[str, Attack] = {
    "4 frames of 1 GiB before authentication": frames_of_a_gibibyte,
    "batch of 35 bytes that claims 2^32-1 events": lambda a: messages(
        a, lambda stream: [b"B", head(stream, 2**32 - 1) + b"\xdd\xff\xff\xff\xff"]
    ),
    "hello with bad UTF-8": lambda a: messages(a, lambda _: [b"H", b"\x94\xa5hello\xa2\xff\xfe\x80\xa0"]),
    "nested msgpack in a batch": lambda a: messages(a, lambda stream: [b"B", head(stream, 1) + b"\x91" * 200_000]),
    "nested msgpack in a hello": lambda a: messages(a, _nested_hello),
    "empty subscription": partial(subscriptions, contents=lambda: [b""]),
    f"{SUBSCRIPTIONS:,} subscriptions": many_subscriptions,
    f"{HELLOS:,} hellos": hellos,
    "order of a file anywhere by a collector's or reader's key": capture_anywhere,
    "read locks of another user": read_locks,
    "core dumps and modes of files": secrets_in_processes,
    "a page of another site controls the simulator": foreign_origin,
    "shutdown by a collector's key": shutdown,
}
