"""`observer simulator`: it serves, takes faults and states what it saw."""

import asyncio
import csv
import json
import signal
import stat
import subprocess
import sys

import httpx
from click.testing import CliRunner

from observer.cli.app import command_line
from observer.simulator.faults import FAULT_KINDS, FAULT_MEANINGS
from tests.simulator.simulator_client import at, running
from tests.waiting import DEADLINE_S


async def typed(client, *words):
    arguments = ["simulator", *words, "--url", client.simulator.rest_url]
    result = await asyncio.to_thread(CliRunner().invoke, command_line(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_a_fault_that_is_typed_happens_and_is_counted():
    async with running(at(10)) as client:
        reported = json.loads(await typed(client, "fault", "rest_error", "--for", "30", "--share", "0.5"))
        assert (reported["kind"], reported["start_ns"], reported["end_ns"], reported["share"]) == (
            "rest_error", at(10), at(10, 0, 30), 0.5,
        )  # fmt: skip
        await typed(client, "fault", "maintenance", "--for", "30")
        assert (await client.call("inquire-price", "FHKST01010100")).status_code == 500
        assert json.loads(await typed(client, "counters"))["faults"]
        assert json.loads(await typed(client, "registrations")) == []


def test_help_names_every_fault_and_every_command():
    text = CliRunner().invoke(command_line(), ["simulator", "fault", "--help"], env={"COLUMNS": "400"}).stdout
    assert set(FAULT_MEANINGS) == set(FAULT_KINDS)
    assert all(f"{kind}:" in text for kind in FAULT_KINDS)
    text = CliRunner().invoke(command_line(), ["simulator", "--help"], env={"COLUMNS": "200"}).stdout
    assert all(word in text for word in ("offered", "fault", "counters", "registrations", "--port", "--seed"))


def test_the_command_serves_until_it_is_stopped_with_keys_that_only_the_owner_can_read(tmp_path):
    keys = tmp_path / "keys.toml"
    command = [sys.executable, "-m", "observer", "simulator", "--symbols", "30", "--keys", str(keys), "--accounts", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            urls = dict(process.stdout.readline().split() for _ in range(3))
            assert set(urls) == {"rest", "stream", "files"}
            assert httpx.get(f"{urls['rest']}/simulator/counters").json()["connections"] == 0
            assert httpx.head(f"{urls['files']}/common/master/kospi_code.mst.zip").status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=DEADLINE_S) == 0
        finally:
            process.kill()
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert keys.read_text().count("app_key") == 2


def test_the_offered_trades_of_a_day_with_nxt_state_their_venue_and_session(tmp_path):
    out = tmp_path / "offered.csv"
    words = ["simulator", "offered", "--symbols", "12", "--nxt", "--out", str(out)]
    result = CliRunner().invoke(command_line(), words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with out.open(newline="") as file:
        held = {(row["venue"], row["session"]) for row in csv.DictReader(file)}
    assert held == {
        *(("KRX", session) for session in ("regular", "closing_auction", "after")),
        *(("NXT", session) for session in ("pre", "regular", "after")),
    }
