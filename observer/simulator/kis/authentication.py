"""Authentication by KIS's rules: app keys, access tokens, approval keys and the rate limit. Pure.

Every method takes the market time. A refusal is an exception with KIS's code; the HTTP side turns it into an answer.
Rules: a token lives 24 hours; a request within six hours returns the same one; one key gets no two answers within a
minute (EGW00133); 18 calls in any second of market time, and optionally a number of them in any minute (EGW00201: as
HTTP 500, and for a quarter of the refusals as HTTP 200 with rt_cd 1; both were observed).
"""

import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

from observer.base.errors import ObserverError
from observer.base.units import NS_PER_S

CALLS_PER_S: Final = 18  # of one app key at the real host since 2026-04-20 (docs/kis.md#limits)
PAPER_CALLS_PER_S: Final = 1  # at the paper host
TOKEN_LIFE_S: Final = 86_400
_SAME_TOKEN_S: Final = 6 * 3_600
_ISSUE_INTERVAL_S: Final = 60
_MINUTE_S: Final = 60
_PLAIN_REFUSALS_OF_256: Final = 64


class Refusal(ObserverError):  # noqa: N818 - an answer of the protocol, not an error of ours
    """A refused request; `http_status` is the answer's status, `return_code` the code in its envelope."""

    def __init__(self, code: str, text: str, http_status: int, return_code: str = "1") -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.http_status = http_status
        self.return_code = return_code


class GrantedToken(msgspec.Struct, frozen=True):
    """An access token or an approval key, with its app key and its end."""

    text: str
    app_key: str
    issued_ns: int
    expires_ns: int


