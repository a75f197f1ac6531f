"""The kinds of alerts that the code raises, found in its syntax: the part of each identity before its object.

An identity is the first argument of a method of `Alerts`. A text, an f-string, a constant of the module or a call of
`identity_of` shows its kind; the other expressions are in `OTHERS`, so a new one fails until it is entered.
"""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from observer.monitoring.alerts import process

ROOT: Final = Path(__file__).parents[2]
RAISING: Final = ("report", "happened", "reported", "report_from_thread", "happened_from_thread")

# Identities that are values of names: by module and expression.
OTHERS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("observer/archive/backup_jobs.py", "identity"): ("backup", "database_damaged"),
    ("observer/archive/removal.py", "open_now"): ("removal", "lake_damaged"),
    ("observer/store/readiness.py", "database_identity(text)"): ("database_unavailable", "database_damaged"),
    ("workers/core_writer.py", "database_identity(text)"): ("database_unavailable", "database_damaged"),
    ("observer/brokers/accounts/health_checks.py", "identity"): ("account", "broker_host", "calendar", "rate_limit"),
    ("observer/brokers/accounts/token_issuer.py", "self._identity"): ("token",),
    ("observer/system/host.py", "identity"): ("host", "no_calendar", "writer_stopped"),
    ("observer/monitoring/alerts/supervised.py", "ended"): ("ended",),
    ("observer/monitoring/alerts/supervised.py", "given_up"): ("given_up",),
    ("observer/monitoring/alerts/supervised.py", "heavy"): ("heavy",),
    ("observer/reference/listings/health.py", "prefix + name"): (
        "master_file_age",
        "listing_count",
        "listing_completeness",
    ),
    ("observer/reference/listings/sync.py", "identity"): ("master_file",),
    ("observer/monitoring/jobs.py", "identity"): ("job",),
    ("observer/system/process_orders.py", "job_identity(job)"): ("job",),
    ("observer/system/refusals.py", "self._identity"): ("refused_events", "refused_messages"),
    ("observer/reference/sectors/jobs.py", "identity"): ("sectors",),
    ("observer/collection/attention.py", "identity"): ("attention_answers", "attention_slots"),
    ("observer/collection/earlier.py", "identity"): ("earlier_days", "opening"),
    ("observer/collection/gap_filler.py", "identity"): ("recovery_target",),
    ("observer/collection/receiver.py", "_not_streamed(symbol)"): ("not_streamed",),
    ("observer/collection/receiver.py", "identity"): ("stream",),
    ("observer/collection/stream_alerts.py", "identity"): ("market_stopped", "subscriptions_held_back"),
    ("observer/collection/sweeps.py", "identity"): ("sweep_unanswered",),
    ("observer/collection/unfinished.py", "identity"): ("unfinished_day",),
    ("observer/collection/unreadable.py", "identity"): ("unreadable", "input_quarantine_full"),
    ("observer/reference/universe/builder.py", "identity"): ("universe_small", "universe_unvalued"),
}
# Raised by methods of `Alerts` with names of their own, and by the calendar's upkeep, which gets a function.
FIXED: Final = (process.FEED_LOSSES, process.JOURNAL_DAMAGED, "calendar")


class Raised(NamedTuple):
    """A kind of alert where it is raised, with its severity; empty where that is no constant, or of several kinds."""

    kind: str
    severity: str
    where: str


def raised() -> Iterator[Raised]:
    """All alerts of the code."""
    for folder in ("observer", "workers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = str(path.relative_to(ROOT))
            text = path.read_text()
            if module != "observer/monitoring/alerts/process.py" and any(f".{name}(" in text for name in RAISING):
                for call in calls(ast.parse(text)):
                    kinds = kinds_of(module, call.args[0])
                    severity = severity_of(call) if len(kinds) == 1 else ""
                    yield from (Raised(kind, severity, f"{module}:{call.lineno}") for kind in kinds)


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that raise an alert."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RAISING:
            owner = ast.unparse(node.func.value)
            if node.args and owner.endswith(("alerts", "_own")):
                yield node


def severity_of(call: ast.Call) -> str:
    match call.args:
        case [_, ast.Constant(str(severity)), *_]:
            return severity
    return ""


def kinds_of(module: str, identity: ast.expr) -> tuple[str, ...]:
    """The kinds that this expression names."""
    text = ast.unparse(identity)
    if (module, text) in OTHERS:
        return OTHERS[module, text]
    match identity:
        case ast.Constant(str(value)):
            return (kind_of(value),)
        case ast.JoinedStr([ast.Constant(str(value)), *_]):
            return (kind_of(value),)
        case ast.Call(ast.Name("identity_of"), [ast.Constant(str(value)), *_]):
            return (kind_of(value),)
        case ast.Name(name) | ast.BinOp(ast.Name(name)) if name.lstrip("_").isupper():
            return (kind_of(getattr(import_module(module.removesuffix(".py").replace("/", ".")), name)),)
    raise AssertionError(f"{module}:{identity.lineno}: which alert is {text}? Enter it in tests/monitoring/kinds.py")


def kind_of(identity: str) -> str:
    return identity.partition(":")[0]
