"""docs/http.md: each example gives what the page shows, and the table has each route with its parameters."""

import re
import shutil

import pytest

from observer.research.catalogue import RELATIONS
from tests.web.data_app import data_app
from tests.web.data_documented import PAGE, page_of_now

_COMMON = {"format", "limit", "cursor", "If-None-Match"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are commands of curl")
def test_the_examples_of_the_page_give_their_output(tmp_path):
    assert page_of_now(tmp_path) == PAGE.read_text()


def test_the_document_has_a_route_of_each_relation_and_the_page_each_parameter(tmp_path):
    paths = data_app(tmp_path).openapi_schema.to_schema()["paths"]
    assert set(paths) == {f"/api/{name}" for name in RELATIONS}
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    found = {each["name"] for item in paths.values() for each in item["get"]["parameters"] if each["in"] == "query"}
    assert found - _COMMON <= named