class Authentication:
    """The keys in force. `_answered_ns` is each app key's last token answer, new or the same."""

    def __init__(
        self, seed: int, app_keys: Mapping[str, str], calls_per_s: int | None, calls_per_minute: int = 0
    ) -> None:
        """`calls_per_s` None: the real host's. `calls_per_minute` is 0 without such a limit."""
        self._seed = seed
        self._app_keys = dict(app_keys)
        self._calls_per_s = calls_per_s or CALLS_PER_S
        self._latest: dict[str, GrantedToken] = {}
        self._answered_ns: dict[str, int] = {}
        self._tokens: dict[str, GrantedToken] = {}
        self._approvals: dict[str, GrantedToken] = {}
        self._calls_per_minute = calls_per_minute
        self._calls_ns: dict[str, deque[int]] = {app_key: deque() for app_key in app_keys}  # of the last minute
        self._came_ns: dict[str, deque[int]] = {app_key: deque() for app_key in app_keys}  # of the last second
        self._busiest = dict.fromkeys(app_keys, 0)
        self._rate_refusals = 0
        self._issued = 0

    def issue_token(self, app_key: str, app_secret: str, now_ns: int) -> GrantedToken:
        """The answer to tokenP. Raises Refusal (unknown key or secret, or less than a minute ago)."""
        self._check_secret(app_key, app_secret)
        if now_ns - self._answered_ns.get(app_key, -_ISSUE_INTERVAL_S * NS_PER_S) < _ISSUE_INTERVAL_S * NS_PER_S:
            raise Refusal("EGW00133", "접근토큰 발급 잠시 후 다시 시도하세요(1분당 1회)", 403)
        self._answered_ns[app_key] = now_ns
        latest = self._latest.get(app_key)
        if latest is None or latest.text not in self._tokens or now_ns - latest.issued_ns >= _SAME_TOKEN_S * NS_PER_S:
            latest = self._new("token", app_key, now_ns)
            self._latest[app_key] = self._tokens[latest.text] = latest
        return latest

    def revoke_token(self, app_key: str, app_secret: str, token: str) -> None:
        """Forget a token. Raises Refusal."""
        self._check_secret(app_key, app_secret)
        if self._tokens.pop(token, None) is None:
            raise Refusal("EGW00121", "유효하지 않은 token 입니다.", 500)

    def revoke_all_tokens(self) -> None:
        """Forget every token in force, as when the owner revokes them elsewhere: the next call is EGW00121."""
        self._tokens.clear()

    def expire_all_tokens(self, now_ns: int) -> None:
        """Let every token in force end now, before its time: the next call is EGW00123, and a new one is issued."""
        for text, token in self._tokens.items():
            self._tokens[text] = msgspec.structs.replace(token, expires_ns=min(token.expires_ns, now_ns))
        self._latest.clear()

    def revoke_all_approvals(self) -> None:
        """Forget every approval key: the next request on a stream is OPSP0011."""
        self._approvals.clear()

    def issue_approval(self, app_key: str, app_secret: str, now_ns: int) -> GrantedToken:
        """The answer to Approval: a key for the stream. Raises Refusal."""
        self._check_secret(app_key, app_secret)
        approval = self._new("approval", app_key, now_ns)
        self._approvals[approval.text] = approval
        return approval

    def app_key_of_approval(self, approval_key: str, now_ns: int) -> str | None:
        """The app key of this approval key; None when it is not in force."""
        approval = self._approvals.get(approval_key)
        return approval.app_key if approval is not None and now_ns < approval.expires_ns else None

    def admit_call(self, app_key: str, app_secret: str, bearer: str, now_ns: int) -> None:
        """Admit and count one quotation call. Raises Refusal (keys, token, or rate limit)."""
        self._check_secret(app_key, app_secret)
        token = self._tokens.get(bearer.removeprefix("Bearer "))
        if token is None or token.app_key != app_key or not bearer.startswith("Bearer "):
            raise Refusal("EGW00121", "유효하지 않은 token 입니다.", 500)
        if now_ns >= token.expires_ns:
            raise Refusal("EGW00123", "기간이 만료된 token 입니다.", 500)
        self._check_rate(app_key, now_ns)

    @property
    def busiest_seconds(self) -> tuple[int, ...]:
        """The most calls in any one second, admitted or refused, for each app key in the given order."""
        return tuple(self._busiest.values())

    def _check_rate(self, app_key: str, now_ns: int) -> None:
        came_ns, calls_ns = self._came_ns[app_key], self._calls_ns[app_key]
        came_ns.append(now_ns)
        _forget(came_ns, now_ns - NS_PER_S)
        _forget(calls_ns, now_ns - _MINUTE_S * NS_PER_S)
        self._busiest[app_key] = max(self._busiest[app_key], len(came_ns))
        in_second = len(calls_ns) - bisect_right(calls_ns, now_ns - NS_PER_S)
        if in_second >= self._calls_per_s or 0 < self._calls_per_minute <= len(calls_ns):
            raise Refusal("EGW00201", "초당 거래건수를 초과하였습니다.", self._rate_refusal_status())
        calls_ns.append(now_ns)

    def _rate_refusal_status(self) -> int:
        self._rate_refusals += 1
        draw = hashlib.sha256(f"{self._seed}/rate/{self._rate_refusals}".encode()).digest()[0]
        return 200 if draw < _PLAIN_REFUSALS_OF_256 else 500

    def _check_secret(self, app_key: str, app_secret: str) -> None:
        if not app_key:
            raise Refusal("EGW00102", "AppKey는 필수입니다.", 403)
        if app_key not in self._app_keys:
            raise Refusal("EGW00103", "유효하지 않은 AppKey입니다.", 403)
        if self._app_keys[app_key] != app_secret:
            raise Refusal("EGW00105", "유효하지 않은 AppSecret입니다.", 403)

    def _new(self, kind: str, app_key: str, now_ns: int) -> GrantedToken:
        """A text unique in this simulator, the same in every run."""
        self._issued += 1
        text = hashlib.sha256(f"{self._seed}/{kind}/{app_key}/{self._issued}".encode()).hexdigest()
        return GrantedToken(text, app_key, now_ns, now_ns + TOKEN_LIFE_S * NS_PER_S)


def _forget(moments_ns: deque[int], until_ns: int) -> None:
    """Drop the moments at or before the given one."""
    while moments_ns and moments_ns[0] <= until_ns:
        moments_ns.popleft()
