"""Takes a day's list of funds: asks every configured source, and puts together what they tell.

A source that fails is told of and the next one is asked; what it gave on earlier days stays.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import msgspec
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from bus.events import FundListed
from observer.clock import Clock, kst_datetime
from observer.config import Settings
from observer.errors import ConfigError, DataFileError, ProviderError
from observer.funds.sources import ManualFunds, open_source
from observer.funds.times import last_session
from observer.reference.etf import Fund, FundEntry
from observer.reference.etf_list import changes, check, members, merge, shrink_problem
from observer.reference.etf_settings import FundListSourceName
from observer.store.funds import FundReader

ATTEMPTS_MAX: Final = 3  # of one source; requirement 002, "KRX Data API Timeout"
PROBLEMS_TOLD: Final = 5


class TakenList(msgspec.Struct, frozen=True):
    """A list: its facts, who said which funds there are, how many, in words what changed, and what went wrong ("")."""

    facts: Sequence[FundListed]
    list_from: FundListSourceName
    funds: int
    detail: str
    problem: str


class _Told(msgspec.Struct, frozen=True):
    list_from: FundListSourceName
    entries: Mapping[str, Mapping[str, FundEntry]]
    problems: Sequence[str]


async def take_list(settings: Settings, reader: FundReader, trading_days: Sequence[date], clock: Clock) -> TakenList:
    """Today's list.

    Raises:
        DataFileError: no source gave one that can be believed; says why of each.
    """
    now_ns = clock.now_ns()
    today = kst_datetime(now_ns).date()
    known = reader.funds()
    told = await _ask_sources(settings, reader, last_session(trading_days, today), clock, known)
    listed = merge(members(told.entries[told.list_from], known), told.entries, known)
    facts = changes(listed, known, today.isoformat(), now_ns)
    counts = {kind: sum(fact.change == kind for fact in facts) for kind in ("new", "removed", "relisted", "changed")}
    detail = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no changes"
    return TakenList(facts, told.list_from, len(listed), detail, _problem_of(told.problems))


async def _ask_sources(
    settings: Settings, reader: FundReader, session: date, clock: Clock, known: Mapping[str, Fund]
) -> _Told:
    entries: dict[str, Mapping[str, FundEntry]] = {}
    problems: list[str] = []
    list_from: FundListSourceName | None = None
    for name in settings.funds.sources:
        try:
            found, left_out = await _ask_source(name, settings, reader, session, clock)
        except (ProviderError, DataFileError, ConfigError) as error:
            problems.append(str(error))
            continue
        checked = check(found)
        problems += [*left_out, *(f"{name}: {problem}" for problem in checked.problems)]
        entries[name] = checked.entries
        if list_from is None:
            why = shrink_problem(checked.entries, known, settings.funds.max_shrink_percent)
            problems += [f"{name}: not believed: {why}"] if why else []
            list_from = None if why else name
    if list_from is None:
        raise DataFileError(f"no source gave a list of funds: {'; '.join(problems)}")
    return _Told(list_from, entries, problems)


async def _ask_source(
    name: FundListSourceName, settings: Settings, reader: FundReader, session: date, clock: Clock
) -> tuple[Sequence[FundEntry], Sequence[str]]:
    """A source's entries, and what it left out of them itself."""
    retrying = AsyncRetrying(
        sleep=clock.sleep,
        stop=stop_after_attempt(ATTEMPTS_MAX),
        wait=wait_exponential(),
        retry=retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retry),
        reraise=True,
    )
    async with open_source(name, settings, reader) as source:
        entries: Sequence[FundEntry] = await retrying(source.fund_list, session)
        return entries, source.problems if isinstance(source, ManualFunds) else ()


def _problem_of(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    rest = f" and {len(problems) - PROBLEMS_TOLD} more" if len(problems) > PROBLEMS_TOLD else ""
    return f"list of funds: {'; '.join(problems[:PROBLEMS_TOLD])}{rest}"
