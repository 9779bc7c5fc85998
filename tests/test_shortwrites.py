"""What changes a resource by the straight way (shortwrites.py) is answered as by the pipeline, and
leaves the same behind; and so is a PUT that the pipeline does at once, with its whole body.

Two servers get the same requests, one of them with these ways closed.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from davserver.auth.passwords import hash_password
from davserver.configtables import UserEntry
from davserver.context import RequestContext, Response
from davserver.errors import GateBusy, StateFailure, StorageFailure
from davserver.methods import _freeing
from davserver.methods._publishing import publish_over
from davserver.methods.base import Method
from davserver.methods.put import _Upload
from davserver.protocol.path import DavPath, Key
from davserver.state import gatelock
from davserver.state.base import Change, Step, StepKind
from davserver.state.sqlite import SqliteState
from davserver.storage.filesystem import FilesystemStorage
from tests.support.faults import Fault, Fuse, faulty_statements, faulty_system
from tests.support.processes import await_true
from tests.test_shortcut import PROXIED, PROXY, Both, message, opened, populate, propfind, statuses

XML = b"Content-Type: text/xml"
LOCKINFO = (
    b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:%b/></D:lockscope><D:locktype><D:write/>'
    b"</D:locktype><D:owner>me</D:owner></D:lockinfo>"
)
UPDATE = b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>%b</D:prop></D:set></D:propertyupdate>'
_TOKENS = [b"urn:uuid:00000000-0000-4000-8000-%012d" % number for number in range(99)]


def put(target: bytes, body: bytes, *fields: bytes) -> bytes:
    return message(b"PUT", target, *fields, body=body)


def lock(target: bytes, *fields: bytes, scope: bytes = b"exclusive") -> bytes:
    return message(b"LOCK", target, *fields, XML, body=LOCKINFO % scope)


def unlock(target: bytes, number: int) -> bytes:
    return message(b"UNLOCK", target, b"Lock-Token: <%b>" % _TOKENS[number])


def proppatch(target: bytes, *fields: bytes, value: bytes = b'<c xmlns="urn:x">red</c>') -> bytes:
    return message(b"PROPPATCH", target, *fields, XML, body=UPDATE % value)


def mkcol(target: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return message(b"MKCOL", target, *fields, body=body)


def move(target: bytes, goal: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return message(b"MOVE", target, b"Destination: %b" % goal, *fields, body=body)


def delete(target: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return message(b"DELETE", target, *fields, body=body)


def submits(number: int, tagged: bytes = b"") -> bytes:
    return b"If: %b(<%b>)" % (tagged, _TOKENS[number])


_OF_ITS_TIME = re.compile(
    rb"\r\n(?:date|last-modified): [^\r]*|(?<=<D:getlastmodified>)[^<]*"
    rb'|"[0-9a-f-]+"|[0-9-]{10}T[^<]*'
)


@dataclass
class Pair:
    """The same server twice: with the straight way, and without."""

    straight: Both
    usual: Both
    whole: int = 0

    def ask(self, *requests: bytes) -> tuple[list[bytes], int]:
        """Returns the answers, which are the same, and how many took the straight way."""
        self.straight.edge._edge.at_once = self.straight.at_once
        return self._ask(requests)

    def ask_pipeline(self, *requests: bytes) -> tuple[list[bytes], int]:
        """The same, by the pipeline; `whole` counts what it has done at once."""
        self.straight.edge._edge.at_once = None
        return self._ask(requests)

    def _ask(self, requests: Sequence[bytes]) -> tuple[list[bytes], int]:
        self.straight.taken = self.whole = 0
        found = [self.straight.exchange(*requests), self.usual.exchange(*requests)]
        assert _comparable(found[0]) == _comparable(found[1])
        assert _tree(self.straight.root) == _tree(self.usual.root)
        return statuses(found[0]), self.straight.taken


def _comparable(answers: bytes) -> bytes:
    """Without what no two servers have in common: inodes and times."""
    return re.sub(_OF_ITS_TIME, b"", answers)


def _tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) and path.name != "large" else None
        found[str(path.relative_to(root))] = (mode, content)
    return found


def know(*requests: bytes) -> list[bytes]:
    """Each three times: of these the last goes straight."""
    return [request for request in requests for _ in range(3)]


def _token(both: Both) -> str:
    """Returns the first that is free: one that was granted to nobody is offered again."""
    lock = both.app.services.state.lock
    return next(token for token in map(bytes.decode, _TOKENS) if lock(token, now=0) is None)


def _reset(both: Both) -> None:
    with both.app.services.state.hold([], wait_s=0) as view:
        view.clear(Key("", b""))
    for path in both.root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    populate(both.root)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    yield from pairs(tmp_path)


def pairs(folder: Path, **keys: Any) -> Iterator[Pair]:
    places = folder / "one", folder / "other"
    for place in places:
        place.mkdir()
    with opened(places[0], **keys) as one, opened(places[1], **keys) as other:
        for both in (one, other):
            object.__setattr__(both.app.services, "new_token", partial(_token, both))
        pair = Pair(one, other)
        assert one.app._opened is not None
        assert other.app._opened is not None
        other.edge._edge.at_once = None
        usual = other.app._opened.pipeline
        usual._take_small_body = lambda *_: None  # type: ignore[method-assign]
        usual._briefly = lambda *_: None  # type: ignore[method-assign]
        pipeline = one.app._opened.pipeline
        at_once = pipeline._at_once

        def counting(rc: RequestContext, method: Method, body: bytes) -> Response | None:
            response = at_once(rc, method, body)
            pair.whole += response is not None
            return response

        pipeline._at_once = counting  # type: ignore[method-assign]
        yield pair


STRAIGHT = {
    "a new file": [put(b"/new", b"one")],
    "through a proxy": [
        put(b"/f.txt", b"one", *PROXIED, b"X-Request-ID: 5f"),
        lock(b"/f.txt", *PROXIED, b"X-Request-ID: 5f"),
        proppatch(b"/f.txt", *PROXIED, b"X-Request-ID: 5f", submits(0)),
    ],
    "an empty file": [message(b"PUT", b"/new", b"Content-Length: 0")],
    "a file below": [put(b"/c/deep/new", b"one")],
    "over another": [put(b"/f.txt", b"one")],
    "over an executable one": [put(b"/tool", b"#!")],
    "a condition that is met": [put(b"/f.txt", b"x", b"If-Match: *")],
    "with the token of a lock": [lock(b"/f.txt"), put(b"/f.txt", b"x", submits(0))],
    "with Lock-Token": [
        lock(b"/f.txt"),
        put(b"/f.txt", b"x", b"Lock-Token: <%b>" % _TOKENS[0]),
    ],
    "into a locked collection": [lock(b"/c/"), put(b"/c/x", b"x", submits(0, b"</c/> "))],
    "a lock": [lock(b"/f.txt", b"Timeout: Second-60", b"Depth: 0")],
    "a shared lock": [lock(b"/f.txt", scope=b"shared")] * 2,
    "a lock on a collection": [lock(b"/c/")],
    "a lock where nothing is": [lock(b"/locked-empty")],
    "a refresh": [lock(b"/f.txt"), message(b"LOCK", b"/f.txt", submits(0))],
    "a lock given up": [lock(b"/f.txt"), unlock(b"/f.txt", 0)],
    "a lock given up, with a length": [
        lock(b"/f.txt"),
        message(b"UNLOCK", b"/f.txt", b"Content-Length: 0", b"Lock-Token: <%b>" % _TOKENS[0]),
    ],
    "a lock given up from below": [lock(b"/c/"), unlock(b"/c/deep/g%20h.bin", 0)],
    "properties": [proppatch(b"/f.txt"), proppatch(b"/c/")],
    "a live property": [proppatch(b"/f.txt", value=b"<D:displayname>F</D:displayname>")],
    "a property that nobody may set": [proppatch(b"/f.txt", value=b"<D:getetag/>")],
    "the time of a file": [
        proppatch(
            b"/f.txt",
            value=b"<D:getlastmodified>Sun, 09 Sep 2001 01:46:40 GMT</D:getlastmodified>",
        )
    ],
    "a new collection": [mkcol(b"/made"), mkcol(b"/c/made/"), put(b"/made/x", b"x")],
    "a collection with a condition": [mkcol(b"/made", b"If-None-Match: *")],
    "a collection where one is locked": [lock(b"/c/"), mkcol(b"/c/x", submits(0, b"</c/> "))],
    "another name": [move(b"/f.txt", b"/g.txt"), propfind(b"/g.txt")],
    "another name, as a URL": [move(b"/f.txt", b"http://x/c/g%20.txt", b"Overwrite: F")],
    "into the place of a file": [move(b"/f.txt", b"/empty"), propfind(b"/empty")],
    "into the place of a file that is newer": [put(b"/new", b"x"), move(b"/f.txt", b"/new")],
    "with its properties, and without its lock": [
        proppatch(b"/f.txt"),
        lock(b"/f.txt"),
        move(b"/f.txt", b"/g.txt", submits(0)),
        propfind(b"/g.txt"),
        put(b"/g.txt", b"x"),
    ],
    "into a place of which something is stored": [
        proppatch(b"/empty"),
        move(b"/f.txt", b"/empty"),
        propfind(b"/empty"),
    ],
    "a tree": [move(b"/c/", b"/d/", b"Depth: infinity"), put(b"/d/deep/x", b"x")],
    "a tree with a lock": [lock(b"/c/deep/"), move(b"/c/", b"/d", submits(0, b"</c/deep/> "))],
    "a file that goes": [delete(b"/f.txt"), put(b"/f.txt", b"x")],
    "a file that goes, under a condition": [delete(b"/f.txt", b"If-Match: *")],
    "a file that goes with all that is stored of it": [
        proppatch(b"/f.txt"),
        lock(b"/f.txt"),
        delete(b"/f.txt", submits(0)),
        put(b"/f.txt", b"x"),
        propfind(b"/f.txt"),
    ],
}
"""Requests that all go straight once their fields are known."""
USUAL = {
    "no parent": [put(b"/none/x", b"x")],
    "a collection": [put(b"/c", b"x"), put(b"/c/", b"x")],
    "a slash": [put(b"/new/", b"x")],
    "a link": [put(b"/link", b"x"), proppatch(b"/link")],
    "a link that leads out": [put(b"/out", b"x")],
    "a FIFO": [put(b"/fifo", b"x")],
    "a condition that is not met": [
        put(b"/f.txt", b"x", b"If-None-Match: *"),
        put(b"/none", b"x", b"If-Match: *"),
        proppatch(b"/f.txt", b'If-Match: "x"'),
    ],
    "If that is false": [put(b"/f.txt", b"x", b'If: (["x"])'), proppatch(b"/f.txt", submits(7))],
    "a date": [put(b"/new", b"x", b"X-OC-Mtime: 1000000000")],
    "a digest": [put(b"/new", b"x", b"Want-Repr-Digest: sha-256=1")],
    "a part": [put(b"/f.txt", b"x", b"Content-Range: bytes 0-0/1")],
    "a coding": [put(b"/f.txt", b"x", b"Content-Encoding: gzip")],
    "a control character": [put(b"/a%01b", b"x")],
    "a large body": [put(b"/new", b"x" * 70_000)],
    "a reserved name": [put(b"/.davserver.x", b"x")],
    "no XML": [message(b"PROPPATCH", b"/f.txt", XML, body=b"<x")],
    "another type": [message(b"PROPPATCH", b"/f.txt", b"Content-Type: image/png", body=b"x")],
    "a lock of Depth 1": [lock(b"/c/", b"Depth: 1")],
    "a collection without its slash": [proppatch(b"/c"), lock(b"/c")],
    "a token of nothing": [unlock(b"/f.txt", 5)],
    "a body of UNLOCK": [
        message(b"UNLOCK", b"/f.txt", b"Lock-Token: <%b>" % _TOKENS[0], body=b"x")
    ],
    "no token": [message(b"UNLOCK", b"/f.txt")],
    "properties of nothing": [proppatch(b"/none")],
    "the other spelling": [put(b"/e%CC%81te%CC%81.txt", b"x")],
    "a collection that is there": [mkcol(b"/c/"), mkcol(b"/f.txt")],
    "a collection without a parent": [mkcol(b"/none/x")],
    "a collection with a body": [mkcol(b"/made", XML, body=b"<x/>"), mkcol(b"/made", body=b"x")],
    "a collection with a reserved name": [mkcol(b"/.davserver.x"), mkcol(b"/a%01b")],
    "over a collection": [move(b"/f.txt", b"/c"), move(b"/c/deep/", b"/empty")],
    "nothing to be moved": [move(b"/none", b"/new")],
    "onto itself": [move(b"/f.txt", b"/f.txt"), move(b"/c/", b"/c/deep/c")],
    "no Overwrite": [move(b"/f.txt", b"/empty", b"Overwrite: F")],
    "a destination without a parent": [move(b"/f.txt", b"/none/x")],
    "a destination elsewhere": [move(b"/f.txt", b"http://other/x"), move(b"/f.txt", b"x y")],
    "a destination through a link": [move(b"/f.txt", b"/link"), move(b"/f.txt", b"/out")],
    "a destination with another spelling": [move(b"/f.txt", b"/e%CC%81te%CC%81.txt")],
    "a link to be moved": [move(b"/link", b"/link2")],
    "a tree of Depth 0": [move(b"/c/", b"/d/", b"Depth: 0")],
    "a tree without its slash": [move(b"/c", b"/d")],
    "a MOVE with a body": [move(b"/f.txt", b"/new", body=b"x")],
    "a MOVE to nowhere": [message(b"MOVE", b"/f.txt")],
    "the time of what is moved": [move(b"/f.txt", b"/new", b"X-OC-Mtime: 1000000000")],
    "a tree that goes": [delete(b"/c/deep/"), delete(b"/c")],
    "nothing that goes": [delete(b"/none"), delete(b"/")],
    "a link that goes": [delete(b"/link")],
    "a FIFO that goes": [delete(b"/fifo")],
    "a DELETE with a body": [delete(b"/f.txt", body=b"x")],
}
"""Requests of which none does."""


@pytest.mark.parametrize("requests", STRAIGHT.values(), ids=STRAIGHT)
def test_what_is_plain_goes_straight_and_does_the_same(
    pair: Pair, requests: Sequence[bytes]
) -> None:
    # Somewhere else first, so that the fields are known.
    known = [request.replace(b" /", b" /none/", 1) for request in requests]
    (pair.straight.root / "tool").touch(0o755)
    (pair.usual.root / "tool").touch(0o755)
    found, taken = pair.ask(*known, *known, *requests)

    assert taken == len(requests)
    assert [status[:1] for status in found[-len(requests) :]] == [b"2"] * len(requests)


@pytest.mark.parametrize("requests", STRAIGHT.values(), ids=STRAIGHT)
def test_put_of_a_body_that_is_here_is_done_at_once(pair: Pair, requests: Sequence[bytes]) -> None:
    (pair.straight.root / "tool").touch(0o755)
    (pair.usual.root / "tool").touch(0o755)
    pair.ask_pipeline(*requests)

    assert pair.whole == sum(request.startswith(b"PUT") for request in requests)


@pytest.mark.parametrize("requests", USUAL.values(), ids=USUAL)
def test_what_is_not_goes_the_usual_way(pair: Pair, requests: Sequence[bytes]) -> None:
    _, taken = pair.ask(*know(*requests))

    assert taken == 0
    is_put_whole = requests[0].startswith(b"PUT") and b"X-OC-Mtime" in requests[0]
    assert pair.whole == (3 if is_put_whole else 0)


def test_a_long_file_is_not_replaced_on_the_loop(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To free what stood there takes the file system its time."""
    monkeypatch.setattr(_freeing, "LONG", 1)
    asked = put(b"/f.txt", b"x"), move(b"/empty", b"/f.txt"), delete(b"/dead")
    found, taken = pair.ask(*know(*asked))

    assert found[::3] == [b"204"] * 3
    assert (taken, pair.whole) == (0, 0)


