"""Checks an exchange's master file, publishes its changes, and keeps the file on the disk.

All events are published as one batch, then the file is put in force. A process killed between the two finds the file
differing at its next check, without new content. So the database and the file each are in the old state or the new one,
and the next check brings both to the same.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from bus.events import Event, MasterFileApproved
from observer.base.clock import Clock
from observer.base.errors import BadRequestError, DataFileError, ProviderError
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.brokers.broker import Broker, FileStamp, MasterFileSource, Progress
from observer.monitoring.alerts.process import Alerts
from observer.reference.listings.diff import (
    UNKNOWN_STAMP,
    Change,
    FileDecision,
    KnownListings,
    ListingOutcome,
    ReferenceSettings,
    decide_download,
)
from observer.reference.listings.files import LocalCopy, LocalFiles, PendingApproval, listings_in
from observer.reference.listings.intake import Judged, MasterFile, events_of, judge, unreadable, untouched
from observer.reference.listings.model import Listing
from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

GROWN: Final = "master_file_grown:"
FORCE: Final = "force"  # argument of an order: download unchanged files, too

_FIRST_PAUSE_S: Final = 1.0  # market seconds; twice as long before each further attempt
Result = TypeVar("Result")


class ListingPublisher(Protocol):
    """Publishes facts; `Producer` of the bus fits."""

    def publish_together(self, events: Sequence[Event]) -> None:
        """Publish the events so that they are stored in one transaction."""
        ...


class Version(msgspec.Struct, frozen=True):
    """A version that was read: where it lies until it is kept, the file in it, what it changes, and its metadata."""

    path: Path
    file: MasterFile
    judged: Judged
    copy: LocalCopy


class Examined(msgspec.Struct, frozen=True):
    """The result of one check. `copy` is what a check without a download found in force; `gone`: the host does not have
    the file.
    """

    exchange: str
    run: str
    outcome: ListingOutcome
    decision: FileDecision | None = None
    version: Version | None = None
    copy: LocalCopy | None = None
    gone: bool = False

    @property
    def changes(self) -> Sequence[Change]:
        """The pending or applied changes."""
        return self.version.judged.changes if self.version else ()


class MasterFiles:
    """Checks exchanges' master files, downloads changed ones, publishes their changes.

    Args:
        broker: names the provider, and parses the files.
        files: downloads the files.
        local: the local files.
        reader: reads the stored listings.
        publisher: publishes the facts.
        settled: returns when all published facts are in the database.
        clock: market time.
        alerts: of the process.
        settings: thresholds and attempts.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        files: MasterFileSource,
        local: LocalFiles,
        reader: StoreReader,
        publisher: ListingPublisher,
        settled: Callable[[], Awaitable[None]],
        clock: Clock,
        alerts: Alerts,
        settings: ReferenceSettings,
    ) -> None:
        self._broker = broker
        self._files = files
        self._local = local
        self._reader = reader
        self._publisher = publisher
        self._settled = settled
        self._clock = clock
        self._alerts = alerts
        self._settings = settings
        self._failing: set[str] = set()  # exchanges whose last check failed and is published

    async def check_all(
        self,
        exchanges: Sequence[str],
        *,
        force: bool = False,
        since_ns: int = 0,
        progress: Callable[[str], Progress] | None = None,
    ) -> Sequence[Examined]:
        """Check concurrently the exchanges without a check since the given time. Without a time an operator asks, and
        every failure raises an alert. `progress` returns the progress callback of an exchange's download.
        """
        if not since_ns:
            for exchange in self._failing.intersection(exchanges):
                self._alerts.resolve(_identity(exchange), f"{exchange}: checked again, by order")
            self._failing.difference_update(exchanges)
        due = [name for name in exchanges if not since_ns or self.checked_ns(name) < since_ns]
        received = {exchange: progress(exchange) if progress else None for exchange in due}
        return await asyncio.gather(*(self.check(name, force=force, progress=received[name]) for name in due))

    async def check(self, exchange: str, *, force: bool = False, progress: Progress | None = None) -> Examined:
        """Check one exchange's file and publish the result as one batch; `force` downloads an unchanged file, too. A
        failure is an outcome, published like any other; only the first of several in a row raises an alert, with the
        unreadable lines.
        """
        self._local.tidy(exchange)
        try:
            self._mend(exchange)
        except DataFileError as error:  # the host may have what no backup has
            logger.warning("%s: %s", exchange, error)
        found = await self.examine(exchange, force=force, progress=progress)
        answer = found.outcome
        logger.info("%s: %s (%s)", exchange, answer.decision, answer.reason)
        is_known = answer.decision == "failed" and exchange in self._failing
        (self._failing.add if answer.decision == "failed" else self._failing.discard)(exchange)
        if found.version is not None and not is_known:
            return self._take(found, found.version)
        checked_ns = self._clock.now_ns()
        self._publish(found, untouched(self._broker.name, exchange, checked_ns, answer, found.run))
        if found.copy is not None and answer.decision == "unchanged":
            self._local.note(exchange, msgspec.structs.replace(found.copy, checked_ns=checked_ns))
        if found.version is not None:
            found.version.path.unlink(missing_ok=True)
        return found

    def _take(self, found: Examined, version: Version, approval: Sequence[Event] = ()) -> Examined:
        """Publish a version that was read; keep an applied one, hold a pending one, delete a failed one."""
        self._publish(found, [*approval, *events_of(version.file, version.judged)])
        match found.outcome.decision:
            case "pending":
                copy = version.copy
                before = self._waiting(found.exchange, copy)
                pending = before or PendingApproval(found.run, found.outcome.reason, copy.checked_ns, copy)
                self._local.hold(found.exchange, version.path, msgspec.structs.replace(pending, copy=copy))
            case "failed":
                version.path.unlink(missing_ok=True)
            case "updated" | "unchanged":
                self._local.keep(found.exchange, version.path, version.copy)
                self._local.release(found.exchange)
        return found

    def _publish(self, found: Examined, events: Sequence[Event]) -> None:
        """Publish a check's events in one batch with its alert; a version that is still pending leaves it open."""
        answer, identity = found.outcome, _identity(found.exchange)
        alerts: list[Event] = []
        if answer.severity != "info" and answer.decision == "pending":  # it asks for another approval
            alerts += self._alerts.resolved(identity, "another version replaces it")
        if answer.severity != "info":
            alerts += self._alerts.reported(identity, answer.severity, f"{found.exchange}: {answer.reason}")
        elif answer.decision != "pending":
            alerts += self._alerts.resolved(identity, f"{found.exchange}: {answer.reason}")
        if found.version is not None:
            alerts += self._grown(found.exchange, found.version.file.unknown_tail)
        self._publisher.publish_together([*events, *alerts])

    def _grown(self, exchange: str, unknown_tail: str) -> Sequence[Event]:
        """The alert about records that are longer than known, or its end."""
        if unknown_tail:
            name = self._broker.listing_file(exchange)
            return self._alerts.reported(GROWN + exchange, "warning", f"{name}: {unknown_tail}; the rest is not read")
        return self._alerts.resolved(GROWN + exchange, f"{exchange}: every field is known")

    async def listed_at(self, venue: str) -> Sequence[Listing]:
        """The records of the broker's list of a venue beside the main one, downloaded now and not kept.

        Raises:
            ProviderError: a file cannot be downloaded.
            DataFileError: it cannot be read, or the broker has no list of this venue.
        """
        if not (names := self._broker.venue_files.get(venue, ())):
            raise DataFileError(f"{self._broker.name} has no list of {venue}")
        found: list[Listing] = []
        for name in names:
            self._local.tidy(name)
            version = self._local.incoming(name)
            try:
                await self._patiently(partial(self._files.download, name, version))
                found += await asyncio.to_thread(listings_in, version, name, self._broker.listings)
                content = await asyncio.to_thread(version.read_bytes)
            finally:
                version.unlink(missing_ok=True)
            if alerts := self._grown(name, self._broker.unknown_tail(name, content)):
                self._publisher.publish_together(alerts)
        return found

    async def examine(self, exchange: str, *, force: bool = False, progress: Progress | None = None) -> Examined:
        """Check without publishing or keeping anything; `version` of the result is the path of the download."""
        now_ns = self._clock.now_ns()
        run = run_name(exchange, now_ns)
        known = await self._known(exchange)
        copy = self._local.copy(exchange) if known else None  # a copy that another database took in is none
        try:
            remote = await self._patiently(lambda: self._files.stamp(exchange))
            age_s = 0.0 if copy is None else (now_ns - copy.downloaded_ns) / NS_PER_S
            decision = decide_download(copy.stamp if copy else None, remote, self._settings, age_s=age_s)
            if decision.action == "refuse":
                return Examined(exchange, run, ListingOutcome("failed", decision.reason, decision.severity), decision)
            if decision.action == "skip" and not force:
                answer = ListingOutcome("unchanged", decision.reason, decision.severity)
                return Examined(exchange, run, answer, decision, copy=copy)
            return await self._download(exchange, run, known, copy, decision, progress)
        except (ProviderError, DataFileError) as error:
            gone = isinstance(error, BadRequestError)
            return Examined(exchange, run, ListingOutcome("failed", str(error), "critical"), gone=gone)

    async def approve(self, run: str, exchanges: Sequence[str]) -> Examined:
        """Apply the pending changes of a held run, by an operator's approval.

        Raises:
            DataFileError: no such run is pending.
        """
        for exchange in exchanges:
            pending = self._local.pending(exchange)
            if pending is not None and pending.run == run:
                return await self._approve(exchange, pending)
        waiting = [pending.run for exchange in exchanges if (pending := self._local.pending(exchange))]
        those = f"waiting: {', '.join(waiting)}" if waiting else "none waits"
        raise DataFileError(f"no run {run} waits for approval; {those}")

    async def restore(self, exchange: str) -> Examined:
        """Judge the newest readable backup as any version, publish it, and put it in force if its changes are applied.
        The file in force becomes a backup then; it stays in force while the changes are pending approval.

        Raises:
            DataFileError: there is no such backup.
        """
        run, size_bytes = run_name(exchange, self._clock.now_ns()), self._local.size_bytes(exchange)
        backup, content = self._readable_backup(exchange)
        version = self._local.incoming(exchange)
        await asyncio.to_thread(version.write_bytes, content)
        known, stamp = await self._known(exchange), UNKNOWN_STAMP  # the next check looks at the host's
        found, read = await self._judge(exchange, run, version, stamp, known, old_size_bytes=size_bytes)
        self._take(found, read)
        is_applied = found.outcome.decision in ("updated", "unchanged")
        logger.warning("%s: %s %s", exchange, backup.name, "is in force again" if is_applied else found.outcome.reason)
        return found

    async def _approve(self, exchange: str, pending: PendingApproval) -> Examined:
        path = self._local.pending_path(exchange)
        known = await self._known(exchange)
        found, read = await self._judge(exchange, pending.run, path, pending.copy.stamp, known, approved=True)
        approval = MasterFileApproved(self._broker.name, exchange, pending.run, read.file.read_ns)
        return self._take(found, read, [approval])

    async def _download(
        self,
        exchange: str,
        run: str,
        known: KnownListings,
        copy: LocalCopy | None,
        decision: FileDecision,
        progress: Progress | None,
    ) -> Examined:
        path = self._local.incoming(exchange)
        began_s = time.perf_counter()
        stamp = await self._patiently(lambda: self._files.download(exchange, path, progress))
        span_s = time.perf_counter() - began_s
        old_size_bytes = self._local.size_bytes(exchange) if copy else None
        found, version = await self._judge(
            exchange, run, path, stamp, known, old_size_bytes=old_size_bytes, download_s=span_s
        )
        pending = self._waiting(exchange, version.copy) if found.outcome.decision == "pending" else None
        if pending is not None:  # under its own run, which raised its alert: without a new one
            still = ListingOutcome("pending", f"still held: {pending.reason}", "info")
            file = msgspec.structs.replace(version.file, run=pending.run)
            judged = msgspec.structs.replace(version.judged, outcome=still)
            version = msgspec.structs.replace(version, file=file, judged=judged)
            return Examined(exchange, pending.run, still, decision, version)
        return msgspec.structs.replace(found, decision=decision)

    async def _judge(
        self,
        exchange: str,
        run: str,
        path: Path,
        stamp: FileStamp,
        known: KnownListings,
        *,
        old_size_bytes: int | None = None,
        download_s: float = 0.0,
        approved: bool = False,
    ) -> tuple[Examined, Version]:
        now_ns = self._clock.now_ns()

        def read() -> tuple[MasterFile, Judged]:
            content = path.read_bytes()
            began_s = time.perf_counter()
            listings, bad_lines = self._broker.listings(exchange, content)
            parse_s = time.perf_counter() - began_s
            file = MasterFile(
                provider=self._broker.name,
                exchange=exchange,
                listings=listings,
                bad_lines=bad_lines,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                read_ns=now_ns,
                run=run,
                download_s=download_s,
                parse_s=parse_s,
                unknown_tail=self._broker.unknown_tail(exchange, content),
            )
            return file, judge(file, known, self._settings, old_size_bytes=old_size_bytes, approved=approved)

        file, judged = await asyncio.to_thread(read)
        version = Version(path, file, judged, LocalCopy(stamp, now_ns, now_ns, file.sha256))
        return Examined(exchange, run, judged.outcome, version=version), version

    def checked_ns(self, exchange: str) -> int:
        """The time of the last successful check of the host's file; 0: never."""
        pending = self._local.pending(exchange)
        copies = (self._local.copy(exchange), pending.copy if pending else None)
        return max(copy.checked_ns if copy else 0 for copy in copies)

    def _waiting(self, exchange: str, copy: LocalCopy) -> PendingApproval | None:
        """The version pending approval, if it is this one."""
        pending = self._local.pending(exchange)
        return pending if pending is not None and pending.copy.sha256 == copy.sha256 else None

    def _mend(self, exchange: str) -> None:
        """Replace a damaged or missing file in force by the newest readable backup."""
        if self._local.copy(exchange) is None and self._local.backups(exchange):
            path = self._local.path(exchange)
            if not path.exists() or not _is_readable(self._broker, exchange, path.read_bytes()):
                backup, content = self._readable_backup(exchange)
                self._local.put_back(exchange, content, self._clock.now_ns())
                logger.warning("%s: the local file was damaged, %s is in its place", exchange, backup.name)

    def _readable_backup(self, exchange: str) -> tuple[Path, bytes]:
        """The newest readable backup. Raises DataFileError when there is none."""
        for backup in self._local.backups(exchange):
            content = backup.read_bytes()
            if _is_readable(self._broker, exchange, content):
                return backup, content
        raise DataFileError(f"{exchange} has no backup that can be read")

    async def _known(self, exchange: str) -> KnownListings:
        """The exchange's stored listings, once all earlier events are stored."""
        await self._settled()

        def ask() -> KnownListings:
            known = {symbol: (listing, False) for symbol, listing in self._reader.inactive_listings(exchange).items()}
            active = self._reader.active_listings(exchange)
            return known | {symbol: (listing, True) for symbol, listing in active.items()}

        return await asyncio.to_thread(ask)

    async def _patiently(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Retry so many times as configured, with doubling pauses, unless it is gone."""
        pause_s = _FIRST_PAUSE_S
        for number in range(1, self._settings.attempts_max + 1):
            try:
                return await attempt()
            except (ProviderError, DataFileError) as error:
                if number == self._settings.attempts_max or isinstance(error, BadRequestError):
                    raise
                logger.warning("attempt %d of %d: %s", number, self._settings.attempts_max, error)
            await self._clock.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("there is at least one attempt")


def run_name(exchange: str, now_ns: int) -> str:
    """The readable name of a check of an exchange: the exchange and the Korean time."""
    return f"{exchange}-{local_datetime(now_ns):%Y%m%dT%H%M%S}"


def _identity(exchange: str) -> str:
    """The identity of the alert about an exchange's file."""
    return f"master_file:{exchange}"


def _is_readable(broker: Broker, exchange: str, content: bytes) -> bool:
    try:
        return not unreadable(*broker.listings(exchange, content))
    except DataFileError:
        return False
