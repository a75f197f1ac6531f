"""A look at an exchange's master file and all that comes of it: what is published, and what is kept on the disk.

First everything is published as one batch, then the file is put in force: a process that is killed between the two
finds the file differing at its next look, and nothing in it that is new. So the database is before or after, and so is
the file, and the next look makes both the same.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from bus.events import Event, MasterFileApproved
from observer.clock import NS_PER_S, Clock, kst_datetime
from observer.errors import DataFileError, ProviderError
from observer.masters.local import NO_STAMP, Held, LocalCopy, LocalFiles
from observer.providers.interfaces import FileStamp, MasterFileSource, Progress
from observer.providers.kis.listings import parse_listings
from observer.reference.changes import (
    Change,
    FileDecision,
    KnownListings,
    ReferenceSettings,
    Verdict,
    decide_download,
)
from observer.reference.intake import Judged, MasterFile, events_of, judge, untouched
from observer.reference.listings import Listing

logger = logging.getLogger(__name__)

FORCE: Final = "force"  # among the arguments of an order: download even what did not change

_FIRST_PAUSE_S: Final = 1.0  # market seconds; twice as long before each further attempt
Result = TypeVar("Result")


class ListingsReader(Protocol):
    """What is known of an exchange; `StoreReader` fits."""

    def active_listings(self, exchange: str) -> dict[str, Listing]:
        """What is listed, by symbol."""
        ...

    def inactive_listings(self, exchange: str) -> dict[str, Listing]:
        """What was listed once."""
        ...


class Publisher(Protocol):
    """Where facts go; `Producer` of the bus fits."""

    def publish_together(self, events: Sequence[Event]) -> None:
        """All in one transaction, or nothing."""
        ...


class Examined(msgspec.Struct, frozen=True):
    """What one look found; `version` is the downloaded file until it is kept, None where nothing was downloaded."""

    exchange: str
    run: str
    verdict: Verdict
    decision: FileDecision | None
    file: MasterFile | None = None
    judged: Judged | None = None
    version: Path | None = None
    copy: LocalCopy | None = None

    @property
    def changes(self) -> Sequence[Change]:
        """What would change, or has."""
        return self.judged.changes if self.judged else ()


class MasterFiles:
    """Looks at exchanges' master files, downloads what differs, publishes what changed in them.

    Args:
        provider: whose files they are.
        files: where they come from.
        local: where they are kept.
        reader: what is known of the listings.
        publisher: where the facts go.
        settled: waits until all that was published is in the database.
        clock: market time.
        settings: thresholds and attempts.
    """

    def __init__(
        self,
        *,
        provider: str,
        files: MasterFileSource,
        local: LocalFiles,
        reader: ListingsReader,
        publisher: Publisher,
        settled: Callable[[], Awaitable[None]],
        clock: Clock,
        settings: ReferenceSettings,
    ) -> None:
        self._provider = provider
        self._files = files
        self._local = local
        self._reader = reader
        self._publisher = publisher
        self._settled = settled
        self._clock = clock
        self._settings = settings
        self._failing: set[str] = set()  # exchanges whose last look failed: that is known

    async def check_all(
        self,
        exchanges: Sequence[str],
        *,
        force: bool = False,
        since_ns: int = 0,
        progress: Callable[[str], Progress] | None = None,
    ) -> Sequence[Examined]:
        """Check those of the exchanges that were not checked since then, all at once. Without a time a person asks, who
        is told of every failure. `progress` gives what hears of an exchange's download.
        """
        if not since_ns:
            self._failing.difference_update(exchanges)
        due = [name for name in exchanges if not since_ns or self._checked_ns(name) < since_ns]
        heard = {exchange: progress(exchange) if progress else None for exchange in due}
        return await asyncio.gather(*(self.check(name, force=force, progress=heard[name]) for name in due))

    async def check(self, exchange: str, *, force: bool = False, progress: Progress | None = None) -> Examined:
        """Look at one exchange's file; all that comes of it is published as one batch. `force`: download it whether or
        not it differs. A failure is a verdict, published like any other; but of several in a row only the first is an
        alert, with what could not be read.
        """
        self._local.tidy(exchange)
        try:
            self._mend(exchange)
        except DataFileError as error:  # the host may have what no backup has
            logger.warning("%s: %s", exchange, error)
        found = await self.examine(exchange, force=force, progress=progress)
        answer = found.verdict
        logger.info("%s: %s (%s)", exchange, answer.decision, answer.reason)
        is_known = answer.decision == "failed" and exchange in self._failing
        (self._failing.add if answer.decision == "failed" else self._failing.discard)(exchange)
        if found.file is not None and found.judged is not None and not is_known:
            self._publisher.publish_together(events_of(found.file, found.judged))
            self._put_away(found)
            return found
        checked_ns = self._clock.now_ns()
        told = msgspec.structs.replace(answer, severity="info") if is_known else answer
        self._publisher.publish_together(untouched(self._provider, exchange, checked_ns, told, found.run))
        if found.copy is not None and answer.decision == "unchanged":
            self._local.note(exchange, msgspec.structs.replace(found.copy, checked_ns=checked_ns))
        _throw_away(found)
        return found

    async def examine(self, exchange: str, *, force: bool = False, progress: Progress | None = None) -> Examined:
        """Look and judge, but publish and keep nothing; what was downloaded is where `version` says."""
        now_ns = self._clock.now_ns()
        run = run_name(exchange, now_ns)
        known = await self._known(exchange)
        copy = self._local.copy(exchange) if known else None  # a copy that another database took in is none
        try:
            remote = await self._patiently(lambda: self._files.stamp(exchange))
            age_s = 0.0 if copy is None else (now_ns - copy.downloaded_ns) / NS_PER_S
            decision = decide_download(copy.stamp if copy else None, remote, self._settings, age_s=age_s)
            if decision.action == "refuse":
                return Examined(exchange, run, Verdict("failed", decision.reason, decision.severity), decision)
            if decision.action == "skip" and not force:
                answer = Verdict("unchanged", decision.reason, decision.severity)
                return Examined(exchange, run, answer, decision, copy=copy)
            return await self._download(exchange, run, known, copy, decision, progress)
        except (ProviderError, DataFileError) as error:
            return Examined(exchange, run, Verdict("failed", str(error), "critical"), None)

    async def approve(self, run: str, exchanges: Sequence[str]) -> Examined:
        """Apply what a held run would change, by a person's word.

        Raises:
            DataFileError: no such run waits.
        """
        for exchange in exchanges:
            held = self._local.held(exchange)
            if held is not None and held.run == run:
                return await self._approve(exchange, held)
        waiting = [held.run for exchange in exchanges if (held := self._local.held(exchange))]
        raise DataFileError(f"no run {run} waits for approval; {_those(waiting)}")

    async def restore(self, exchange: str) -> Examined:
        """Put the newest readable backup in force and take it in, judged as any version is.

        Raises:
            DataFileError: there is none.
        """
        now_ns = self._clock.now_ns()
        backup, content = self._readable_backup(exchange)
        version = self._local.incoming(exchange)
        await asyncio.to_thread(version.write_bytes, content)
        known = await self._known(exchange)
        stamp = NO_STAMP  # another one than the host's: the next check looks at that
        found = await self._judge(exchange, run_name(exchange, now_ns), version, stamp, known, None, 0.0)
        assert found.file is not None
        assert found.judged is not None
        self._publisher.publish_together(events_of(found.file, found.judged))
        if found.verdict.decision == "held":
            self._local.put_back(exchange, content, now_ns)
        self._put_away(found)
        logger.warning("%s: %s is in force again", exchange, backup.name)
        return found

    async def _approve(self, exchange: str, held: Held) -> Examined:
        path = self._local.held_path(exchange)
        known = await self._known(exchange)
        found = await self._judge(exchange, held.run, path, held.copy.stamp, known, None, 0.0, approved=True)
        assert found.file is not None
        assert found.judged is not None
        approved = MasterFileApproved(self._provider, exchange, held.run, found.file.read_ns)
        self._publisher.publish_together([approved, *events_of(found.file, found.judged)])
        self._put_away(found)
        return found

    async def _download(
        self,
        exchange: str,
        run: str,
        known: KnownListings,
        copy: LocalCopy | None,
        decision: FileDecision,
        progress: Progress | None,
    ) -> Examined:
        version = self._local.incoming(exchange)
        began_s = time.perf_counter()
        stamp = await self._patiently(lambda: self._files.download(exchange, version, progress))
        span_s = time.perf_counter() - began_s
        old_size_bytes = self._local.path(exchange).stat().st_size if copy else None
        found = await self._judge(exchange, run, version, stamp, known, old_size_bytes, span_s)
        return msgspec.structs.replace(self._as_it_waits(found), decision=decision)

    async def _judge(
        self,
        exchange: str,
        run: str,
        version: Path,
        stamp: FileStamp,
        known: KnownListings,
        old_size_bytes: int | None,
        download_s: float,
        *,
        approved: bool = False,
    ) -> Examined:
        now_ns = self._clock.now_ns()

        def read() -> tuple[MasterFile, Judged]:
            content = version.read_bytes()
            began_s = time.perf_counter()
            listings, bad_lines = parse_listings(exchange, content)
            parse_s = time.perf_counter() - began_s
            digest = hashlib.sha256(content).hexdigest()
            file = MasterFile(
                *(self._provider, exchange, listings, bad_lines, len(content), digest, now_ns, run),
                *(download_s, parse_s),
            )
            return file, judge(file, known, self._settings, old_size_bytes=old_size_bytes, approved=approved)

        file, judged = await asyncio.to_thread(read)
        copy = LocalCopy(stamp, now_ns, now_ns, file.sha256)
        return Examined(exchange, run, judged.verdict, None, file, judged, version, copy)

    def _checked_ns(self, exchange: str) -> int:
        """When the host's file was last looked at with success; 0: never."""
        held = self._local.held(exchange)
        copies = (self._local.copy(exchange), held.copy if held else None)
        return max(copy.checked_ns if copy else 0 for copy in copies)

    def _waiting(self, found: Examined) -> Held | None:
        """The version that waits for a person, if it is the one that was found."""
        held = self._local.held(found.exchange)
        assert found.copy is not None
        same = found.verdict.decision == "held" and held is not None and held.copy.sha256 == found.copy.sha256
        return held if same else None

    def _as_it_waits(self, found: Examined) -> Examined:
        """A version that waits already does so under its own run, which people were told, and is no news."""
        held = self._waiting(found)
        if held is None:
            return found
        assert found.file is not None
        assert found.judged is not None
        still = Verdict("held", f"still held: {held.reason}", "info")
        return msgspec.structs.replace(
            found,
            run=held.run,
            verdict=still,
            file=msgspec.structs.replace(found.file, run=held.run),
            judged=msgspec.structs.replace(found.judged, verdict=still),
        )

    def _put_away(self, found: Examined) -> None:
        """Keep what was taken in, hold what waits, throw away what failed."""
        assert found.version is not None
        assert found.copy is not None
        if found.verdict.decision == "held":
            held = self._waiting(found) or Held(found.run, found.verdict.reason, found.copy.checked_ns, found.copy)
            self._local.hold(found.exchange, found.version, msgspec.structs.replace(held, copy=found.copy))
        elif found.verdict.decision == "failed":
            _throw_away(found)
        else:
            self._local.keep(found.exchange, found.version, found.copy)
            self._local.release(found.exchange)

    def _mend(self, exchange: str) -> None:
        """A file in force that is damaged or gone is replaced by the newest backup that can be read."""
        if self._local.copy(exchange) is None and self._local.backups(exchange):
            path = self._local.path(exchange)
            if not path.exists() or not _is_readable(exchange, path.read_bytes()):
                backup, content = self._readable_backup(exchange)
                self._local.put_back(exchange, content, self._clock.now_ns())
                logger.warning("%s: the local file was damaged, %s is in its place", exchange, backup.name)

    def _readable_backup(self, exchange: str) -> tuple[Path, bytes]:
        """Raises DataFileError when there is none."""
        for backup in self._local.backups(exchange):
            content = backup.read_bytes()
            if _is_readable(exchange, content):
                return backup, content
        raise DataFileError(f"{exchange} has no backup that can be read")

    async def _known(self, exchange: str) -> KnownListings:
        """What the database knows of the exchange, once all that was published before is in it."""
        await self._settled()

        def ask() -> KnownListings:
            known = {symbol: (listing, False) for symbol, listing in self._reader.inactive_listings(exchange).items()}
            active = self._reader.active_listings(exchange)
            return known | {symbol: (listing, True) for symbol, listing in active.items()}

        return await asyncio.to_thread(ask)

    async def _patiently(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """As often as the settings say, with doubling pauses (requirement 000, 7.1)."""
        pause_s = _FIRST_PAUSE_S
        for number in range(1, self._settings.attempts_max + 1):
            try:
                return await attempt()
            except (ProviderError, DataFileError) as error:
                if number == self._settings.attempts_max:
                    raise
                logger.warning("attempt %d of %d: %s", number, self._settings.attempts_max, error)
            await self._clock.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("there is at least one attempt")


def run_name(exchange: str, now_ns: int) -> str:
    """The name of a look at an exchange's file, for people: what, and when in Korea."""
    return f"{exchange}-{kst_datetime(now_ns):%Y%m%dT%H%M%S}"


def _throw_away(found: Examined) -> None:
    if found.version is not None:
        found.version.unlink(missing_ok=True)


def _is_readable(exchange: str, content: bytes) -> bool:
    listings, bad_lines = parse_listings(exchange, content)
    file = MasterFile("", exchange, listings, bad_lines, len(content), "", 0)
    return judge(file, {}, ReferenceSettings(), old_size_bytes=None).verdict.decision == "updated"


def _those(runs: Sequence[str]) -> str:
    return f"waiting: {', '.join(runs)}" if runs else "none waits"