def test_a_tree_of_which_something_is_stored_is_moved_in_a_thread(pair: Pair) -> None:
    """There may be very many rows."""
    pair.ask(*know(move(b"/none", b"/x")), proppatch(b"/c/deep/g%20h.bin"))
    found, taken = pair.ask(move(b"/c/", b"/d/"))
    listed, _ = pair.ask(propfind(b"/d/deep/g%20h.bin"))

    assert (found, taken, listed) == ([b"201"], 0, [b"207"])


def test_what_takes_little_time_needs_no_thread(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = pair.straight.app.services.runner
    hop, hops = runner.hop, []

    async def counting(function: Callable[[], Any], **options: Any) -> Any:
        hops.append(function)
        return await hop(function, **options)

    monkeypatch.setattr(runner, "hop", counting)
    pair.ask_pipeline(move(b"/f.txt", b"/new"), delete(b"/new"), move(b"/c/", b"/d/"))
    assert not hops
    pair.ask_pipeline(delete(b"/d/"))
    assert len(hops) == 1


@pytest.mark.parametrize(
    "pieces",
    [
        lambda head, body: [head, body],
        lambda head, body: [head + body[:1], body[1:]],
        lambda head, body: [head.replace(b"Host", b"Expect: 100-continue\r\nHost"), body],
    ],
    ids=["after the head", "in pieces", "when it is asked for"],
)
def test_a_body_that_comes_later_is_waited_for(
    pair: Pair, pieces: Callable[[bytes, bytes], list[bytes]]
) -> None:
    head = put(b"/new", b"later").partition(b"later")[0]
    found, _ = pair.ask_pipeline(*pieces(head, b"later"))

    assert found[-1:] == [b"201"]
    assert pair.whole == 0
    assert (pair.straight.root / "new").read_bytes() == b"later"


@pytest.mark.rfc("LK-01")
def test_a_lock_keeps_out_who_has_not_its_token(pair: Pair) -> None:
    for target in (b"/f.txt", b"/new"):
        pair.ask(*know(put(target, b"first")))
    pair.ask(lock(b"/f.txt"), lock(b"/"))
    found, taken = pair.ask(*know(put(b"/f.txt", b"x"), proppatch(b"/f.txt"), lock(b"/f.txt")))

    assert taken == 0
    assert found == [b"423"] * 9
    assert (pair.straight.root / "f.txt").read_bytes() == b"first"


CHOICES = [
    *(put(target, b"x" * size) for target in (b"/f.txt", b"/new", b"/c") for size in (1, 9)),
    *(lock(target) for target in (b"/f.txt", b"/new", b"/c/")),
    *(lock(b"/f.txt", b"Depth: 0", scope=b"shared") for _ in range(2)),
    *(unlock(target, number) for target in (b"/f.txt", b"/c/") for number in range(3)),
    *(put(b"/f.txt", b"y", submits(number)) for number in range(3)),
    *(put(b"/c/new", b"y", submits(number, b"</c/> ")) for number in range(3)),
    *(proppatch(target) for target in (b"/f.txt", b"/c/", b"/new")),
    proppatch(b"/f.txt", submits(0)),
    proppatch(b"/f.txt", value=b"<D:getetag/>"),
    *(mkcol(target) for target in (b"/made/", b"/c/made")),
    *(delete(target) for target in (b"/f.txt", b"/new", b"/c/")),
    *(delete(b"/f.txt", submits(number)) for number in range(2)),
    *(move(b"/f.txt", goal) for goal in (b"/new", b"/made/x", b"/c/new", b"/c/")),
    *(move(b"/f.txt", b"/new", submits(number)) for number in range(2)),
    *(move(b"/new", goal) for goal in (b"/f.txt", b"/made")),
    *(
        move(source, goal)
        for source in (b"/c/", b"/made/")
        for goal in (b"/d/", b"/made/c", b"/c/")
    ),
    *(move(b"/d/", b"/c/", b"Overwrite: F") for _ in range(2)),
    *(propfind(target) for target in (b"/f.txt", b"/new", b"/c/new")),
    message(b"PROPFIND", b"/", b"Depth: 1"),
    message(b"GET", b"/new"),
]


@given(chosen=st.lists(st.sampled_from(CHOICES), min_size=1, max_size=15))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_sequence_is_answered_the_same(pair: Pair, chosen: list[bytes]) -> None:
    _reset(pair.straight)
    _reset(pair.usual)

    pair.ask(*chosen, *CHOICES[:2])
    _reset(pair.straight)
    _reset(pair.usual)
    pair.ask_pipeline(*chosen)


def test_an_address_that_a_proxy_tells_of_is_the_servers(tmp_path: Path) -> None:
    tagged = submits(0, b"<https://nas.example/f.txt> ")
    told, other = b"X-Forwarded-Host: nas.example", b"X-Forwarded-Host: other.example"
    for pair in pairs(tmp_path, trusted_proxies=PROXY):
        done, taken = pair.ask(lock(b"/f.txt"), *know(put(b"/f.txt", b"x", tagged, told)))
        foreign, _ = pair.ask(*know(put(b"/f.txt", b"x", tagged, other)))
        goal = b"https://nas.example/new"
        moved, _ = pair.ask(*know(move(b"/empty", goal, told), move(b"/new", goal, other)))

        assert done == [b"200", b"204", b"204", b"204"]
        assert taken
        assert foreign == [b"412"] * 3
        assert moved == [b"201", b"404", b"404", b"502", b"502", b"502"]
        assert pair.ask(move(b"/dead", b"https://nas.example/x", told)) == ([b"201"], 1)


DONE_ONCE = {
    "MKCOL": mkcol(b"/c/made"),
    "MOVE": move(b"/f.txt", b"/c/new"),
    "MOVE over a file": move(b"/f.txt", b"/empty"),
    "MOVE of a tree": move(b"/c/", b"/d/"),
    "DELETE": delete(b"/f.txt"),
}


@pytest.mark.security("F-05")
@pytest.mark.parametrize("asked", DONE_ONCE.values(), ids=DONE_ONCE)
@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO], ids=["EMFILE", "EIO"])
def test_what_was_done_is_not_done_again_because_a_later_call_fails(
    tmp_path: Path, asked: bytes, error: int
) -> None:
    """The second attempt would say that there is nothing to move, or that it is there already."""
    fault = Fault("system", error, {errno.EMFILE: 503, errno.EIO: 500}[error])
    found = set()
    for number in range(1, 60):
        fuse = Fuse(fault, number)
        (folder := tmp_path / str(number)).mkdir()
        with faulty_system(fuse), opened(folder) as both:
            both.edge._edge.at_once = both.at_once
            both.exchange(*[asked.replace(b" /", b" /none/", 1)] * 2)
            fuse.armed = True
            found |= set(statuses(both.exchange(asked)))
            fuse.armed = False
        if not fuse.blown:
            break

    assert not fuse.blown, "it never came to its end"
    assert found <= {b"201", b"204", b"%d" % fault.status}


