"""Redaction of a frame or a body removes its secrets and nothing else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.brokers.redaction import REDACTED, redacted, redacted_headers, redacted_query

SECRET_FIELDS = ("appkey", "appsecret", "secretkey", "access_token", "approval_key", "token")
ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1)


def known(*secrets):
    """As `observer.base.text.without_secrets` does it, for these secrets."""

    def without(text):
        for secret in secrets:
            text = text.replace(secret, REDACTED)
        return text

    return without


def nothing_known(text):
    return text


@given(st.binary(), st.binary(), st.text(min_size=8))
def test_a_known_secret_is_gone_wherever_it_stands(before, after, secret):
    content = before + secret.encode() + after
    # what is left on both sides may make the secret anew only where it contains the blank itself
    assert secret.encode() not in redacted(content, known(secret)) or REDACTED in secret or "*" in secret


@given(
    st.sampled_from(SECRET_FIELDS),
    st.text(min_size=4),
    st.booleans(),
    st.sampled_from((None, 1)),
    st.integers(min_value=0, max_value=2),
)
def test_the_value_of_a_secret_field_is_redacted_even_if_the_secret_is_unknown(
    name, secret, ascii_only, indent, torn_bytes
):
    secret = f"s3cr3t-{secret}"
    text = json.dumps({"first": "x", "deeper": {name: secret}}, ensure_ascii=ascii_only, indent=indent)
    torn = text.encode("utf-8", "surrogatepass")[: len(text.encode("utf-8", "surrogatepass")) - torn_bytes]
    left = redacted(torn, nothing_known)
    assert b"s3cr3t" not in left
    assert REDACTED.encode() in left


@pytest.mark.parametrize("body", ['{"access_token":"abcdefgh', '{"token": 12345678}', '{"APPKEY" : "abcdefgh"}'])
def test_truncated_unquoted_and_capitalised_values_are_redacted(body):
    left = redacted(body.encode(), nothing_known)
    assert b"abcdefgh" not in left
    assert b"12345678" not in left


@given(
    st.dictionaries(
        ANY_TEXT.filter(lambda name: name.lower() not in SECRET_FIELDS),
        st.text().filter(lambda value: value.lower() not in SECRET_FIELDS) | st.integers(),
    )
)
@example({"0": "a secret key"})
def test_json_without_names_of_secrets_is_the_same_byte_for_byte(document):
    content = json.dumps(document).encode()
    assert not any(f'"{name}"'.encode() in content.lower() for name in SECRET_FIELDS)
    assert redacted(content, nothing_known) == content


@given(st.binary())
def test_bytes_that_are_no_text_are_the_same_byte_for_byte(content):
    content = content.replace(b'"', b"|")
    assert redacted(content, nothing_known) == content


def test_a_body_stays_json_around_its_blanks():
    body = {"grant_type": "client_credentials", "appkey": "k" * 36, "secretkey": 's"\\' * 20, "last": [1]}
    left = json.loads(redacted(json.dumps(body).encode(), nothing_known))
    assert left == {**body, "appkey": REDACTED, "secretkey": REDACTED}


def test_redacted_headers_contain_only_the_listed_names():
    headers = {"Authorization": "Bearer abcdefgh", "appkey": "k", "TR_ID": "FHKST01010100", "tr_cont": "M", "date": "x"}
    assert redacted_headers(headers, nothing_known) == {"tr_id": "FHKST01010100", "tr_cont": "M"}


def test_a_query_keeps_the_names_of_its_secrets_alone():
    query = {"FID_INPUT_ISCD": "005930", "appkey": "abcdefgh", "other": "has abcdefgh in it"}
    assert redacted_query(query, known("abcdefgh")) == {
        "FID_INPUT_ISCD": "005930",
        "appkey": REDACTED,
        "other": f"has {REDACTED} in it",
    }
