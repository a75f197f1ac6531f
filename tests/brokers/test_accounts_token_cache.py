"""The shared access token: readers see whole records, a rejection counts once, waiting has a deadline."""

import asyncio
import stat

import msgspec
import pytest

from observer.base.clock import ManualClock
from observer.base.errors import DataFileError, TokenExpiredError
from observer.base.text import CONCEALED, without_secrets
from observer.brokers.accounts.keys import AccountKeys
from observer.brokers.accounts.token_cache import CachedCredentials, TokenRecord, TokenStore
from observer.brokers.broker import Credentials
from tests.waiting import DEADLINE_S

KEYS = AccountKeys("main", "app key", "app secret")


def record(token="token 1", expires_ns=1_000, renewed_ns=0):
    return TokenRecord(
        access_token=token, approval_key="approval", issued_ns=0, expires_ns=expires_ns, renewed_ns=renewed_ns
    )


def reader(folder, clock=None, deadline_s=5.0):
    return CachedCredentials(
        store=TokenStore(folder, "main"), keys=KEYS, clock=clock or ManualClock(), deadline_s=deadline_s
    )


def test_a_process_reads_the_token_that_another_process_writes(tmp_path):
    TokenStore(tmp_path, "main").write(record())
    assert asyncio.run(reader(tmp_path).current()) == Credentials("app key", "app secret", "token 1", "approval")


def test_the_file_is_for_its_owner_only(tmp_path):
    TokenStore(tmp_path / "tokens", "main").write(record())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tokens").iterdir()}
    assert modes == {"main.json": 0o600}


def test_a_replaced_file_is_read_again(tmp_path):
    store, other = TokenStore(tmp_path, "main"), TokenStore(tmp_path, "main")
    store.write(record())
    assert other.read() == record()
    store.write(record("token 2"))
    assert other.read() == record("token 2")


def test_a_token_file_that_is_not_a_record_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "main.json").write_text("{")
    with pytest.raises(DataFileError, match="delete it"):
        TokenStore(tmp_path, "main").read()


@pytest.mark.parametrize("found", [None, "half a rec"])
async def test_a_reader_waits_for_the_first_whole_record(tmp_path, found):
    if found is not None:
        (tmp_path / "main.json").write_text(found)

    waiting = asyncio.create_task(reader(tmp_path).current())
    await asyncio.sleep(0)
    TokenStore(tmp_path, "main").write(record())
    assert (await waiting).access_token == "token 1"


def test_waiting_ends_at_the_deadline(tmp_path):
    with pytest.raises(TokenExpiredError, match="main") as reported:
        asyncio.run(reader(tmp_path, deadline_s=0.0).current())
    assert not reported.value.retry  # it has been waited for


async def test_whether_a_refused_token_was_renewed_is_reported(tmp_path):
    store, rejecter = TokenStore(tmp_path, "main"), reader(tmp_path, deadline_s=0.0)
    store.write(record())
    used = await rejecter.current()
    assert not await rejecter.reject(used)
    store.write(record("token 2"))
    assert await rejecter.reject(used)


async def test_a_rejection_that_cannot_be_written_returns_false_without_waiting(tmp_path):
    store, rejecter = TokenStore(tmp_path, "main"), reader(tmp_path)
    store.write(record())
    used = await rejecter.current()
    (tmp_path / "main.rejected").mkdir()  # like a full disk: no file can take this name
    assert await asyncio.wait_for(rejecter.reject(used), DEADLINE_S) is False


def test_an_expired_token_is_not_handed_out(tmp_path):
    TokenStore(tmp_path, "main").write(record(expires_ns=50))
    with pytest.raises(TokenExpiredError):
        asyncio.run(reader(tmp_path, ManualClock(50), deadline_s=0.0).current())


async def test_a_rejection_is_pending_until_a_renewal_is_written_and_ends_all_waits(tmp_path):
    issuer, readers = TokenStore(tmp_path, "main"), [reader(tmp_path) for _ in range(4)]
    issuer.write(record())
    used = await readers[0].current()
    rejecting = [asyncio.create_task(each.reject(used)) for each in readers]
    await asyncio.sleep(0)
    assert issuer.pending_rejection()
    issuer.write(record("token 2"))
    await asyncio.gather(*rejecting)
    assert not issuer.pending_rejection()
    assert [(await each.current()).access_token for each in readers] == ["token 2"] * 4


async def test_a_renewal_that_brought_the_same_token_ends_the_wait_too(tmp_path):
    issuer, rejecter = TokenStore(tmp_path, "main"), reader(tmp_path)
    issuer.write(record())
    rejecting = asyncio.create_task(rejecter.reject(await rejecter.current()))
    await asyncio.sleep(0)
    issuer.write(record(renewed_ns=7))
    await rejecting
    assert issuer.pending_rejection() is False


async def test_a_refused_approval_key_is_noted_apart_from_the_token_and_answered_by_another_key(tmp_path):
    issuer, stream, caller = TokenStore(tmp_path, "main"), reader(tmp_path), reader(tmp_path)
    issuer.write(record())
    rejecting = asyncio.create_task(stream.reject(await stream.current(), "approval_key"))
    await asyncio.sleep(0)
    assert (issuer.pending_rejection("approval_key"), issuer.pending_rejection()) == (True, False)
    used = await caller.current()
    noted = asyncio.create_task(caller.reject(used))
    await asyncio.sleep(0)
    issuer.write(msgspec.structs.replace(record(), approval_key="another", key_renewed_ns=5))
    assert await rejecting
    assert (issuer.pending_rejection("approval_key"), issuer.pending_rejection()) == (False, True)
    assert not noted.done(), "the token is as refused as before"
    issuer.write(msgspec.structs.replace(record("token 2"), approval_key="another", key_renewed_ns=5))
    assert (issuer.pending_rejection(), await noted) == (False, True)


async def test_rejecting_a_token_that_is_not_in_force_any_more_does_nothing(tmp_path):
    issuer, late = TokenStore(tmp_path, "main"), reader(tmp_path)
    issuer.write(record())
    used = await late.current()
    issuer.write(record("token 2"))
    await late.reject(used)
    assert issuer.pending_rejection() is False


def test_no_secret_is_in_the_note_or_in_any_text(tmp_path):
    store = TokenStore(tmp_path, "main")
    store.write(record("hush"))
    store.note_rejection(record("hush"))
    assert "hush" not in (tmp_path / "main.rejected").read_text() + repr(record("hush")) + str(record("hush"))


def test_a_token_that_was_read_appears_in_no_log(tmp_path):
    TokenStore(tmp_path, "main").write(record("a token that must not be reported"))
    asyncio.run(reader(tmp_path).current())
    assert without_secrets("Bearer a token that must not be reported") == f"Bearer {CONCEALED}"
