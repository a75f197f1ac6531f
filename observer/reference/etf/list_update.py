"""Fetches a day's list of ETFs from every configured source and merges the answers.

The result reports a failing source, and the other sources are still asked; its data of earlier days stay.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import msgspec
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from bus.events import EtfChange, EtfListed
from observer.base.clock import Clock
from observer.base.errors import ConfigError, DataFileError, NotYetError, ProviderError
from observer.base.local_time import local_datetime
from observer.reference.etf.list import changes, check, members, merge, shrink_problem
from observer.reference.etf.model import Etf, EtfEntry
from observer.reference.etf.schedule import last_session
from observer.reference.etf.settings import EtfListSourceName
from observer.reference.etf.sources import EtfSources, ManualEtfs

ATTEMPTS_MAX: Final = 3  # of one source
PROBLEMS_REPORTED: Final = 5


class TakenList(msgspec.Struct, frozen=True):
    """A list: its facts, the source that decided its members, their number, its changes in words, and the errors ("" if
    none).
    """

    facts: Sequence[EtfListed]
    list_from: EtfListSourceName
    etfs: int
    detail: str
    problem: str


class _Reported(msgspec.Struct, frozen=True):
    list_from: EtfListSourceName
    entries: Mapping[str, Mapping[str, EtfEntry]]
    problems: Sequence[str]


async def take_list(sources: EtfSources, trading_days: Sequence[date], clock: Clock) -> TakenList:
    """Return today's list.

    Raises:
        NotYetError: no source returned an acceptable list, and the listings that one reads are not stored yet.
        DataFileError: no source returned an acceptable list; the text has each source's reason.
    """
    now_ns = clock.now_ns()
    today = local_datetime(now_ns).date()
    known = await asyncio.to_thread(sources.reader.etfs)
    reported = await _ask_sources(sources, last_session(trading_days, today), clock, known)
    listed = merge(members(reported.entries[reported.list_from], known), reported.entries, known)
    facts = changes(listed, known, today.isoformat(), now_ns)
    kinds: Sequence[EtfChange] = ("initial", "new", "removed", "relisted", "changed")
    counts = {kind: sum(fact.change == kind for fact in facts) for kind in kinds}
    detail = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no changes"
    return TakenList(facts, reported.list_from, len(listed), detail, _problem_of(reported.problems))


async def _ask_sources(sources: EtfSources, session: date, clock: Clock, known: Mapping[str, Etf]) -> _Reported:
    entries: dict[str, Mapping[str, EtfEntry]] = {}
    problems: list[str] = []
    list_from: EtfListSourceName | None = None
    is_early = False
    for name in sources.settings.sources:
        try:
            found, left_out = await _ask_source(name, sources, session, clock)
        except (ProviderError, DataFileError, ConfigError) as error:
            problems.append(str(error))
            is_early |= isinstance(error, NotYetError)
            continue
        checked = check(found)
        problems += [*left_out, *(f"{name}: {problem}" for problem in checked.problems)]
        entries[name] = checked.entries
        if list_from is None:
            why = shrink_problem(checked.entries, known, sources.settings.max_shrink_percent)
            problems += [f"{name}: not believed: {why}"] if why else []
            list_from = None if why else name
    if list_from is None:
        raise (NotYetError if is_early else DataFileError)(f"no source gave a list of ETFs: {'; '.join(problems)}")
    return _Reported(list_from, entries, problems)


async def _ask_source(
    name: EtfListSourceName, sources: EtfSources, session: date, clock: Clock
) -> tuple[Sequence[EtfEntry], Sequence[str]]:
    """A source's entries, and those that the source itself left out."""
    retrying = AsyncRetrying(
        sleep=clock.sleep,
        stop=stop_after_attempt(ATTEMPTS_MAX),
        wait=wait_exponential(),
        retry=retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retry),
        reraise=True,
    )
    async with sources.open(name) as source:
        entries: Sequence[EtfEntry] = await retrying(source.etf_list, session)
        return entries, source.problems if isinstance(source, ManualEtfs) else ()


def _problem_of(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    rest = f" and {len(problems) - PROBLEMS_REPORTED} more" if len(problems) > PROBLEMS_REPORTED else ""
    return f"list of ETFs: {'; '.join(problems[:PROBLEMS_REPORTED])}{rest}"
