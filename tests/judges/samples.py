"""The provider's samples at the simulated host: run by tests/judges/samples_judging.py in their own environment.

    python samples.py      # the host, the folder of the samples and the calls are JSON on standard input

Prints one JSON line for each sample, as clients.py. The samples stay where they are and unchanged; their addresses and
keys come from the file that they read, in the folder HOME.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

from clients import HOST, PATIENCE_S, refuse_other_hosts

SETTINGS = """
my_app: "{key}"
my_sec: "{secret}"
paper_app: ""
paper_sec: ""
my_htsid: "judge"
my_acct_stock: "00000000"
my_acct_future: "00000000"
my_paper_stock: "00000000"
my_paper_future: "00000000"
my_prod: "01"
prod: "{rest}"
ops: "{stream}"
vps: "{rest}"
vops: "{stream}"
my_token: ""
my_agent: "judge"
"""


def settle() -> Any:
    """Write the samples' settings, load their common module and get an access token; returns the module."""
    folder = Path.home() / "KIS" / "config"
    folder.mkdir(parents=True)
    (folder / "kis_devlp.yaml").write_text(SETTINGS.format(**HOST))
    sys.path.insert(0, HOST["samples"])
    common = importlib.import_module("kis_auth")
    common.auth()
    return common


def sample(path: Path) -> Any:
    """The function of a sample, which has the name of its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, path.stem)


def explained(path: Path) -> set[str]:
    """The fields that the sample's own check names in small letters, those of the answer among them."""
    check = path.with_name(f"chk_{path.stem.removeprefix('chk_')}.py")
    text = check.read_text(encoding="utf-8")
    table = re.search(r"COLUMN_MAPPING = \{(.*?)\n\}", text, re.DOTALL)
    return set(re.findall(r"[\"']([A-Za-z0-9_]+)[\"']\s*:", table.group(1))) if table else set()


def called(path: Path, query: dict[str, str]) -> dict[str, object]:
    """Rows, columns that the check names and the answer lacks, and the first row with a price, of one sample."""
    function = sample(path)
    given = {name: query[name] for name in inspect.signature(function).parameters if name in query}
    if "env_dv" in inspect.signature(function).parameters:
        given["env_dv"] = "real"
    answer = function(**given)
    tables = [table for table in (answer if isinstance(answer, tuple) else (answer,)) if table is not None]
    columns = {str(column) for table in tables for column in table.columns}
    prices = [str(table["stck_prpr"].iloc[0]) for table in tables if len(table) and "stck_prpr" in table.columns]
    return {
        "rows": sum(len(table) for table in tables),
        "lacks": sorted(explained(path) - columns),
        "price": prices[0] if prices else None,
    }


def streamed(common: Any, paths: dict[str, str]) -> None:
    """Subscribe every stream's sample on one connection; print what each received, once all that should have."""
    common.auth_ws()
    functions = {tr_id: sample(Path(path)) for tr_id, path in paths.items()}
    seen: dict[str, list[list[str]]] = {tr_id: [] for tr_id in functions}
    acknowledged: set[str] = set()

    def report() -> None:
        for tr_id in functions:
            say(f"stream {tr_id}", {"acknowledged": tr_id in acknowledged, "rows": seen[tr_id]})
        os._exit(0)

    def take(ws: Any, tr_id: str, table: Any, about: Any) -> None:
        if tr_id in functions and table.empty:
            acknowledged.add(tr_id)
        elif tr_id in functions:
            seen[tr_id] += [[str(value) for value in row] for row in table.to_numpy().tolist()]
        enough = len(seen["H0STCNT0"]) >= HOST["trades"] and all(seen[tr_id] for tr_id in HOST["certain"])
        if enough and acknowledged >= set(functions):
            report()

    timer = threading.Timer(PATIENCE_S, report)
    timer.daemon = True
    timer.start()
    for tr_id, function in functions.items():
        common.KISWebSocket.subscribe(request=function, data=HOST["keys"].get(tr_id, HOST["symbol"]))
    common.KISWebSocket(api_url="/tryitout").start(on_result=take, result_all_data=True)
    report()


def say(step: str, value: object) -> None:
    """Print a result."""
    sys.__stdout__.write(json.dumps({"step": step, "value": value}) + "\n")
    sys.__stdout__.flush()


def main() -> None:
    """Run all samples, each one's failure reported in its place."""
    HOST.update(json.load(sys.stdin))
    sys.stdout = sys.stderr  # the samples print what they do
    refuse_other_hosts()
    common = settle()
    for step, (path, query) in HOST["calls"].items():
        try:
            say(step, called(Path(path), query))
        except Exception as error:  # noqa: BLE001 - whatever a sample raises is its result
            say(step, {"error": f"{type(error).__name__}: {error}"})
    streamed(common, HOST["streams"])


if __name__ == "__main__":
    main()
