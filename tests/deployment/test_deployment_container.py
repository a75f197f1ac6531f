"""The Containerfile, read as a builder reads it. No engine runs here: its steps were tried by hand."""

import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from observer.base.shipped_files import shipped_file
from observer.monitoring.metrics.settings import MetricsSettings
from tests.deployment.installing import BUILT_FROM, PACKAGES, ROOT
from tests.waiting import DEADLINE_S

LINES = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE))
STEPS = [(line.split()[0], line.partition(" ")[2].strip()) for line in LINES.splitlines() if line.strip()]
INSTRUCTIONS = {
    "FROM",
    "WORKDIR",
    "RUN",
    "COPY",
    "ENV",
    "USER",
    "VOLUME",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}
LAST_STAGE = STEPS[[index for index, (name, _) in enumerate(STEPS) if name == "FROM"][-1] :]


def last(instruction):
    [*_, value] = [value for name, value in LAST_STAGE if name == instruction]
    return value


def test_each_line_is_an_instruction_and_the_base_is_slim():
    assert {name for name, _ in STEPS} == INSTRUCTIONS
    assert all("-slim" in value for name, value in STEPS if name == "FROM")


def test_it_runs_as_a_user_without_rights_and_writes_its_volume_alone():
    assert last("USER") == "observer"
    assert last("VOLUME") == last("WORKDIR") == "/srv/observer"
    assert "useradd --system" in last("RUN")
    assert not [value for name, value in LAST_STAGE[-7:] if name in ("RUN", "COPY")], "nothing is made after USER"


def test_it_builds_the_wheel_from_the_files_that_the_wheel_needs_and_these_are_there():
    copied = [word for name, value in STEPS if name == "COPY" and "--from" not in value for word in value.split()[:-1]]
    assert set(copied) == {*BUILT_FROM, *PACKAGES, "requirements.txt"}
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert {"*", "config/*keys.toml", "config/alert_targets.toml"} <= set(ignored)


def test_no_secret_is_in_it():
    assert not [value for name, value in STEPS if name in ("ENV", "COPY") and re.search("KEY|SECRET|keys", value)]


def test_it_starts_observer_and_stops_it_in_order():
    assert (json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))) == (["observer"], ["run"])
    assert last("STOPSIGNAL") == "SIGTERM"


@contextmanager
def answering(status):
    """A server on loopback that answers with this status; its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "ended"), [(200, 0), (503, 1)])
def test_its_health_is_the_answer_of_healthz(status, ended):
    _, _, command = last("HEALTHCHECK").partition("CMD ")
    program, *words = json.loads(command)
    assert program == "python"
    assert str(MetricsSettings().port) in words[-1]
    with answering(status) as port:
        words[-1] = words[-1].replace(str(MetricsSettings().port), str(port))
        ran = subprocess.run([sys.executable, *words], capture_output=True, check=False, timeout=DEADLINE_S)
    assert ran.returncode == ended


def test_the_port_of_the_health_check_is_the_one_of_init():
    assert f"# port = {MetricsSettings().port} " in shipped_file("observer.toml").read_text()


def test_its_introduction_names_commands_that_a_shell_can_split():
    text = (ROOT / "Containerfile").read_text().partition("\n\n")[0]
    commands = [line.lstrip("# ") for line in text.replace("\\\n#", "").splitlines() if line.startswith("#   ")]
    assert all(shlex.split(command)[0] == "podman" for command in commands)
    [build] = [command for command in commands if command.startswith("podman build")]
    [run] = [command for command in commands if "--detach" in command]
    assert "--format docker" in build, "podman's own format has no health check"
    assert "--restart on-failure --health-on-failure kill" in run
