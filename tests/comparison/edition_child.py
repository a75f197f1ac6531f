"""Asks one edition all that can be asked of a stored day and writes each answer as JSON; runs in the edition's Python.

    OLD/.venv/bin/python -P edition_child.py FOLDER OUT SUBJECTS PORT ONLY

FOLDER is a copy of the day that this edition may change. It uses what its users do: the command line, `open_store`, the
process of the page. SUBJECTS is a file with the symbol, the gap and so on that is asked about: the first edition that
is asked chooses them.
"""

import contextlib
import csv
import fnmatch
import inspect
import io
import itertools
import json
import shlex
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

CONFIGURATION: Final = "observer.toml"
RELATIONS: Final = (
    "trades",
    "bars",
    "minute_bars",
    "daily",
    "quality",
    "gaps",
    "slots",
    "triggers",
    "universe",
    "snapshots",
)
SHOWN: Final = (
    "gaps", "cuts", "gap_times", "slots", "decisions", "subscriptions", "triggers", "quality", "tape", "tape_progress",
    "universe", "listings", "new_listings", "listing_changes", "master_checks", "etfs", "etf_lists", "etf_changes",
    "alerts", "phases", "connections", "sweeps",
)  # fmt: skip

# What is typed behind a command, and the commands. Those that write change the copy only.
ASKED: Final[Mapping[str, Sequence[str]]] = {
    "": (
        "accounts",
        "alerts",
        "backup list",
        "config show",
        "enrich show",
        "etf report",
        "keys list",
        "kis calls",
        "lake status",
        "master history",
        "master status",
        "master verify",
        "status",
    ),
    "{day}": (
        "backfill check",
        "coverage",
        "decisions verify",
        "exports rebuild",
        "gaps list",
        "master new",
        "quality",
        "slots show",
        "tape",
        "universe file",
        "universe show",
    ),
    "{day} --symbol {symbol}": ("coverage", "gaps list", "quality"),
    "{day} --venue NXT": ("coverage", "gaps list", "quality", "universe show"),
    "{day} {day}": ("universe diff",),
    "--date {day}": ("slots history",),
    "{symbol}": ("master lifetime",),
    "{symbol} --date {day}": ("slots history", "slots why"),
    "{other} --date {day}": ("slots why",),
    "{symbol} {day}": ("bars",),
    "{symbol} {day} --interval 5m --limit 0": ("bars",),
    "{symbol} {day} --official": ("bars",),
    "{etf}": ("etf show",),
    "{day} --limit 1000": ("etf list", "universe show"),
    "{day} --open": ("gaps list",),
    "{day} --to {folder}/exported": ("export",),
    "{gap} --date {day}": ("gaps show",),
    "{segment} --limit 0": ("journal show",),
    "{segment}": ("journal verify",),
    "--all": ("alerts", "backup verify", "lake verify"),
    "--all --day {day}": ("alerts",),
    "--date {day} --venue NXT": ("slots history",),
    "--days 400 --all": ("db stats",),
    "--db {url}": ("db digest",),
    "--day {day} --once": ("top",),
    "--defaults": ("config diff",),
    "--dry-run": ("db upgrade",),
    "--exchange kospi": ("master diff",),
    "--from {day} --to 2026-12-31": ("calendar sessions",),
    "--offline --recount": ("doctor",),
    "--origin": ("config show",),
    "--recount": ("db check",),
    "--region kr": ("master tradable",),
    "-n 100000": ("logs",),
    "2026-11-01": ("master new",),
    "{folder}/observer.toml": ("config check",),
    **{f"{each} {{day}}": ("show",) for each in SHOWN},
    **{f"'SELECT * FROM {each} ORDER BY ALL' --limit 100000": ("query",) for each in RELATIONS},
}
NOT_ASKED: Final[Mapping[str, Sequence[str]]] = {  # by the reason: commands, or whole groups
    "an order to a running system": (
        "alerts silence",
        "ctl",
        "etf update",
        "gaps retry",
        "master approve",
        "master restore",
        "slots pin",
        "slots unpin",
        "universe build",
    ),
    "asks the broker or another host": ("alerts test", "backfill bars", "enrich download", "kis call", "lake publish"),
    "follows or is a running system": ("capture", "demo", "run", "simulator", "tail"),
    "measures": ("bench",),
    "needs samples of master files": ("enrich run", "master update"),
    "writes configurations, keys or databases": ("backup", "init", "keys", "lake seal", "replay"),
}
VALUES: Final[Mapping[str, Sequence[Any]]] = {  # by the name of a parameter, of a method or of a route
    "adjusted": (True,),
    "as_of": ("{day}",),
    "at": ("{day}T14:00:00",),
    "day": ("{day}",),
    "end": ("{day}T15:00:00",),
    "format": ("csv", "parquet", "nautilus", "lean"),
    "interval": ("5m",),
    "kind": ("etf",),
    "known_at": ("{day}T14:00:00",),
    "name": SHOWN,
    "on": ("{day}",),
    "query": tuple(f"SELECT * FROM {each} ORDER BY ALL" for each in RELATIONS),
    "since": ("2026-11-01",),
    "source": ("official",),
    "start": ("{day}", "2026-11-17"),  # the day before: of daily bars
    "symbol": ("{symbol}", "{etf}"),
    "symbols": ("{symbol}", "{etf}", None),
    "to": ("{folder}/exported-by-method",),
}
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no way to our loopback
NO_VALUE: Final = ("cursor", "exchange", "limit")  # of a route: where to cut the same rows
NO_METHOD: Final = ("close", "follow", "rows")  # ends it, follows a running system, is for our own programs
NO_ROUTE: Final = ("/api/live",)  # the state of /api/state each second, without an end


