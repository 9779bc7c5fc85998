"""The straight way (shortcut.py) answers byte for byte as the pipeline does, or not at all.

Each request is sent on one connection until the guard knows its fields, once where the straight
way is open and once where it is not.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import gc
import io
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from davserver.accesslog import AccessLog
from davserver.app import DavApp, create_app
from davserver.asked import Asked
from davserver.auth.passwords import hash_password
from davserver.auth.usersfile import changing_users
from davserver.config import Settings
from davserver.configtables import Rule, Share, UserEntry
from davserver.protocol.dates import parse_http_date
from davserver.protocol.headers import DavHeaders
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, Step, StepKind
from davserver.wire.connection import Phase
from tests.support.edge import EdgeInProcess, Wire

TIMES = 4
"""Of these the first two make the fields known."""
ALICE = b"Authorization: Basic " + base64.b64encode(b"alice:secret")
PROPFIND = (
    b'<D:propfind xmlns:D="DAV:" xmlns:X="urn:x"><D:prop><D:getetag/><D:resourcetype/>'
    b"<D:displayname/><D:lockdiscovery/><D:quota-available-bytes/><X:color/></D:prop></D:propfind>"
)
XML = b"Content-Type: application/xml"
PROXIED = (
    *(b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-Proto: https", b"Via: 1.1 front"),
    *(b"X-Forwarded-Host: nas.example", b"X-Forwarded-Port: 443", b"X-Real-IP: 198.51.100.7"),
    *(b"Forwarded: for=198.51.100.7;proto=https", b"X-Forwarded-Server: front"),
)
PROXY = ("192.0.2.1",)
"""The peer of `Wire`."""


def message(method: bytes, target: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: x", *fields]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def propfind(target: bytes, *fields: bytes, body: bytes = PROPFIND) -> bytes:
    return message(b"PROPFIND", target, b"Depth: 0", *fields, XML, body=body)


PLAIN = {
    "GET": message(b"GET", b"/f.txt"),
    "GET as a browser": message(
        b"GET", b"/f.txt", b"User-Agent: Mozilla/5.0", b"Accept: text/html", b"Sec-Fetch-Mode: cors"
    ),
    "HEAD": message(b"HEAD", b"/f.txt"),
    "an empty file": message(b"GET", b"/empty"),
    "no body, said at length": message(b"GET", b"/f.txt", b"Content-Length: 00"),
    "HTML, in its sandbox": message(b"GET", b"/page.html"),
    "a file below": message(b"GET", b"/c/deep/g%20h.bin"),
    "a name that is not ASCII": message(b"GET", b"/%C3%A9t%C3%A9.txt"),
    "a range": message(b"GET", b"/f.txt", b"Range: bytes=2-4"),
    "the end": message(b"GET", b"/f.txt", b"Range: bytes=-3"),
    "a range of HEAD": message(b"HEAD", b"/f.txt", b"Range: bytes=2-4"),
    "no range": message(b"GET", b"/f.txt", b"Range: lines=1-2"),
    "HEAD of a large file": message(b"HEAD", b"/large"),
    "a part of a large file": message(b"GET", b"/large", b"Range: bytes=70000-170000"),
    "PROPFIND of a file": propfind(b"/f.txt"),
    "PROPFIND of a collection": propfind(b"/c/"),
    "PROPFIND of the root": propfind(b"/"),
    "PROPFIND of what has dead properties": propfind(b"/dead"),
    "PROPFIND of all": message(b"PROPFIND", b"/dead", b"Depth: 0"),
    "PROPFIND of names": propfind(
        b"/dead", body=b'<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>'
    ),
    "Brief": propfind(b"/f.txt", b"Brief: t"),
    "PROPFIND of what is locked": propfind(b"/locked"),
    "GET through a proxy": message(b"GET", b"/f.txt", *PROXIED),
    "GET with an id": message(b"GET", b"/f.txt", b"X-Request-ID: 5f", b"Range: bytes=2-4"),
    "PROPFIND with an id": propfind(b"/f.txt", *PROXIED, b"x-request-id: 5f"),
}
"""What the straight way answers."""
OTHER = {
    "nothing there": message(b"GET", b"/none"),
    "a collection": message(b"GET", b"/c/"),
    "a collection without its slash": propfind(b"/c"),
    "a file with a slash": message(b"GET", b"/f.txt/"),
    "a large file": message(b"GET", b"/large"),
    "a query": message(b"GET", b"/f.txt?x"),
    "a link": message(b"GET", b"/link"),
    "PROPFIND of a link": propfind(b"/link"),
    "a link that leads out": message(b"GET", b"/out"),
    "a FIFO": message(b"GET", b"/fifo"),
    "a reserved name": message(b"GET", b"/.davserver.x"),
    "a dot segment": message(b"GET", b"/c/../f.txt"),
    "the other spelling": message(b"GET", b"/e%CC%81te%CC%81.txt"),
    "a language": message(b"GET", b"/german"),
    "If-None-Match": message(b"GET", b"/f.txt", b'If-None-Match: "x"'),
    "If-Match": message(b"GET", b"/f.txt", b'If-Match: "x"'),
    "If": message(b"GET", b"/f.txt", b'If: (["x"])'),
    "If-Range": message(b"GET", b"/f.txt", b"Range: bytes=2-4", b'If-Range: "x"'),
    "two ranges": message(b"GET", b"/f.txt", b"Range: bytes=0-0"),
    "a range past the end": message(b"GET", b"/f.txt", b"Range: bytes=100-"),
    "two Range fields": message(b"GET", b"/f.txt", b"Range: bytes=0-1", b"Range: bytes=0-1"),
    "a digest": message(b"GET", b"/f.txt", b"Want-Repr-Digest: sha-256=1"),
    "a body of GET": message(b"GET", b"/f.txt", body=b"x"),
    "the end of the connection": message(b"GET", b"/f.txt", b"Connection: close"),
    "Depth 1": message(b"PROPFIND", b"/c/", b"Depth: 1", XML, body=PROPFIND),
    "no Depth": message(b"PROPFIND", b"/f.txt", XML, body=PROPFIND),
    "Prefer": propfind(b"/f.txt", b"Prefer: return=minimal"),
    "JSON is wanted": propfind(b"/f.txt", b"Accept: application/json"),
    "no XML": propfind(b"/f.txt", body=b"<D:propfind"),
    "another type": message(
        b"PROPFIND", b"/f.txt", b"Depth: 0", b"Content-Type: image/png", body=PROPFIND
    ),
    "PROPFIND of nothing": propfind(b"/none"),
    "another method": message(b"OPTIONS", b"/f.txt"),
    "two ids": message(b"GET", b"/f.txt", b"X-Request-ID: 1", b"X-Request-ID: 2"),
}
"""What it leaves to the pipeline."""


@dataclass
class Both:
    """The same application behind two edges."""

    app: DavApp
    root: Path
    edge: EdgeInProcess
    taken: int = 0

    def at_once(self, asked: Asked) -> bytes | bytearray | None:
        answer = self.app.at_once(asked)
        self.taken += answer is not None
        return answer

    def exchange(self, *pieces: bytes) -> bytes:
        """Sends the pieces on one connection, each after what the last one asked for came."""
        return self.edge.run(self._exchange(pieces))

    async def _exchange(self, pieces: Sequence[bytes]) -> bytes:
        wire = Wire()
        guard = self.edge.connect(wire)
        for piece in pieces:
            if wire.is_closing() or wire.ended:
                break
            guard.data_received(piece)
            async with asyncio.timeout(20):
                # In threads, too, and by timers.
                while guard.cycle is not None and not guard.cycle.response_complete:
                    if guard._phase is Phase.BODY and guard.cycle.asked:
                        break  # the rest of the body is in the next piece
                    await asyncio.sleep(0.001)
        wire.close()
        await asyncio.sleep(0)
        return bytes(wire.written)

    def ask(self, *requests: bytes) -> tuple[bytes, bytes]:
        """Returns what the straight way said, and the pipeline; `taken` counts the former."""
        self.taken = 0
        self.edge._edge.known.clear()
        self.edge._edge._seen_once.clear()
        self.edge._edge.at_once = self.at_once
        straight = self.exchange(*requests)
        self.edge._edge.at_once = None
        usual = self.exchange(*requests)
        return without_chance(straight), without_chance(usual)


def without_chance(answers: bytes) -> bytes:
    """Without the date, boundaries, and the space on the disk."""
    space = rb'(?<=available-bytes>)\d+|(?<=available-bytes":")\d+'
    return re.sub(rb"\r\ndate: [^\r]*|[0-9a-f]{24}|" + space, b"", answers)


def statuses(answers: bytes) -> list[bytes]:
    """Those of the answers, not of what they hold."""
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) [^<\r]*\r\n", answers)


def populate(root: Path) -> None:
    (root / "c" / "deep").mkdir(parents=True)
    (root / "c" / "deep" / "g h.bin").write_bytes(b"\0\1")
    for name in ("f.txt", "dead", "german", "locked", "\u00e9t\u00e9.txt"):
        (root / name).write_bytes(b"0123456789")
        os.utime(root / name, ns=(1, 1_700_000_000_123_456_789))
    (root / "empty").touch()
    (root / "page.html").write_text("<script>")
    (root / "large").write_bytes(os.urandom(300_000))
    (root / "link").symlink_to("f.txt")
    outside = root.parent / "outside"
    outside.write_bytes(b"nobody's business")
    (root / "out").symlink_to(outside)
    os.mkfifo(root / "fifo")


def prepare(both: Both) -> None:
    """Sets properties, and a lock."""
    set_color = (
        b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><c xmlns="urn:x">red</c>'
        b"%b</D:prop></D:set></D:propertyupdate>"
    )
    language = b"<D:getcontentlanguage>de</D:getcontentlanguage>"
    lock = (
        b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
        b"<D:locktype><D:write/></D:locktype></D:lockinfo>"
    )
    requests = [
        message(b"PROPPATCH", b"/dead", XML, body=set_color % b""),
        message(b"PROPPATCH", b"/german", XML, body=set_color % language),
        message(b"LOCK", b"/locked", b"Timeout: Infinite", XML, body=lock),
    ]
    answers = both.exchange(*requests)
    assert [status[:1] for status in statuses(answers)] == [b"2"] * len(requests)


@contextlib.contextmanager
def opened(folder: Path, **keys: Any) -> Iterator[Both]:
    root = folder / "root"
    root.mkdir()
    populate(root)
    app = create_app(
        Settings(
            root=keys.pop("root", root),
            state=folder / "state",
            durability=keys.pop("durability", "none"),
            access_log=False,
            anonymous=keys.pop("anonymous", "write"),
            **keys,
        ),
        clock=lambda: 1_800_000_000.0,
    )
    edge = EdgeInProcess()
    edge._config.loaded_app = app
    app._serving()
    # A busy machine is no slow disk: nothing here goes to a thread for that.
    app.services.runner._judge = lambda *_: None  # type: ignore[method-assign]
    try:
        yield Both(app, root, edge)
    finally:
        edge.close()
        app.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with opened(tmp_path_factory.mktemp("shortcut")) as made:
        prepare(made)
        yield made


@pytest.mark.parametrize("request_", PLAIN.values(), ids=PLAIN)
def test_what_is_plain_goes_straight_and_is_the_same(both: Both, request_: bytes) -> None:
    straight, usual = both.ask(*[request_] * TIMES)

    assert both.taken == TIMES - 2
    assert straight == usual
    assert [status[:2] for status in statuses(straight)] == [b"20"] * TIMES


@pytest.mark.parametrize("request_", OTHER.values(), ids=OTHER)
def test_what_is_not_goes_the_usual_way(both: Both, request_: bytes) -> None:
    if request_ is OTHER["two ranges"]:
        request_ = request_.replace(b"0-0", b"0-0,5-6")
    straight, usual = both.ask(*[request_] * TIMES)

    assert both.taken == 0
    assert straight == usual


@given(
    method=st.sampled_from([b"GET", b"HEAD", b"PROPFIND", b"OPTIONS"]),
    target=st.sampled_from(
        [b"/", b"/f.txt", b"/f.txt/", b"/c", b"/c/", b"/link", b"/none", b"/%2e/f.txt", b"/dead"]
    ),
    fields=st.lists(
        st.sampled_from(
            [
                *(b"Range: bytes=1-2", b"Range: bytes=5-2", b"Range: bytes=0-", b"Depth: 0"),
                *(b"Depth: infinity", b"Depth: 3", b"Accept: application/json", b"Accept: */*"),
                *(b'If-None-Match: "a"', b"If-Match: *", b"Prefer: return=minimal", b"Brief: t"),
                *(b"X-Forwarded-For: 1.2.3.4", b"Authorization: Basic eDp5", b"Overwrite: Q"),
                *(b"Content-Type: text/xml", b"TE: trailers", b"Expect: 100-continue"),
                *(b"Lock-Token: <urn:x>", b"If: (<urn:x>)", b"Translate: f", b"Origin: http://a"),
                *(b"X-Request-ID: 5f", b"x-request-id:", b"X-Forwarded-Proto: https"),
            ]
        ),
        max_size=4,
    ),
    body=st.sampled_from([b"", PROPFIND, b"<x/>"]),
)
@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_mixture_is_answered_the_same(
    both: Both, method: bytes, target: bytes, fields: list[bytes], body: bytes
) -> None:
    straight, usual = both.ask(*[message(method, target, *fields, body=body)] * TIMES)

    assert straight == usual


def test_a_file_that_changes_is_never_told_of_as_it_was(both: Both) -> None:
    request = message(b"GET", b"/changing")
    answers = []
    for content in (b"one", b"three"):
        (both.root / "changing").write_bytes(content)
        answers += both.ask(*[request] * TIMES)

    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    assert answers[0].count(b"one") == answers[2].count(b"three") == TIMES


def test_a_head_is_of_the_version_that_is_sent_with_it(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the new version, sent in between, leaves nothing of the old one's head."""
    monkeypatch.setattr(both.edge._edge, "default_lines", lambda *_: b"")
    monkeypatch.setattr(both.edge._edge, "at_once", both.at_once)
    request, part = message(b"GET", b"/again"), message(b"GET", b"/again", b"Range: bytes=0-0")
    (both.root / "again").write_bytes(b"as it was")
    os.utime(both.root / "again", ns=(1, 1_700_000_000_000_000_000))
    before = both.exchange(*[request] * TIMES)
    (both.root / "again").write_bytes(b"longer than it was")
    os.utime(both.root / "again", ns=(1, 1_600_000_000_000_000_000))
    after = both.exchange(part, request)

    assert before.endswith(b"content-length: 9\r\n\r\nas it was")
    assert after.endswith(b"content-length: 18\r\n\r\nlonger than it was")


