"""Targets: what brokers, exchanges and Yahoo send."""

import gzip
import io
import json
import zipfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from bus.codec import decode_events, pack, unpack
from bus.events import ExpectedPrice, MarketStateChanged
from bus.journal import JournalError
from observer.base import text
from observer.base.errors import ObserverError
from observer.brokers import raw
from observer.brokers.bodies import BodyReader, decode, only_member
from observer.brokers.dialect import Data, Unreadable
from observer.brokers.kis import issuing
from observer.brokers.kis.broker import BROKER
from observer.brokers.kis.envelope import classify
from observer.brokers.kis.listings import lines_of, parse_listings
from observer.brokers.kis.replay import RawDecoder
from observer.brokers.kis.session import KisSession
from observer.brokers.krx import bodies as krx
from observer.brokers.redaction import redacted
from observer.reference.listings.intake import unreadable
from observer.reference.listings.model import SECTOR_CODES
from observer.reference.sectors import yahoo
from observer.simulator.kis.masters import file_of, made_up_foreign_contents, made_up_sector_codes
from observer.simulator.market.instruments import made_up_instruments, made_up_konex
from observer.simulator.market.rng import seeded_rng
from tests.brokers import krx_stand_in
from tests.brokers.kis_builders import PINGPONG, frame, reply
from tests.brokers.kis_contract import CONTRACTS, answer_of, encoded, read
from tests.brokers.kis_records import LAYOUTS, fields_of
from tests.fuzz.target import Target, chosen, one_of

STREAM: Final = "ab" * 16
NOW_NS: Final = 1_795_136_401_000_000_000  # 2026-11-20 10:00:01 KST
TOKEN: Final = {"access_token": "t", "token_type": "Bearer", "expires_in": 86400}
TOKEN_ENDS: Final = {"access_token_token_expired": "2026-11-21 08:01:00"}
STATUSES: Final = (200, 200, 200, 400, 401, 429, 500, 503)
UNPACKED_BYTES_MAX: Final = 100_000
REST_BYTES_MAX: Final = 8192  # a body with one row of the widest call has 3 KB


# --- the stream ------------------------------------------------------------------------------------------------


def read_frame(content: bytes) -> None:
    """A frame of the stream, in a session that has seen none before."""
    session = KisSession("the-approval-key")
    message = session.read(content)
    if not isinstance(message, Data):
        assert not isinstance(message, Unreadable) or message.reason
        return
    parsed = session.parse(message, NOW_NS)
    assert not parsed.trades or all(isinstance(fact, MarketStateChanged | ExpectedPrice) for fact in parsed.facts)
    events = [*parsed.trades, *parsed.facts]
    if parsed.broken is None:
        is_auction = any(name in message.frame for name in (b"|H0STANC0|", b"|H0NXANC0|", b"CNT0|"))
        assert events or b"^Y^" in message.frame or is_auction, "a sound frame holds something, but for a known flag"
    else:
        assert parsed.broken.content == message.frame
        assert parsed.broken.reason
        events.append(parsed.broken)
    if events:
        assert decode_events(unpack(pack(STREAM, 1, events))) == events


def frames() -> Sequence[bytes]:
    """Sound frames of every kind of record, in several widths and numbers; one of a kind that is not kept."""
    found = [frame(["7"] * 26, transaction="HDFSCNT0"), frame(fields_of("H0STCNT0"), encrypted="1")]
    for transaction, (documented, _) in LAYOUTS.items():
        for appended in (0, 1, 4):
            one = fields_of(transaction, width=documented + appended)
            found += [frame(*[one] * records, transaction=transaction) for records in (1, 2, 4)]
    return [text.encode() for text in found]


def replies() -> Sequence[bytes]:
    codes = ("OPSP0000", "OPSP0001", "OPSP0002", "OPSP0003", "OPSP0007", "OPSP0008", "OPSP0011", "OPSP8996", "")
    return [PINGPONG.encode(), *(reply(code, text="WHY").encode() for code in codes)]


# --- REST ------------------------------------------------------------------------------------------------------


