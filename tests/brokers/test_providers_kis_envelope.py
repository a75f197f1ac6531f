"""The envelope: a refusal becomes the error that its code names, whatever the HTTP status."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import (
    BadRequestError,
    MaintenanceError,
    RateExceededError,
    TokenExpiredError,
    TokenThrottledError,
)
from observer.brokers.kis.envelope import classify


@pytest.mark.parametrize(
    ("status", "body", "error_type"),
    [
        (500, {"rt_cd": "1", "msg_cd": "EGW00201", "msg1": "too many"}, RateExceededError),
        (200, {"rt_cd": "1", "msg_cd": "EGW00201"}, RateExceededError),
        (500, {"rt_cd": "1", "msg_cd": "EGW00123"}, TokenExpiredError),
        (200, {"rt_cd": "1", "msg_cd": "EGW00121"}, TokenExpiredError),
        (500, {"rt_cd": "1", "msg_cd": "EGW00122"}, TokenExpiredError),
        (401, {}, TokenExpiredError),
        *(
            (200, {"rt_cd": "1", "msg_cd": code, "msg1": "server"}, MaintenanceError)
            for code in ("OPSQ1002", "OPSQ0003", "OPSQ0009", "OPSQ0010", "OPSQ0011")
        ),
        *(
            (500, {"rt_cd": "1", "msg_cd": code, "msg1": "no"}, BadRequestError)
            for code in ("EGW00207", "EGW00304", "EGW00213", "EGW00102", "EGW00132", "EGW00208")
        ),
        (403, {"error_code": "EGW00133", "error_description": "once a minute"}, TokenThrottledError),
        (500, {"rt_cd": "1", "msg_cd": "EGW00300"}, MaintenanceError),
        (503, {}, MaintenanceError),
        (429, {}, RateExceededError),
        (200, {"rt_cd": "1", "msg_cd": "OPSQ2001", "msg1": "no such symbol"}, BadRequestError),
        (404, {}, BadRequestError),
        (302, {}, BadRequestError),
        (200, {"rt_cd": 1, "msg_cd": "EGW00201"}, RateExceededError),
        (200, {"rt_cd": "1", "msg_cd": None, "msg1": None}, BadRequestError),
        (200, {"error_code": "EGW00133"}, TokenThrottledError),
        (500, {"rt_cd": "1", "msg_cd": " EGW00123 "}, TokenExpiredError),
    ],
)
def test_a_refusal_becomes_the_error_that_its_code_names(status, body, error_type):
    error = classify(status, json.dumps(body).encode())
    assert type(error) is error_type


def test_an_error_carries_code_and_text():
    error = classify(500, b'{"rt_cd":"1","msg_cd":"EGW00201","msg1":" too many "}')
    assert error is not None
    assert (error.code, str(error)) == ("EGW00201", "EGW00201 too many")


@pytest.mark.parametrize("body", [b'{"rt_cd":"0","msg_cd":"MCA00000"}', b'{"rt_cd":"0 "}', b'{"access_token":"x"}'])
def test_a_success_is_no_error(body):
    assert classify(200, body) is None


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("body", [b"<html>", b"\r\n <!DOCTYPE html><title>\xec\xa0\x90\xea\xb2\x80</title>"])
def test_a_page_instead_of_an_answer_is_maintenance_and_asked_for_again(status, body):
    error = classify(status, body)
    assert type(error) is MaintenanceError
    assert error.retry


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"\xff\xfe", b"[1]"])
def test_an_unreadable_failure_is_classified_by_its_status(body):
    assert type(classify(502, body)) is MaintenanceError


@given(st.integers(100, 599), st.binary())
def test_classification_never_raises(status, body):
    classify(status, body)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("EGW00103", "app key"),
        ("EGW00105", "app secret"),
        ("EGW00206", "apply for the service"),
        ("EGW02004", "rest_url"),
    ],
)
@pytest.mark.parametrize("status", [200, 401, 403, 500])
def test_an_error_that_a_retry_cannot_fix_is_not_retried_and_names_the_remedy(code, remedy, status):
    error = classify(status, json.dumps({"rt_cd": "1", "msg_cd": code, "msg1": "no"}).encode())
    assert type(error) is BadRequestError
    assert not error.retry
    assert error.code == code
    assert remedy in str(error)


def test_a_body_nested_too_deeply_is_classified_by_its_status():
    assert type(classify(500, b'{"output":' + b"[" * 100_000)) is MaintenanceError