EACH = (
    b'<D:propfind xmlns:D="DAV:" xmlns:X="urn:x" xmlns:A="http://apache.org/dav/props/"><D:prop>'
    b"<D:getetag/><D:getlastmodified/><D:lockdiscovery/><X:color/><A:executable/></D:prop>"
    b"</D:propfind>"
)
SET = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><X:color xmlns:X="urn:x">red</X:color>'
    b"</D:prop></D:set></D:propertyupdate>"
)
LOCK = (
    b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:shared/></D:lockscope>'
    b"<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
CHANGES: dict[str, Callable[[Both], object]] = {
    "its content": lambda both: (both.root / "told").write_bytes(b"more than it was"),
    "its time": lambda both: os.utime(both.root / "told", ns=(1, 1_600_000_000_000_000_000)),
    "its execute bit": lambda both: (both.root / "told").chmod(0o755),
    "a property": lambda both: both.exchange(message(b"PROPPATCH", b"/told", XML, body=SET)),
    "a lock": lambda both: both.exchange(message(b"LOCK", b"/told", XML, body=LOCK)),
    "a lock above": lambda both: both.exchange(message(b"LOCK", b"/", XML, body=LOCK)),
    "a file in its place": lambda both: both.exchange(message(b"PUT", b"/told", body=b"new")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_told_is_not_told_again_after(
    tmp_path: Path, change: Callable[[Both], object]
) -> None:
    request = propfind(b"/told", body=EACH)
    with opened(tmp_path) as both:
        (both.root / "told").write_bytes(b"as it was")
        os.utime(both.root / "told", ns=(1, 1_700_000_000_000_000_000))
        before, _ = both.ask(*[request] * TIMES)
        change(both)
        straight, usual = both.ask(*[request] * TIMES)

        assert both.taken == TIMES - 2
        assert straight == usual
        assert straight != before


@pytest.mark.parametrize("minimal", [False, True], ids=["answer", "question"])
def test_what_is_long_is_kept_with_no_target(both: Both, minimal: bool) -> None:
    names = b"".join(b"<b:n%d/>" % number for number in range(300))
    body = (
        b'<D:propfind xmlns:D="DAV:" xmlns:b="%b"><D:prop><D:getetag/>%b</D:prop></D:propfind>'
    ) % (b"x" * 600, names)
    brief = b"Brief: t" if minimal else b"Brief: f"
    (both.root / "long").touch()
    os.utime(both.root / "long", ns=(1, 1_700_000_000_000_000_000))
    straight, usual = both.ask(*[propfind(b"/long", brief, body=body)] * TIMES)
    taken, opened = both.taken, both.app._opened
    assert opened is not None
    assert opened.shortcut is not None
    gc.collect()
    told = opened.shortcut._aims[b"/long"].told

    assert taken == TIMES - 2
    assert straight == usual
    assert told is None or (len(told.body) < 1000 and told.plan() is None)


def test_who_may_write_is_not_told_what_others_were(tmp_path: Path) -> None:
    user = UserEntry(name="alice", password=hash_password("secret"))
    body = b'<D:propfind xmlns:D="DAV:"><D:prop><D:supportedlock/></D:prop></D:propfind>'
    requests = [propfind(b"/f.txt", body=body), propfind(b"/f.txt", ALICE, body=body)] * TIMES
    with opened(tmp_path, user=[user], anonymous="read", insecure_basic=True) as both:
        straight, usual = both.ask(*requests)

        assert both.taken
        assert straight == usual
        assert straight.count(b"<D:lockentry>") == 2 * TIMES


def test_pipelined_requests_and_halves_come_out_in_order(both: Both) -> None:
    one, other = PLAIN["GET"], PLAIN["PROPFIND of a file"]
    pieces = [*[one] * 3, *[other] * 3, one + other, one[:9], one[9:], other[:-5], other[-5:]]
    straight, usual = both.ask(*pieces)

    assert both.taken
    assert straight == usual
    assert len(statuses(straight)) == 10


def test_a_change_left_behind_is_recovered_before_anything_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as both:
        state = both.app.services.state
        with state.hold([Key("", b"f.txt")], wait_s=0) as view:
            step = Step(StepKind.APPLY, target=DavPath(("f.txt",)), values={"mtime_ns": 10**18})
            view.record(Change("0" * 32, "", "0123456789abcdef", (step,)))
            view.commit()
        left = state.has_changes()
        straight, usual = both.ask(*[PLAIN["GET"]] * TIMES)

        assert left
        assert not state.has_changes()
        assert straight == usual
        assert straight.count(b"last-modified: Sun, 09 Sep 2001 01:46:40 GMT") == TIMES


MALLORY = b"Authorization: Basic " + base64.b64encode(b"alice:guess")


def test_who_has_signed_in_goes_straight_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None:
        pass

    monkeypatch.setattr("davserver.admission.sleep", at_once)
    user = UserEntry(name="alice", password=hash_password("secret"))
    with opened(tmp_path, user=[user], anonymous="none", insecure_basic=True) as both:
        signed, _ = both.ask(*[message(b"GET", b"/f.txt", ALICE)] * 5)
        taken = both.taken
        anonymous, _ = both.ask(*[PLAIN["GET"]] * 5)
        refused, _ = both.ask(*[message(b"GET", b"/f.txt", MALLORY)] * 2)

        assert taken == 3
        assert signed.count(b"0123456789") == 5
        assert both.taken == 0
        assert statuses(anonymous) == [b"401"] * 5
        assert statuses(refused) == [b"401"] * 2


@pytest.mark.parametrize(
    ("trusted", "told", "answer"),
    [
        (PROXY, b"X-Forwarded-Proto: https", b"200"),
        (PROXY, b"Forwarded: for=198.51.100.7;proto=https", b"200"),
        (PROXY, b"X-Forwarded-Proto: http", b"403"),
        ((), b"X-Forwarded-Proto: https", b"403"),
    ],
)
def test_a_password_goes_straight_where_a_proxy_that_is_trusted_tells_of_tls(
    tmp_path: Path, trusted: Sequence[str], told: bytes, answer: bytes
) -> None:
    user = UserEntry(name="alice", password=hash_password("secret"))
    requests = [message(b"GET", b"/f.txt", ALICE, told, b"X-Request-ID: %d" % n) for n in range(5)]
    with opened(tmp_path, user=[user], anonymous="none", trusted_proxies=trusted) as both:
        straight, usual = both.ask(*requests)

        assert straight == usual
        assert statuses(straight) == [answer] * 5
        assert both.taken == (3 if answer == b"200" else 0)


def test_the_log_tells_the_same_of_what_went_straight(both: Both) -> None:
    stream = io.BytesIO()
    both.app._log = AccessLog(stream, form="json")
    sent = [PLAIN["GET through a proxy"], PLAIN["GET with an id"], PLAIN["PROPFIND with an id"]]
    try:
        both.ask(*[request for request in sent for _ in range(TIMES)])
        both.app._log.flush()
    finally:
        both.app._log = None
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    for entry in entries:
        del entry["time"], entry["ms"]

    assert both.taken > TIMES
    assert entries[: len(entries) // 2] == entries[len(entries) // 2 :]
    assert [entry.get("request_id") for entry in entries].count("5f") == 4 * TIMES


def test_the_first_account_shuts_the_straight_way_to_all_others(tmp_path: Path) -> None:
    put = message(b"PUT", b"/f.txt", body=b"9876543210")
    with opened(tmp_path, anonymous=None, insecure_basic=True) as both:
        before, _ = both.ask(*[PLAIN["GET"]] * TIMES, *[put] * TIMES)
        taken = both.taken
        entry = UserEntry(name="alice", password=hash_password("secret"))
        with changing_users(tmp_path / "state" / "users.toml") as users:
            users["alice"] = entry
        time.sleep(0.1)  # longer than the file is left alone (accounts._LOOK_S)
        both.taken = 0
        both.edge._edge.at_once = both.at_once
        after = both.exchange(PLAIN["GET"], put)  # fields that are known by now

        assert taken == 2 * TIMES - 2
        assert before.count(b"0123456789") == TIMES
        assert both.taken == 0
        assert statuses(after) == [b"401", b"401"]


@pytest.mark.parametrize(
    "request_",
    [
        PLAIN["GET"],
        PLAIN["HEAD"],
        PLAIN["a range"],
        propfind(b"/f.txt", body=PROPFIND.replace(b"displayname", b"getlastmodified")),
        message(b"PUT", b"/f.txt", body=b"0123456789"),
    ],
    ids=["GET", "HEAD", "a part", "PROPFIND", "PUT"],
)
def test_nothing_is_told_that_is_later_than_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """RFC 9110 section 8.8.2.1; here each look at the clock is a second later."""
    clock = map(float, itertools.count(1_000_000_000))
    with opened(tmp_path) as both:
        (both.root / "f.txt").write_bytes(b"0123456789")  # later than any of these seconds
        object.__setattr__(both.app.services, "clock", lambda: next(clock))
        monkeypatch.setattr("davserver.wire.connection.time.time", lambda: next(clock))
        both.edge._state.default_headers = [(b"date", b"")]
        both.edge._edge.at_once = both.at_once
        answers = both.exchange(*[request_] * TIMES)

    dates = re.findall(rb"\r\ndate: ([^\r]*)", answers)
    told = re.findall(rb"getlastmodified>([^<]+)<|last-modified: ([^\r]*)", answers)
    assert both.taken == TIMES - 2
    assert len(dates) == len(told) == TIMES
    for date, modified in zip(dates, told, strict=True):
        assert (parse_http_date(b"".join(modified)) or 0) < (parse_http_date(date) or 0)


def test_no_body_is_larger_than_the_limit(tmp_path: Path) -> None:
    with opened(tmp_path, xml_body_limit=len(PROPFIND) - 1) as both:
        straight, usual = both.ask(*[PLAIN["PROPFIND of a file"]] * TIMES)

        assert straight == usual
        assert statuses(straight) == [b"413"] * TIMES


BOB = b"Authorization: Basic " + base64.b64encode(b"bob:secret")
RULES = [
    Rule(path="/c", access="none", users=["bob"]),
    Rule(path="/f.txt", access="read", users=["alice", "bob"]),
    Rule(path="/dead", access="write", users=["alice"]),
    Rule(path="/dead", access="none"),
]
SUPPORTEDLOCK = b'<D:propfind xmlns:D="DAV:"><D:prop><D:supportedlock/></D:prop></D:propfind>'


@pytest.mark.parametrize("who", [ALICE, BOB, b"X: nobody"], ids=["alice", "bob", "nobody"])
@pytest.mark.parametrize("name", ["f.txt", "c/deep/g%20h.bin", "dead", "empty", "link", "c/"])
def test_rights_that_differ_from_path_to_path_are_asked_for_each(
    tmp_path: Path, who: bytes, name: str
) -> None:
    target = b"/" + name.encode()
    users = [UserEntry(name=name, password=hash_password("secret")) for name in ("alice", "bob")]
    requests = [
        message(b"GET", target, who),
        propfind(target, who, body=SUPPORTEDLOCK),
        message(b"PUT", target, who, body=b"new"),
    ]
    with opened(tmp_path, user=users, rule=RULES, anonymous="none", insecure_basic=True) as both:
        # Who has signed in is remembered.
        both.exchange(message(b"GET", b"/empty", who))
        straight, usual = both.ask(*[one for one in requests[:2] for _ in range(TIMES)])
        taken = both.taken
        both.ask(*[requests[2]] * TIMES)

        assert straight == usual
        assert taken in (0, TIMES - 2, 2 * TIMES - 4)
        assert bool(taken) == (b"HTTP/1.1 20" in straight and name != "link")
        assert both.taken == 0


@pytest.mark.parametrize(
    "target",
    [b"/", b"/one/", b"/one/a.txt", b"/one/in%20it/b.txt", b"/two/link", b"/three/", b"/none/a"],
)
def test_shares_go_straight_as_one_folder_does(tmp_path: Path, target: bytes) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "in it").mkdir(parents=True)
        (tmp_path / name / "a.txt").write_text(name)
        (tmp_path / name / "in it" / "b.txt").write_text("deep")
        (tmp_path / name / "link").symlink_to("a.txt")
    shares = [Share(name=name, path=tmp_path / name) for name in ("one", "two")]
    requests = [message(b"GET", target), propfind(target), message(b"HEAD", target)]
    with opened(tmp_path, share=shares, root=None) as both:
        for request in requests:
            straight, usual = both.ask(*[request] * TIMES)

            is_file = target.endswith(b".txt")
            is_told = is_file or (request is requests[1] and target == b"/one/")
            assert straight == usual
            assert both.taken == (TIMES - 2 if is_told else 0)


@pytest.mark.parametrize("way", ["straight", "usual"])
@pytest.mark.parametrize(
    ("request_", "is_near"),
    [
        (propfind(b"/home/", ALICE), True),
        (message(b"GET", b"/home/bob/note", ALICE), True),
        (message(b"GET", b"/team/note", ALICE), False),
    ],
    ids=["the homes", "a file of another's", "another share"],
)
def test_a_home_is_made_by_either_way(
    tmp_path: Path, way: str, request_: bytes, is_near: bool
) -> None:
    home, team = tmp_path / "home", tmp_path / "team"
    for folder in (home / "bob", team):
        folder.mkdir(parents=True)
        (folder / "note").write_text("for all of us")
    keys: dict[str, Any] = {
        "share": [Share(name="home", path=home, homes=True), Share(name="team", path=team)],
        "rule": [Rule(path="/home/bob/note", access="read")],
        "user": [UserEntry(name="alice", password=hash_password("secret"))],
        "anonymous": None,
        "insecure_basic": True,
        "root": None,
    }
    with opened(tmp_path, **keys) as both:
        # Signs in, and has the fields known, not near the homes.
        first = [message(b"GET", b"/team/note", ALICE), propfind(b"/team/", ALICE)]
        both.exchange(*first * TIMES)
        before = sorted(os.listdir(home))
        both.edge._edge.at_once = both.at_once if way == "straight" else None
        both.exchange(*[request_] * TIMES)

        assert before == ["bob"]
        assert sorted(os.listdir(home)) == (["alice", "bob"] if is_near else ["bob"])
        assert bool(both.taken) is (way == "straight")


@pytest.mark.parametrize(
    "keys",
    [
        {"cors_origins": ["https://a.example"]},
        {"proxy_header": "X-User", "trusted_proxies": ["192.0.2.9"]},
    ],
    ids=["cors", "proxy header"],
)
def test_where_answers_depend_on_more_there_is_no_straight_way(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    with opened(tmp_path, **keys) as both:
        straight, usual = both.ask(*[PLAIN["GET"]] * TIMES)

        assert both.taken == 0
        assert straight == usual


def test_a_disk_that_would_make_others_wait_is_read_elsewhere(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader: Callable[..., bool] = lambda self, buffer, offset: False  # noqa: E731
    monkeypatch.setattr("davserver.storage.reader.FileReader.try_read_into", reader)
    straight, usual = both.ask(*[PLAIN["GET"]] * TIMES)

    assert both.taken == 0
    assert straight == usual


def test_a_file_that_cannot_be_looked_at_stays_open_for_nobody(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr("davserver.storage.reader.look_at_file", fail)
    both.ask(*[PLAIN["GET"]] * TIMES)
    before = len(os.listdir("/proc/self/fd"))
    straight, usual = both.ask(*[PLAIN["GET"]] * TIMES)

    assert both.taken == 0
    assert straight == usual
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_answer_of_the_straight_way_has_its_line_in_the_log(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "f").write_bytes(b"abc")
    app = create_app(root=tmp_path / "root", state=tmp_path / "state", durability="none")
    app._serving()
    peer = {"client": ("192.0.2.1", 1), "scheme": "http"}
    headers = DavHeaders([(b"host", b"x")])
    answer = app.at_once(Asked(b"GET", b"/f", headers, (), b"", peer, lambda: b""))
    app.close()

    assert answer is not None
    line = capfdbinary.readouterr().out
    assert re.fullmatch(rb"\S+Z 192\.0\.2\.1 - GET /f 200 3 \d+\.\dms\n", line)


def test_what_nobody_has_thought_of_is_a_500_in_the_log(
    both: Both, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("on purpose")

    monkeypatch.setattr("davserver.shortreads.Reads.get", fail)
    monkeypatch.setattr("davserver.pipeline.Pipeline.answer", fail)
    straight, usual = both.ask(*[PLAIN["GET"]] * TIMES)

    assert both.taken == TIMES - 2
    assert straight == usual
    assert statuses(straight) == [b"500"] * TIMES
    assert "GET failed" in caplog.text
