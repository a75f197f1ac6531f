"""Tokens and approval keys: a life in Korean time, and never a blank one."""

import pytest

from observer.base.errors import MalformedError
from observer.base.local_time import local_datetime
from observer.brokers.bodies import decode
from observer.brokers.kis import issuing

NOW_NS = 1_790_000_000_000_000_000


def test_a_token_ends_when_kis_says_in_korean_time():
    body = issuing.TokenBody("secret", 86_400, "2026-11-21 08:01:30")
    token = issuing.issued_token(body, NOW_NS)
    assert local_datetime(token.expires_ns).isoformat() == "2026-11-21T08:01:30+09:00"
    assert token.expires_ns - token.issued_ns >= 24 * 3600 * 10**9
    assert "secret" not in repr(token)


def test_a_token_without_an_expiry_date_lives_for_its_stated_seconds():
    assert issuing.issued_token(issuing.TokenBody("t", 600), NOW_NS).expires_ns == NOW_NS + 600 * 10**9


def test_a_blank_token_is_malformed():
    with pytest.raises(MalformedError):
        issuing.issued_token(issuing.TokenBody(" "), NOW_NS)


@pytest.mark.parametrize("token", ["two words", "키", "a\r\nb: c", "\x00", "x" * 5_000])
def test_a_token_that_no_header_can_carry_is_malformed_and_not_quoted(token):
    with pytest.raises(MalformedError) as caught:
        issuing.issued_token(issuing.TokenBody(access_token=token), 0)
    assert str(caught.value) == "the answer to the token call holds no token"
    with pytest.raises(MalformedError):
        issuing.issued_approval_key(issuing.ApprovalBody(approval_key=token))


def test_a_blank_approval_key_is_malformed():
    with pytest.raises(MalformedError):
        issuing.issued_approval_key(issuing.ApprovalBody(" "))


@pytest.mark.parametrize("life", [b"-1", b"1e400", b"9" * 30, b'"x"'])
def test_an_impossible_lifetime_is_malformed(life):
    with pytest.raises(MalformedError):
        decode(b'{"access_token":"t","expires_in":' + life + b"}", issuing.TokenBody, "issue_token")
