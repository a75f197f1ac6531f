"""Attacks on commands: what a command shows, sends or removes. Each returns what it reached, "" for nothing."""

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.chaos.attacked_system import Checkout, killed
from tests.chaos.inapplicable import InapplicableError
from tests.waiting import until

PASSWORD = "pw-4711-secret"
ESCAPE = "\x1b]0;title\x07"
Attack = Callable[[Checkout, Path], str]


def foreign_http(checkout: Checkout, folder: Path) -> str:
    """`http://` to a host that is not this machine: keys would go over the network in the clear."""
    configuration = _configuration(folder, '[kis]\nrest_url = "http://192.0.2.7:9443"\n')
    with subprocess.Popen(
        [checkout.program, "run", "--config", str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=checkout.folder,
        env={"PATH": "/usr/bin:/bin", "KIS_APP_KEY": "P" * 36, "KIS_APP_SECRET": "s" * 180},
    ) as running:
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            killed(running.pid)
            return "the system runs with it"
        assert running.stderr is not None
        errors = running.stderr.read()
        return "" if b"http" in errors else f"ended for another reason: {errors[:100]!r}"


def demo_on_production(checkout: Checkout, folder: Path) -> str:
    """`demo --folder` of a folder with a configuration and a database, but no demo's marker."""
    _configuration(folder, "")
    database = folder / "data" / "observer.db"
    database.parent.mkdir()
    database.write_bytes(b"production")
    checkout.run("demo", "--symbols", 50, "--speed", 100_000, "--json", "--folder", folder, within_s=10)
    return "" if database.exists() and database.read_bytes() == b"production" else "the database was removed"


def password_in_errors(checkout: Checkout, folder: Path) -> str:
    """A database URL with a password, wherever it stands, and a server that refuses."""
    shown = []
    for url in (
        f"postgresql+psycopg://user:{PASSWORD}@127.0.0.1:1/x",
        f"postgresql+psycopg://user@127.0.0.1:1/x?sslpassword={PASSWORD}",
        f"postgresql+psycopg://user@127.0.0.1:1/x?password={PASSWORD}",
        f"nodriver://user:{PASSWORD}@127.0.0.1:1/x?sslpassword={PASSWORD}",
    ):
        done = checkout.run("db", "upgrade", "--db", url)
        if PASSWORD.encode() in done.stdout + done.stderr:
            shown.append(url.replace(PASSWORD, "..."))
    return f"shown: {shown[0]}" if shown else ""


def password_in_process_list(checkout: Checkout, folder: Path) -> str:
    """A backup of PostgreSQL, whose server does not answer: the command lines of the programs that it starts."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://user:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=8"
        configuration = _configuration(folder, f'[store]\nurl = "{url}"\n')
        help_text = checkout.run("backup", "--help").stdout
        command = ("backup", "make") if b"make" in help_text else ("backup",)
        if not help_text:
            command = ("db", "backup")
        done: list[bytes] = []

        def back_up() -> None:
            reported = checkout.run(*command, "--config", configuration, within_s=20)
            done.append(reported.stdout + reported.stderr)

        thread = threading.Thread(target=back_up)
        thread.start()
        seen: set[str] = set()

        def is_over() -> bool:
            seen.update(_command_lines_with(PASSWORD))
            return not thread.is_alive()

        until(is_over, "the end of the backup", 60, 0.02)
        if any(b"o such command" in out for out in done):
            raise InapplicableError("this version has no command that makes a backup")
        if seen:
            return f"in the command line of {min(seen)}"
        return "in the error" if any(PASSWORD.encode() in out for out in done) else ""


def _command_lines_with(text: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if any(text in word for word in words):
                found.append(Path(words[0]).name)
    return found


def control_characters(checkout: Checkout, folder: Path) -> str:
    """Names with escape sequences in arguments: do they reach the terminal?"""
    found = []
    for arguments in (
        ("run", "--config", folder / f"{ESCAPE}.toml"),
        ("demo", "--symbols", 50, "--folder", folder / f"x{ESCAPE}"),
        ("db", "upgrade", "--db", f"{ESCAPE}://x"),
    ):
        done = checkout.run(*arguments, within_s=10)
        if b"\x1b]0" in done.stdout + done.stderr:
            found.append(arguments[0])
    return f"shown by {', '.join(found)}" if found else ""


def secret_in_broken_keys(checkout: Checkout, folder: Path) -> str:
    """A keys file with a line that is no TOML: is the secret of the line shown?"""
    keys = folder / "keys.toml"
    keys.write_text(f'[main]\napp_key "{PASSWORD}"\n')
    keys.chmod(0o600)
    pool = folder / "provider_pool.json"
    account = {"account_id": "main", "keys_file": str(keys)}
    pool.write_text(json.dumps({"provider_pool": {"accounts": [account]}}))
    configuration = _configuration(folder, f'[run]\nprovider_pool = "{pool}"\n')
    done = checkout.run("accounts", "--config", configuration)
    return "shown" if PASSWORD.encode() in done.stdout + done.stderr else ""


def _configuration(folder: Path, more: str) -> Path:
    """A configuration in the folder; sections of its own are written first."""
    paths = {"data": folder / "data", "runtime": folder / "run"}
    own = "[run]\n" + "".join(f'{name} = "{path}"\n' for name, path in paths.items())
    path = folder / "observer.toml"
    path.write_text(own + more.removeprefix("[run]\n"))
    path.chmod(0o600)
    return path


COMMAND_ATTACKS: Mapping[str, Attack] = {
    "http:// to another host": foreign_http,
    "demo --folder of a production folder": demo_on_production,
    "password of a database URL in errors": password_in_errors,
    "password of a database URL in the process list": password_in_process_list,
    "control characters of names in the output": control_characters,
    "secret of a broken keys.toml in the output": secret_in_broken_keys,
}