UNLOCKED = {
    **{name: ([], asked) for name, asked in DONE_ONCE.items()},
    "PUT": ([], put(b"/new", b"x", b"If-None-Match: *")),
    "UNLOCK": ([lock(b"/f.txt")], unlock(b"/f.txt", 0)),
    "LOCK": ([], lock(b"/f.txt")),
    "LOCK where nothing is": ([], lock(b"/locked-empty")),
    "MOVE with properties": ([proppatch(b"/f.txt")], move(b"/f.txt", b"/c/new")),
    "DELETE with properties": ([proppatch(b"/f.txt")], delete(b"/f.txt")),
}


@pytest.mark.parametrize(("before", "asked"), UNLOCKED.values(), ids=UNLOCKED)
def test_what_was_done_is_not_done_again_because_the_gate_cannot_be_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Sequence[bytes], asked: bytes
) -> None:
    control, failed = fcntl.fcntl, []

    def fail(fd: int, command: int, span: Any = 0) -> Any:
        if span != gatelock._NONE:
            return control(fd, command, span)
        failed.append(span)
        raise OSError(errno.ENOLCK, "no locks available")

    with opened(tmp_path) as both:
        both.edge._edge.at_once = both.at_once
        object.__setattr__(both.app.services, "new_token", partial(_token, both))
        both.exchange(*before, *[asked.replace(b" /", b" /none/", 1)] * 2)
        with monkeypatch.context() as system:
            system.setattr(fcntl, "fcntl", fail)
            found = statuses(both.exchange(asked))

    assert failed
    assert [status[:1] for status in found] == [b"2"]


