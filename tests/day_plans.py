"""Plans of days by the session rules that come with Observer."""

from datetime import date

from observer.calendar.phases import DayPlan, DayRules, plan
from observer.calendar.session_file import SHIPPED, read_session_rules
from observer.calendar.trading_day import TradingDay

RULES = DayRules(sessions=read_session_rules(SHIPPED), venue="KRX")


def day_plan(day: date, *, trades: bool = True, rules: DayRules = RULES) -> DayPlan:
    """The plan of a day, which is not the first session of its year."""
    return plan(TradingDay(day, trades, "test"), rules)
