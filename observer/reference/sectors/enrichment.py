"""One run of the enrichment: it queries the sources in turn for every due stock, until one is sure.

Sure findings are published as they come, in portions of up to 100 that are stored whole: after a kill the next run
continues there. Stocks without an answer because a source failed are left for the next run; a stock is stored as
unknown only when the last resort looked it up and does not know it. For the remaining stocks an unsure finding is
stored if there was none before: it is better than nothing, and the next run queries it again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from bus.events import EnrichmentCompleted, Event, SectorAssigned
from observer.base.clock import Clock
from observer.base.errors import ObserverError
from observer.base.units import NS_PER_DAY
from observer.reference.sectors.model import SURE, Finding, Region, SectorSource, Security, SecurityKey, better

logger = logging.getLogger(__name__)

BATCH: Final = 100  # listings a transaction
LAST_RESORT: Final = "yahoo_profile"

Publish = Callable[[Sequence[Event]], None]
ReportProgress = Callable[[Region, int], None]  # so many more stocks of a region are dealt with


class Share(msgspec.Struct, frozen=True):
    """One region's work: the stocks to look up, the number of fresh stocks, and the stocks with a known sector."""

    due: Sequence[Security]
    fresh: int
    known: Collection[SecurityKey] = ()


def share_of(
    securities: Sequence[Security],
    assigned: Sequence[SectorAssigned],
    now_ns: int,
    max_age_days: float | None,
    *,
    was_whole: bool = True,
) -> Share:
    """The work for these stocks of a region, given their assignments.

    Due are stocks without an assignment, or with one older than so many days; None: all of them. If the last round was
    incomplete, an unsure sector counts as none: it is unknown whether the last resort was queried for the stock.
    """
    known = {SecurityKey((each.exchange, each.symbol)): each for each in assigned}
    if max_age_days is None:
        return Share(securities, 0, known)
    oldest_ns = now_ns - round(max_age_days * NS_PER_DAY)

    def is_fresh(security: Security) -> bool:
        stored = known.get(security.key)
        if stored is None or stored.assigned_ns < oldest_ns:
            return False
        return was_whole or stored.sector is None or stored.confidence >= SURE

    due = [security for security in securities if not is_fresh(security)]
    return Share(due, len(securities) - len(due), known)


class Enrichment:
    """Runs the enrichment, one region after the other or several at once.

    Args:
        sources: in the order of the queries.
        publish: takes a portion as one batch.
        clock: market time, of the assignments.
        retries: the number of network retries so far.
        report: receives progress.
    """

    def __init__(
        self,
        sources: Sequence[SectorSource],
        publish: Publish,
        clock: Clock,
        retries: Callable[[], int],
        report: ReportProgress,
    ) -> None:
        self._sources = sources
        self._publish = publish
        self._clock = clock
        self._retries = retries
        self._report = report

    async def run(self, wanted: Mapping[Region, Share], at_once: int) -> list[EnrichmentCompleted]:
        """Enrich these regions, so many of them at once."""
        places = asyncio.Semaphore(at_once)

        async def one(region: Region, share: Share) -> EnrichmentCompleted:
            async with places:
                return await self.enrich(region, share)

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(region, share)) for region, share in wanted.items()]
        return [task.result() for task in running]

    async def enrich(self, region: Region, share: Share) -> EnrichmentCompleted:
        """Enrich the stocks of one region that are due; what comes back was published, too."""
        started_ns, retries = self._clock.now_ns(), self._retries()
        work = _Work(share, lambda findings: self._store(region, findings))
        problems = [problem for source in self._sources if (problem := await self._ask(region, source, work))]
        work.settle()
        counts = work.counts
        completed = EnrichmentCompleted(
            region=region,
            started_ns=started_ns,
            completed_ns=self._clock.now_ns(),
            securities=len(share.due) + share.fresh,
            fresh=share.fresh,
            sector_code=counts["sector_code"],
            finance_database=counts["finance_database"],
            yahoo_screener=counts["yahoo_screener"],
            yahoo_profile=counts["yahoo_profile"],
            unsure=counts["unsure"],
            unknown=counts["unknown"],
            unanswered=len(work.pending),
            retries=self._retries() - retries,
            detail="; ".join(problems),
        )
        self._publish([completed])
        return completed

    async def _ask(self, region: Region, source: SectorSource, work: "_Work") -> str:
        """Query one source for all pending stocks; return the text of its failure, empty without one."""
        wanted = list(work.pending.values())
        if not wanted:
            return ""
        try:
            async for findings in source.findings(region, wanted):
                before = len(work.pending)
                work.take(findings)
                self._report(region, before - len(work.pending))  # as it comes: a portion may take minutes to be full
        except ObserverError as error:
            logger.warning("%s of %s: %s", source.name, region, error)
            return f"{source.name}: {error}"
        finally:
            logger.info("%s of %s: %d asked for, %d left", source.name, region, len(wanted), len(work.pending))
        return ""

    def _store(self, region: Region, findings: Sequence[Finding]) -> None:
        now_ns = self._clock.now_ns()
        for first in range(0, len(findings), BATCH):
            portion = findings[first : first + BATCH]
            self._publish([_assigned(region, finding, now_ns) for finding in portion])


def _assigned(region: Region, finding: Finding, now_ns: int) -> SectorAssigned:
    return SectorAssigned(
        region=region,
        exchange=finding.security.exchange,
        symbol=finding.security.symbol,
        assigned_ns=now_ns,
        sector=finding.sector,
        source=finding.source,
        confidence=finding.confidence,
        said=finding.said,
        industry=finding.industry,
    )


class _Work:
    """The pending stocks of a region, and their best unsure findings."""

    def __init__(self, share: Share, store: Callable[[Sequence[Finding]], None]) -> None:
        self.pending = {security.key: security for security in share.due}
        self._known = share.known
        self.counts: Counter[str] = Counter()
        self._best: dict[SecurityKey, Finding] = {}
        self._waiting: list[Finding] = []
        self._store = store

    def take(self, findings: Sequence[Finding]) -> None:
        """Take a source's findings: store the sure ones, remember the best of the others."""
        for finding in findings:
            key = finding.security.key
            if key not in self.pending:
                continue
            self._best[key] = best = better(self._best.get(key), finding)
            if best.is_sure or finding.source == LAST_RESORT:
                self._close(key, best)
        self._flush(BATCH)

    def settle(self) -> None:
        """At the end: store the incomplete portion, and the best unsure findings of the rest."""
        unasked = (self._best[key] for key in self.pending if key in self._best and key not in self._known)
        self._waiting += [finding for finding in unasked if finding.sector is not None]
        self._flush(1)

    def _close(self, key: SecurityKey, finding: Finding) -> None:
        del self.pending[key]
        self._waiting.append(finding)
        if finding.sector is None:
            self.counts["unknown"] += 1
        else:
            self.counts[finding.source] += 1
            self.counts["unsure"] += not finding.is_sure

    def _flush(self, least: int) -> None:
        """Store what waits, if there is so much of it."""
        if len(self._waiting) >= least:
            findings, self._waiting = self._waiting, []
            self._store(findings)