class Edition:
    """The edition whose Python this is, asked about the day in `folder`."""

    def __init__(self, folder: Path, out: Path, subjects: Mapping[str, str], only: str) -> None:
        self._folder = folder
        self._out = out
        self._subjects = subjects
        self._only = only

    def write(self, door: str, asked: str, ask: Any, *arguments: Any) -> None:
        """Ask and write the answer, or the refusal, which is one too."""
        name = f"{door}/{asked.strip().replace('/', '|')}"
        if not fnmatch.fnmatchcase(name, self._only):
            return
        try:
            answer = ask(*arguments)
        except Exception as error:  # noqa: BLE001 - a bug of one edition is a difference
            answer = {"refused": type(error).__name__, "text": str(error).splitlines()}
        path = self._out / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answer, sort_keys=True, ensure_ascii=False, default=str))

    def filled(self, value: Any) -> Any:
        """The value with the subjects in it."""
        return value.format(**self._subjects) if isinstance(value, str) else value

    def commands(self) -> None:
        """Ask every command.

        Raises:
            SystemExit: of a command it is not said how it is asked, or why not.
        """
        from observer.cli.app import command_line

        found = dict(leaves(command_line()))
        known = {name for names in ASKED.values() for name in names}
        if unknown := [name for name in found if name not in known and not is_left_out(name)]:
            sys.exit(f"neither asked nor left out with a reason: {', '.join(unknown)}")
        for words, name in ((words, name) for words, names in ASKED.items() for name in names if name in found):
            typed = [*name.split(), *shlex.split(self.filled(words))]
            typed += ["--json"] if "--json" in found[name] else []
            typed += ["--config", str(self._folder / CONFIGURATION)] if "--config" in found[name] else []
            self.write("cli", f"{name} {words}", typed_answer, typed)

    def methods(self) -> None:
        """Call every public method of the store: with the parameters that it needs, then with each other one, too."""
        import observer

        with observer.open_store(self._folder / CONFIGURATION) as store:
            names = [each for each in dir(type(store)) if not each.startswith("_") and each not in NO_METHOD]
            for name in names:
                stated = inspect.signature(getattr(store, name)).parameters.values()
                parameters = [each for each in stated if each.kind is not each.VAR_KEYWORD]
                needed = [each.name for each in parameters if each.default is each.empty]
                for given in self._given(needed, [each.name for each in parameters if each.name not in needed]):
                    shown = ", ".join(f"{key}={value}" for key, value in given.items())
                    filled = {key: self.filled(value) for key, value in given.items()}
                    self.write("store", f"{name}({shown})", called, store, name, filled)

    def routes(self, port: int) -> None:
        """Ask every GET route that the API's document names: with its needed parameters, then with each other one."""
        words = [sys.executable, "-m", "workers.web", "--config", str(self._folder / CONFIGURATION)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=self._folder) as process:
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    if "the page is at" in line:
                        break
                host = f"http://127.0.0.1:{port}"
                document = fetched(f"{host}/api/schema/openapi.json")
                self.write("http", "document", lambda: document)
                for path, operations in document["body"]["paths"].items():
                    if "get" in operations and path not in NO_ROUTE:
                        self._ask_route(host, path, operations["get"].get("parameters", ()))
            finally:
                process.terminate()

    def _ask_route(self, host: str, path: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        needed = [each["name"] for each in parameters if each.get("required")]
        others = [each["name"] for each in parameters if each["in"] == "query" and each["name"] not in needed]
        is_paged = "limit" in others
        for given in self._given(needed, [each for each in others if each not in NO_VALUE]):
            filled = {key: self.filled(value) for key, value in given.items()}
            place = path.format(**filled)
            query = {key: value for key, value in filled.items() if f"{{{key}}}" not in path}
            query |= {"limit": 50_000} if is_paged else {}
            shown = "&".join([path, *(f"{key}={value}" for key, value in given.items())])
            self.write("http", shown, fetched, f"{host}{place}?{urllib.parse.urlencode(query)}")

    def _given(self, needed: Sequence[str], others: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """The needed parameters with each combination of their values; then the first with each value of another."""
        if unknown := [each for each in (*needed, *others) if each not in VALUES]:
            sys.exit(f"VALUES has no value of {', '.join(unknown)}")
        first: Mapping[str, Any] | None = None
        for values in itertools.product(*(VALUES[each] for each in needed)):
            given = dict(zip(needed, values, strict=True))
            first = given if first is None else first
            yield given
        for name in others:
            for value in VALUES[name]:
                yield {**(first or {}), name: value}


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Sequence[str]]]:
    """The commands by name, each with its options; a group that runs alone is one."""
    command = command.load() if hasattr(command, "load") else command
    below = getattr(command, "commands", None)
    if path and (below is None or command.callback is not None):
        yield " ".join(path), [name for each in command.params for name in each.opts]
    for name, each in (below or {}).items():
        yield from leaves(each, *path, name)


