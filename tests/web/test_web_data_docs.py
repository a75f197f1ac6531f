"""docs/http.md: each example gives what the page shows, and the table has each route with its parameters."""

import re
import shutil

import pytest

from tests.web.data_app import data_app
from tests.web.data_documented import PAGE, page_of_now

_COMMON = {"format", "limit", "cursor", "If-None-Match"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are commands of curl")
def test_the_examples_of_the_page_give_their_output(tmp_path):
    assert page_of_now(tmp_path) == PAGE.read_text()


def test_the_table_has_each_route_with_its_parameters(tmp_path):
    rows = re.findall(r"^\| `(/api/[^`]*)` \|.*\|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    written = {path: re.findall(r"`(\w+)`", parameters) for path, parameters in rows}
    paths = data_app(tmp_path).openapi_schema.to_schema()["paths"]
    found = {
        path: [each["name"] for each in item["get"]["parameters"] if each["in"] == "query"]
        for path, item in paths.items()
    }
    assert written == {path: [name for name in names if name not in _COMMON] for path, names in found.items()}