def _asked_meanwhile(asked: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Makes a request, and returns whether another worker came into the gate for `/dead`, between
    the checks and what is done."""
    theirs = SqliteState(folder / "state", durability="none")
    entered: list[bool] = []

    def come_in() -> None:
        with suppress(GateBusy), theirs.hold([Key("", b"dead")], wait_s=0, narrow=True):
            entered.append(True)
            return
        entered.append(False)

    def publish(*args: Any) -> Any:
        come_in()
        return publish_over(*args)

    def new_token() -> str:
        come_in()
        return _TOKENS[0].decode()

    monkeypatch.setattr("davserver.methods.put.publish_over", publish)
    with opened(folder) as both:
        both.edge._edge.at_once = both.at_once
        object.__setattr__(both.app.services, "new_token", new_token)
        # The creation time that an older file gets is a row: all of the gate is taken for it.
        both.exchange(put(b"/f.txt", b"old"))
        entered.clear()
        found = statuses(both.exchange(asked))
    theirs.close()

    assert [status[:2] for status in found] == [b"20"]
    return entered


@pytest.mark.security("Q-03")
@pytest.mark.parametrize(
    "ask", [partial(put, b"/f.txt", b"x"), partial(lock, b"/f.txt")], ids=["PUT", "LOCK"]
)
@pytest.mark.parametrize(
    ("condition", "comes_in"),
    [
        ((), True),
        ((b'If: (Not ["x"])',), True),
        ((b'If: </f.txt> (Not ["x"])',), True),
        ((b'If: <http://elsewhere/dead> (["x"]) </f.txt> (Not ["x"])',), True),
        ((b'If: </dead> (Not ["x"])',), False),
        ((b'If: </f.txt> (["x"]) </dead> (Not ["x"])',), False),
    ],
    ids=["none", "of itself", "tagged", "foreign", "of another", "of both"],
)
def test_what_a_request_depends_on_stays_so_until_it_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[..., bytes],
    condition: Sequence[bytes],
    comes_in: bool,
) -> None:
    assert _asked_meanwhile(ask(*condition), tmp_path, monkeypatch) == [comes_in]


def test_what_is_gone_is_not_sought_again_because_its_rows_cannot_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing could be journalled, as nobody could tell what it was."""

    def fail(_: FilesystemStorage, path: DavPath) -> None:
        raise StorageFailure(path.name)

    found = set()
    for number in range(1, 60):
        fuse = Fuse(Fault("state", StateFailure, 500), number)
        (folder := tmp_path / str(number)).mkdir()
        with faulty_statements(fuse), opened(folder) as both, monkeypatch.context() as storage:
            both.edge._edge.at_once = both.at_once
            both.exchange(proppatch(b"/f.txt"), *[delete(b"/none/f.txt")] * 2)
            storage.setattr(FilesystemStorage, "named", fail)
            fuse.armed = True
            found |= set(statuses(both.exchange(delete(b"/f.txt"))))
            fuse.armed = False
        if not fuse.blown:
            break

    assert not fuse.blown, "it never came to its end"
    assert number > 1
    assert found == {b"204"}


def test_who_may_only_read_changes_nothing(tmp_path: Path) -> None:
    entry = UserEntry(name="ada", password=hash_password("pass"))
    signed = b"Authorization: Basic " + base64.b64encode(b"ada:pass")
    for pair in pairs(tmp_path, user=(entry,), anonymous="read", insecure_basic=True):
        refused, taken = pair.ask(*know(put(b"/f.txt", b"x")))
        done, straight = pair.ask(*know(put(b"/f.txt", b"x", signed)))

        assert refused == [b"401"] * 3
        assert taken == 0
        assert done == [b"204"] * 3
        assert straight


@pytest.mark.parametrize(
    "asked", [put(b"/new", b"x"), proppatch(b"/f.txt")], ids=["PUT", "PROPPATCH"]
)
def test_a_change_left_behind_is_recovered_first(pair: Pair, asked: bytes) -> None:
    for both in (pair.straight, pair.usual):
        both.exchange(*know(put(b"/f.txt", b"x"), asked))
        with both.app.services.state.hold([Key("", b"f.txt")], wait_s=0) as view:
            step = Step(StepKind.APPLY, target=DavPath(("f.txt",)), values={"mtime_ns": 10**18})
            view.record(Change("0" * 32, "", "0123456789abcdef", (step,)))
    _, taken = pair.ask(asked)

    assert taken == 0
    assert int(os.stat(pair.straight.root / "f.txt").st_mtime) == 10**9


def test_where_the_disk_is_waited_for_nothing_goes_straight(tmp_path: Path) -> None:
    for pair in pairs(tmp_path, durability="full"):
        _, taken = pair.ask(*know(put(b"/new", b"x"), lock(b"/f.txt"), proppatch(b"/new")))

        assert taken == pair.whole == 0


def test_where_the_disk_is_waited_for_one_thread_does_all_of_a_small_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = []
    store = _Upload.store

    def counting(self: _Upload, body: bytes) -> Response:
        stored.append(body)
        return store(self, body)

    monkeypatch.setattr(_Upload, "store", counting)
    puts = [one for asked in [*STRAIGHT.values(), *USUAL.values()] for one in asked]
    puts = [one for one in puts if one.startswith(b"PUT") and b"x" * 999 not in one]
    for pair in pairs(tmp_path, durability="full"):
        found, _ = pair.ask(lock(b"/page.html"), *puts, put(b"/page.html", b"x"))

        assert len(stored) >= sum(status[:1] == b"2" for status in found[1:])
        assert found[-1:] == [b"423"]


def test_what_is_in_the_way_since_the_look_is_not_replaced(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program beside the server, between the checks and the publication."""
    find = FilesystemStorage.find_place

    def found(self: FilesystemStorage, path: DavPath, key: Key) -> Any:
        place = find(self, path, key)
        if path.name == "raced" and place is not None and place.stat is None:
            (pair.straight.root / "raced").write_bytes(b"theirs")
        return place

    pair.ask(*know(put(b"/new", b"x", b"If-None-Match: *")))
    monkeypatch.setattr(FilesystemStorage, "find_place", found)
    pair.straight.edge._edge.at_once = pair.straight.at_once
    answer = pair.straight.exchange(put(b"/raced", b"x", b"If-None-Match: *"))

    assert statuses(answer) == [b"412"]
    assert (pair.straight.root / "raced").read_bytes() == b"theirs"


def test_who_finds_the_gate_held_waits_for_it(pair: Pair) -> None:
    both = pair.straight
    state = both.app.services.state
    assert isinstance(state, SqliteState)
    pair.ask(*know(put(b"/f.txt", b"x")))
    both.taken = 0
    both.edge._edge.at_once = both.at_once
    entered, waits = threading.Event(), state.gate_counts()[0]

    def hold() -> None:
        with state.hold([], wait_s=10):
            entered.set()
            await_true(lambda: state.gate_counts()[0] > waits)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    answer = both.exchange(put(b"/f.txt", b"late"))
    thread.join(10)

    assert statuses(answer) == [b"204"]
    assert both.taken == 0
    assert (both.root / "f.txt").read_bytes() == b"late"