def is_left_out(name: str) -> bool:
    return any(each in (name, name.partition(" ")[0]) for names in NOT_ASKED.values() for each in names)


def typed_answer(words: Sequence[str]) -> Any:
    """What a command prints, its exit status, and what it says on stderr."""
    from observer.cli.app import main

    printed, said = io.StringIO(), io.StringIO()
    sys.argv = ["observer", *words]
    status: Any = 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    return {"status": status or 0, "answer": parsed(printed.getvalue()), "said": said.getvalue().splitlines()}


def parsed(text: str) -> Any:
    """JSON, or JSON lines; otherwise the lines of the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        with contextlib.suppress(json.JSONDecodeError):
            return [json.loads(line) for line in text.splitlines()]
        return text.splitlines()


def called(store: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    """What a method returns: of a frame its columns with their types, of files their content."""
    found = getattr(store, name)(**arguments)
    if hasattr(found, "collect"):
        frame = found.collect()
        types = {column: str(kind) for column, kind in frame.schema.items()}
        return {"rows": frame.height, "types": types, "columns": frame.to_dict(as_series=False)}
    if isinstance(found, list | tuple):
        folder = arguments["to"]
        return {str(each).removeprefix(folder): content_of(Path(each)) for each in found}
    return {each: getattr(found, each) for each in found.__struct_fields__}


def content_of(path: Path) -> Any:
    """The rows of a file; of a folder or an archive its name alone, since the rows are those of other answers."""
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text())))
    if path.suffix == ".parquet":
        import polars as pl

        return pl.read_parquet(path).to_dict(as_series=False)
    return path.suffix


def fetched(address: str) -> Any:
    """The status, the type and the body of an answer."""
    try:
        with _OPENER.open(address) as answer:
            status, kind, body = answer.status, answer.headers["content-type"], answer.read()
    except urllib.error.HTTPError as refused:
        status, kind, body = refused.code, refused.headers["content-type"], refused.read()
    text = body.decode(errors="replace")
    rows = list(csv.DictReader(io.StringIO(text))) if kind.startswith("text/csv") else None
    return {"status": status, "type": kind, "body": parsed(text) if rows is None else rows}


def chosen(folder: Path) -> Mapping[str, str]:
    """What is asked about: the last day, the symbol with the most gaps, one without a slot, an ETF, and so on."""
    import observer

    with observer.open_store(folder / CONFIGURATION) as store:
        day = str(store.days().collect()["day"].max())
        gaps = store.gaps(day).collect()
        members, slots = store.universe(day).collect()["symbol"], set(store.slots(day).collect()["symbol"])
        etfs = store.instruments(kind="etf").collect()["symbol"]
    symbol = gaps["symbol"].value_counts(sort=True)["symbol"][0]
    import tomllib

    segments = sorted((folder / "run" / "outbox").rglob("*.journal"), key=lambda path: path.stat().st_size)
    return {
        "day": day,
        "etf": next((each for each in etfs if each in slots), etfs[0]),
        "folder": str(folder),
        "gap": str(gaps.filter(symbol=symbol)["gap_id"][0]),
        "other": next((each for each in members if each not in slots), members[-1]),
        "segment": str(segments[-1]),
        "symbol": symbol,
        "url": tomllib.loads((folder / CONFIGURATION).read_text())["store"]["url"],
    }


def main() -> None:
    """Ask everything."""
    folder, out, file, port, only = (*map(Path, sys.argv[1:4]), int(sys.argv[4]), sys.argv[5])
    if not file.exists():
        file.write_text(json.dumps(chosen(folder), indent=1))
    edition = Edition(folder, out, json.loads(file.read_text()), only)
    typed_answer(["db", "upgrade", "--config", str(folder / CONFIGURATION)])
    edition.methods()
    edition.routes(port)
    edition.commands()


if __name__ == "__main__":
    main()