def read_answer(read_body: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """A body after its status, as the pipeline reads it: refused or decoded, and fit for the bus."""

    def run(content: bytes) -> None:
        status, body = STATUSES[content[0] % len(STATUSES)] if content else 200, content[1:]
        if (refusal := classify(status, body)) is not None:
            raise refusal
        msgspec.msgpack.encode(read_body(body))

    return run


def contract_reader(contract) -> Callable[[bytes], object]:
    return read_answer(lambda content: read(contract, content))


def read_token(content: bytes) -> object:
    return issuing.issued_token(decode(content, issuing.TokenBody, "issue_token"), NOW_NS)


def read_approval(content: bytes) -> object:
    return issuing.issued_approval_key(decode(content, issuing.ApprovalBody, "issue_approval_key"))


def answers() -> Sequence[bytes]:
    found = []
    for number, contract in enumerate(CONTRACTS):
        body = encoded(answer_of(contract.call))
        found += chosen(number, b"\0" + body, b"\6" + encoded({"rt_cd": "1", "msg_cd": "EGW00201", "msg1": "초과"}))
    return found


def issued() -> Sequence[bytes]:
    refused = encoded({"error_code": "EGW00133", "error_description": "..."})
    return [
        *chosen(0, b"\0" + encoded({**TOKEN, **TOKEN_ENDS}), b"\0" + encoded(TOKEN), b"\3" + refused),
        *chosen(1, b"\0" + encoded({"approval_key": "k" * 36}), b"\3" + refused),
    ]


def read_body(content: bytes) -> None:
    """A body as it comes from the socket: an encoding, and portions of bytes."""
    reader = BodyReader(("", "gzip", "br")[content[0] % 3] if content else "", "call", UNPACKED_BYTES_MAX)
    for portion in content[1:].split(b"--"):
        reader.add(portion)
    assert len(reader.whole()) <= UNPACKED_BYTES_MAX


def packed_bodies() -> Sequence[bytes]:
    small, large = gzip.compress(b'{"rt_cd":"0"}'), gzip.compress(bytes(2 * UNPACKED_BYTES_MAX))
    return [*chosen(0, b'{"a"--:1}'), *chosen(1, small[:9] + b"--" + small[9:], large), *chosen(2, b"x")]


# --- what was recorded -----------------------------------------------------------------------------------------


def read_record(content: bytes) -> None:
    """A record of a raw capture, and what its decoder makes of it."""
    facts = RawDecoder().decode(raw.decode(content)).facts
    msgspec.msgpack.encode(list(facts))


def read_label(content: bytes) -> None:
    raw.read_label(content.decode("utf-8", "replace"))


def records() -> Sequence[bytes]:
    """The sound answers, frames and requests, as records."""
    made = [raw.RawRecord("received", "stream", "main", 1, NOW_NS, frame) for frame in [*frames()[::5], *replies()]]
    made.append(raw.RawRecord("sent", "stream", "main", 1, NOW_NS, b'{"tr_id":"H0NXCNT0"}'))
    for contract in CONTRACTS:
        query, body = dict(contract.query), encoded(answer_of(contract.call))
        made.append(raw.RawRecord("received", "rest", "main", 1, NOW_NS, body, contract.call.name, 200, {}, query))
    return [*chosen(0, *map(raw.encode, made)), *chosen(1, str(raw.RawLabel("1", "kis", "track-b")).encode())]


def redact(content: bytes) -> None:
    """Traffic as it is recorded; without any secret in it, nothing but their fields changes."""
    cleaned = redacted(content, lambda text: text)
    assert b'"appsecret":"' not in cleaned or b'"appsecret":"***"' in cleaned


def secrets() -> Sequence[bytes]:
    keys = {"appkey": "PS1", "appsecret": "s" * 40, "grant_type": "client_credentials"}
    subscription = {"header": {"approval_key": "k" * 36, "tr_type": "1"}, "body": {"input": {"tr_id": "H0STCNT0"}}}
    return [encoded(each) for each in (keys, subscription, {**TOKEN, **TOKEN_ENDS}, {"approval_key": 7})]


# --- what is shown of it ---------------------------------------------------------------------------------------

SECRET: Final = "the-app-secret/of+an=account-0123456789"


_FORMS: Final = {form: text._form(form) for form in text._encoded(SECRET)}


def show(content: bytes) -> None:
    """A text of a broker in an alert or an error: short, on one line, storable, and without our secret."""
    concealed = dict(text._forms)
    text._forms.update(_FORMS)
    try:
        said = text.shown(content.decode("utf-8", "surrogateescape"))
    finally:
        text._forms.clear()
        text._forms.update(concealed)
    assert len(said.encode()) <= text.SHOWN_BYTES_MAX
    assert text.plain_text(said) == said
    assert SECRET not in said
    assert SECRET[: len(SECRET) // 2 + 1] not in said


def texts() -> Sequence[bytes]:
    plain, half = f"refused: {SECRET} is wrong", f"refused: {SECRET[18:]} is wrong"
    encoded_forms = [quote(SECRET, safe=""), b64encode(SECRET.encode()).decode(), SECRET.encode().hex()]
    odd = "삼성전자\x1b[2J\u202e\0\r\n" * 30
    return [each.encode() for each in (plain, half, *encoded_forms, odd, f"{plain} " * 99)]


# --- master files ----------------------------------------------------------------------------------------------


def read_listings(exchange: str) -> Callable[[bytes], None]:
    """An unpacked file: every line is a listing or a line that cannot be read."""

    def run(content: bytes) -> None:
        listings, bad = parse_listings(exchange, content)
        assert len(listings) + len(bad) == sum(1 for _ in lines_of(content))
        unreadable(listings, bad)
        msgspec.json.encode(listings)
        msgspec.msgpack.encode([line.reason for line in bad])

    return run


KOREA: Final = ("KOSPI", "KOSDAQ", "KONEX", SECTOR_CODES)
ABROAD: Final = tuple(name for name in BROKER.exchanges if name not in KOREA)


def domestic() -> Sequence[bytes]:
    made = [*made_up_instruments(60, "2026-11-20", seeded_rng(1)), *made_up_konex("2026-11-20", seeded_rng(1))]
    found = []
    for number, exchange in enumerate(KOREA[:3]):
        found += chosen(number, file_of([each for each in made if each.exchange == exchange][:6]))
    return [*found, *chosen(3, made_up_sector_codes()[:460])]


def abroad() -> Sequence[bytes]:
    contents = made_up_foreign_contents(seeded_rng(1))
    names = {exchange: BROKER.listing_file(exchange) for exchange in ABROAD}
    return [
        seed
        for number, exchange in enumerate(ABROAD)
        for seed in chosen(number, b"".join(contents[names[exchange]].splitlines(keepends=True)[:8]))
    ]


def unpack_zip(content: bytes) -> None:
    only_member(content, "KOSPI")


def zips() -> Sequence[bytes]:
    return [
        packed({"kospi_code.mst": b"x" * 300}, zipfile.ZIP_DEFLATED),
        packed({"KOSPI_CODE.MST": b"y" * 30}, zipfile.ZIP_STORED),
        packed({"a": b"1", "b": b"2"}, zipfile.ZIP_DEFLATED),
        packed({"kospi_code.mst": b"z" * 200}, zipfile.ZIP_BZIP2),
        packed({"kospi_code.mst": b"z" * 200}, zipfile.ZIP_LZMA),
        packed({}, zipfile.ZIP_STORED),
    ]


def packed(members: dict[str, bytes], method: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return made.getvalue()


# --- KRX and Yahoo ---------------------------------------------------------------------------------------------


def krx_data(content: bytes) -> None:
    msgspec.msgpack.encode(krx.data_entries(content, "call"))


def krx_open(content: bytes) -> None:
    msgspec.msgpack.encode([krx.open_entries(content, "call"), list(krx.open_days(content, NOW_NS, "call"))])


def krx_login(content: bytes) -> None:
    if refusal := krx.login_refusal(content, "call"):
        raise refusal


def krx_refusal(content: bytes) -> None:
    if refusal := krx.refusal(STATUSES[len(content) % len(STATUSES)], content, "call"):
        raise refusal


def krx_bodies() -> Sequence[bytes]:
    shown = {"BAS_DD": "20261117", "ISU_CD": "069500", "TDD_CLSPRC": "50,000", "NAV": "50,050.25", "ISU_NM": "KODEX"}
    quiet = {**shown, "TDD_CLSPRC": "-", "NAV": "", "OBJ_STKPRC_IDX": "", "ACC_TRDVOL": "1,234,567"}
    return [
        *chosen(0, encoded({"output": [krx_stand_in.ROW, krx_stand_in.INVERSE]})),
        *chosen(1, encoded({"OutBlock_1": [shown, quiet]}), encoded({"OutBlock_1": []})),
        *chosen(2, *(encoded({"_error_code": code, "_error_message": "."}) for code in ("CD001", "CD010", "CD011"))),
        *chosen(3, b" LOGOUT ", b"<html></html>"),
    ]


def yahoo_page(content: bytes) -> None:
    """The screener's page: yfinance decodes its JSON, and we what it returns."""
    yahoo._shaped("screener", yahoo._translated("screener", lambda: json.loads(content)), yahoo.ScreenerPage)


def yahoo_profile(content: bytes) -> None:
    yahoo._shaped("profile", yahoo._translated("profile", lambda: json.loads(content)), yahoo._ProfileAnswer)


def yahoo_bodies() -> Sequence[bytes]:
    said = {"sector": "Technology", "industry": "Semiconductors", "fullTimeEmployees": 1}
    return [
        *chosen(0, encoded({"total": 2, "quotes": [{"symbol": "AAPL"}, {"symbol": "0700.HK", "x": None}]})),
        *chosen(1, encoded({"quoteSummary": {"result": [{"assetProfile": said}], "error": None}})),
        *chosen(1, encoded({"quoteSummary": {"result": None}}), encoded({"quoteSummary": {"result": [{}]}})),
    ]


TARGETS: Final = (
    Target("stream_frame", frames, read_frame, (), weight=12),
    Target("stream_reply", replies, read_frame, (), weight=4),
    Target("rest_answer", answers, one_of(*map(contract_reader, CONTRACTS)), weight=12, length_max=REST_BYTES_MAX),
    Target("rest_issuing", issued, one_of(read_answer(read_token), read_answer(read_approval)), weight=3),
    Target("rest_body", packed_bodies, read_body, weight=3),
    Target("raw_capture", records, one_of(read_record, read_label), (JournalError,), weight=3),
    Target("redaction", secrets, redact, (), weight=3),
    Target("shown_text", texts, show, (), weight=0.5, length_max=3000),
    Target("master_korea", domestic, one_of(*map(read_listings, KOREA)), weight=6),
    Target("master_abroad", abroad, one_of(*map(read_listings, ABROAD)), weight=6),
    Target("master_zip", zips, unpack_zip, weight=3),
    Target("krx", krx_bodies, one_of(krx_data, krx_open, krx_login, krx_refusal), weight=4),
    Target("yahoo", yahoo_bodies, one_of(yahoo_page, yahoo_profile), (ObserverError,), weight=3),
)
