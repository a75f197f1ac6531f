"""`make audit` finds what the advisory database has, and says when it could not ask."""

import json
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.house.audit import main
from tests.privileges import in_a_fork

ADVISORY = {
    "id": "OSV-2026-1",
    "summary": "A made-up defect",
    "affected": [
        {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
        }
    ],
}


@contextmanager
def advisory_database(status, advisories):
    """A stand-in of OSV that has these advisories of packages, by name."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = advisories.get(asked["package"]["name"])
            body = json.dumps({"vulns": [found]} if found else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(folder, database):
    """The audit of two pinned packages: its exit status and what it printed."""
    pins = folder / "requirements.txt"
    pins.write_text("".join(f"{name} --hash=sha256:{'0' * 64}\n" for name in ("requests==2.34.2", "click==8.5.1")))

    def run():
        sys.argv = ["audit", str(pins), "--database", database]
        sys.exit(main())

    done = in_a_fork(run, folder)
    return done.status, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("advisories", "status", "printed"),
    [
        ({}, 0, "2 packages, 0 with advisories\n"),
        (
            {"requests": ADVISORY},
            1,
            "requests 2.34.2: OSV-2026-1, mended in: 9.9\n2 packages, 1 with advisories\n",
        ),
    ],
)
def test_an_advisory_of_a_pinned_package_is_printed_and_ends_with_status_1(tmp_path, advisories, status, printed):
    with advisory_database(200, advisories) as database:
        assert audit(tmp_path, database) == (status, printed)


def test_a_database_that_is_not_reached_or_refuses_is_said_and_ends_with_status_0(tmp_path):
    with advisory_database(403, {"requests": ADVISORY}) as database:
        refused = audit(tmp_path, database)
    for status, printed in (refused, audit(tmp_path, database)):
        assert (status, printed.partition(" (")[0]) == (0, "skipped: no advisory database is reached")
