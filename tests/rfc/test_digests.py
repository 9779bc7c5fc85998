"""Digests of uploads and downloads: OC-Checksum, RFC 9530."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import davserver.digests
from davserver.digests import keep_digests
from davserver.errors import StateFailure
from davserver.progress import Progress
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.processes import descriptors

MakeDav = Callable[..., AppDav]
BODY = b"content of a file\n"
LONG = os.urandom(1 << 20) * 3 + b"tail"
CHECKSUMS = "{http://owncloud.org/ns}checksums"
FILE = DavPath(("f",))
WANT = {"Want-Repr-Digest": "sha-256=10"}


def sf(algorithm: str, body: bytes) -> str:
    digest = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


def oc(name: str, body: bytes) -> str:
    if name == "ADLER32":
        return f"ADLER32:{zlib.adler32(body):08x}"
    return f"{name}:{hashlib.new(name.lower(), body).hexdigest()}"


def known(dav: AppDav, target: str) -> str | None:
    """Returns what `checksums` shows."""
    element = dav.prop(target, CHECKSUMS)
    return None if element is None else element[0].text


def shown(body: bytes) -> str:
    return " ".join(oc(name, body) for name in ("SHA1", "MD5", "ADLER32"))


FIELDS = {
    "SHA1": lambda body: {"OC-Checksum": oc("SHA1", body)},
    "MD5": lambda body: {"OC-Checksum": oc("MD5", body)},
    "ADLER32": lambda body: {"OC-Checksum": oc("ADLER32", body)},
    "SHA256": lambda body: {"OC-Checksum": oc("SHA256", body)},
    "Repr-Digest": lambda body: {"Repr-Digest": sf("sha-256", body)},
    "Content-Digest": lambda body: {"Content-Digest": sf("sha-512", body)},
    "both": lambda body: {
        "Content-Digest": sf("sha-256", body),
        "Repr-Digest": sf("sha-512", body),
    },
}


@pytest.mark.rfc("DI-02")
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("body", [b"", BODY, LONG], ids=["empty", "short", "long"])
def test_a_right_digest_is_stored(dav: AppDav, name: str, body: bytes) -> None:
    reply = dav.put("/f", body, FIELDS[name](body))

    assert reply.status == 201
    assert dav.get("/f").body == body


@pytest.mark.rfc("DI-02")
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("body", [b"", BODY, LONG], ids=["empty", "short", "long"])
@pytest.mark.parametrize("old", [None, b"old"], ids=["new", "over another"])
def test_a_wrong_digest_is_400_and_changes_nothing(
    dav: AppDav, name: str, body: bytes, old: bytes | None
) -> None:
    if old is not None:
        dav.put("/f", old)
    before = {path: dav.head(path).headers["etag"] for path in dav.members("/")}

    reply = dav.put("/f", body, FIELDS[name](body + b"x"))

    assert reply.status == 400
    assert b"was announced" in reply.body
    assert {path: dav.head(path).headers["etag"] for path in dav.members("/")} == before


@pytest.mark.rfc("DI-02")
def test_one_wrong_digest_beside_a_right_one_is_400(dav: AppDav) -> None:
    fields = {"Repr-Digest": sf("sha-256", BODY) + ", " + sf("sha-512", b"other")}

    assert dav.put("/f", BODY, fields).status == 400


@pytest.mark.rfc("DI-01")
@pytest.mark.parametrize("field", ["OC-Checksum", "Repr-Digest", "Content-Digest"])
def test_a_digest_that_cannot_be_read_is_400_before_the_body_is_asked_for(
    dav: AppDav, field: str
) -> None:
    exchange = dav.run(dav.send("PUT", "/f", {field: "sha-256=00ff"}, BODY))

    assert exchange.reply.status == 400
    assert exchange.received == 0
    assert dav.members("/") == []


@pytest.mark.rfc("DI-01", "DI-05")
@pytest.mark.parametrize(
    "fields",
    [{"OC-Checksum": "SHA3-256:00"}, {"Repr-Digest": "md5=:AAAA:, crc32c=:AAAA:"}],
    ids=str,
)
def test_unknown_algorithms_are_ignored(dav: AppDav, fields: dict[str, str]) -> None:
    assert dav.put("/f", BODY, fields).status == 201


@pytest.mark.parametrize("body", [b"", BODY, LONG], ids=["empty", "short", "long"])
def test_checksums_are_shown_where_the_client_sent_one(dav: AppDav, body: bytes) -> None:
    dav.put("/f", body, {"OC-Checksum": oc("SHA1", body)})
    dav.put("/g", body)
    dav.mkcol("/c/")

    listed = dav.propfind("/", props=[CHECKSUMS], depth="1")
    found = {href: groups[200][CHECKSUMS] for href, groups in listed.items() if 200 in groups}
    assert {href: element[0].text for href, element in found.items()} == {"/f": shown(body)}
    assert found["/f"][0].tag == "{http://owncloud.org/ns}checksum"
    assert CHECKSUMS not in dav.propfind("/f")["/f"][200], "only who asks for it gets it"


def test_checksums_of_an_older_version_are_never_shown(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.put("/f", BODY, {"OC-Checksum": oc("SHA1", BODY)})
    dav.put("/g", BODY, {"OC-Checksum": oc("SHA1", BODY)})

    dav.put("/f", BODY[::-1])
    with open(dav.root / "g", "r+b") as behind:
        behind.write(b"C")

    assert known(dav, "/f") is None
    assert known(dav, "/g") is None


def test_checksums_follow_move_copy_and_a_new_time(dav: AppDav) -> None:
    dav.mkcol("/c/")
    dav.put("/c/f", BODY, {"OC-Checksum": oc("MD5", BODY)})
    dav.put("/new", b"newer")

    dav.copy("/c/f", "/copy")
    dav.move("/c/f", "/new")
    over = known(dav, "/new")
    dav.move("/new", "/c/f", headers={"X-OC-Mtime": "1000000000"})
    dav.move("/c/", "/d/")
    dav.proppatch("/copy", set={"{DAV:}getlastmodified": "Sun, 09 Sep 2001 01:46:40 GMT"})

    assert over == known(dav, "/d/f") == known(dav, "/copy") == shown(BODY)


def test_checksums_go_with_the_file(dav: AppDav) -> None:
    dav.put("/f", BODY, {"OC-Checksum": oc("MD5", BODY)})
    dav.delete("/f")

    dav.put("/f", BODY)

    assert known(dav, "/f") is None


def test_checksums_cannot_be_set(dav: AppDav) -> None:
    dav.put("/f", BODY)

    reply = dav.proppatch("/f", set={CHECKSUMS: "SHA1:00"})

    assert list(reply.multistatus["/f"]) == [403]


def test_a_state_that_cannot_keep_digests_fails_no_upload(dav: AppDav) -> None:
    class View:
        rolled_back = False

        def properties(self, key: object) -> dict[str, bytes]:
            raise StateFailure("damaged")

        def rollback(self) -> None:
            self.rolled_back = True

    view: Any = View()
    dav.put("/f", BODY)
    storage = dav.app.services.storage

    keep_digests(view, storage.canonical(FILE), storage.stat(FILE), {"md5": b""})

    assert view.rolled_back


@pytest.mark.rfc("DI-03", "DI-06")
@pytest.mark.parametrize("body", [b"", BODY, LONG], ids=["empty", "short", "long"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_wants_a_digest_gets_it(dav: AppDav, method: str, body: bytes) -> None:
    dav.put("/f", body)
    wants = {"Want-Repr-Digest": "sha-512=3, sha-256=1", "Want-Content-Digest": "sha-256=1"}

    for _ in range(2):  # the second comes out of what was kept
        reply = dav.request(method, "/f", wants)
        assert reply.status == 200
        assert reply.headers["repr-digest"] == sf("sha-512", body)
        assert reply.headers["content-digest"] == sf("sha-256", body)
    assert "repr-digest" not in dav.get("/f").headers


@pytest.mark.rfc("DI-06")
@pytest.mark.parametrize("ranges", ["bytes=2-5", "bytes=0-0,5-6"])
def test_a_range_carries_the_digest_of_the_whole(dav: AppDav, ranges: str) -> None:
    dav.put("/f", BODY)
    wants = {"Range": ranges, "Want-Content-Digest": "sha-256=1"}

    reply = dav.get("/f", WANT | wants)

    assert reply.status == 206
    assert reply.headers["repr-digest"] == sf("sha-256", BODY)
    if "," not in ranges:
        assert reply.headers["content-digest"] == sf("sha-256", reply.body)


def test_a_long_range_is_not_read_twice(dav: AppDav, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davserver.digests._PART_LIMIT", 4)
    dav.put("/f", BODY)

    for last, has_digest in (("4", True), ("5", False)):
        reply = dav.get("/f", {"Range": f"bytes=1-{last}", "Want-Content-Digest": "sha-256=1"})
        assert ("content-digest" in reply.headers) == has_digest


@pytest.mark.rfc("DI-03")
@pytest.mark.parametrize("value", ["sha-256=0", "md5=10", "sha-256=no", "(", ""])
def test_a_want_that_cannot_be_met_is_ignored(dav: AppDav, value: str) -> None:
    wants = {"Want-Repr-Digest": value, "Want-Content-Digest": value}

    assert dav.put("/f", BODY, wants).status == 201
    reply = dav.get("/f", wants)
    assert reply.body == BODY
    assert "repr-digest" not in reply.headers
    assert "content-digest" not in reply.headers


@pytest.mark.rfc("DI-03")
@pytest.mark.parametrize("body", [b"", BODY, LONG], ids=["empty", "short", "long"])
def test_put_answers_with_the_digest_that_is_wanted(dav: AppDav, body: bytes) -> None:
    assert dav.put("/f", body, WANT).headers["repr-digest"] == sf("sha-256", body)
    assert dav.put("/f", body, WANT).headers["repr-digest"] == sf("sha-256", body)


def test_a_digest_is_computed_once_for_each_version(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compute = davserver.digests._compute

    def counted(rc: Any, reader: Any, algorithm: str, offset: int, length: int) -> bytes:
        computed.append(length)
        return compute(rc, reader, algorithm, offset, length)

    monkeypatch.setattr(davserver.digests, "_compute", counted)
    dav = make_dav("filesystem")
    dav.put("/f", BODY)

    for _ in range(3):
        dav.get("/f", WANT)
    dav.move("/f", "/g")
    dav.get("/g", WANT)
    assert computed == [len(BODY)]
    dav.put("/g", LONG, WANT)
    assert dav.get("/g", WANT).headers["repr-digest"] == sf("sha-256", LONG)
    assert computed == [len(BODY)]
    dav.put("/g", BODY)
    assert dav.get("/g", WANT).headers["repr-digest"] == sf("sha-256", BODY)
    assert computed == [len(BODY)] * 2


def test_nothing_is_kept_of_a_file_that_changed_while_it_was_read(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.put("/f", BODY)
    services = dav.app.services
    storage = services.storage
    reader = storage.open(FILE)
    os.utime(dav.root / "f")

    rc: Any = type("Rc", (), {"services": services, "path": FILE, "progress": Progress()})()
    davserver.digests._keep(rc, reader.stat, {"sha-256": bytes(32)})
    reader.close()

    assert not services.state.properties(storage.canonical(FILE))


@pytest.mark.security("F-06")
def test_a_digest_that_takes_long_keeps_nobody_waiting(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    compute = davserver.digests._compute

    def slow(*args: Any) -> bytes:
        assert released.wait(15)
        return compute(*args)

    monkeypatch.setattr(davserver.digests, "_compute", slow)
    dav = make_dav("filesystem")
    dav.put("/f", BODY)

    async def both() -> tuple[bytes, str]:
        wanted = asyncio.ensure_future(dav.send("GET", "/f", WANT))
        plain = await dav.send("GET", "/f")
        assert not wanted.done()
        released.set()
        return plain.reply.body, (await wanted).reply.headers["repr-digest"]

    assert dav.run(both()) == (BODY, sf("sha-256", BODY))


def test_a_file_that_gets_shorter_is_an_error_and_closed(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    file = dav.root / "f"
    dav.put("/f", LONG)
    compute = davserver.digests._compute

    def cut(*args: Any) -> bytes:
        os.truncate(file, 100)
        return compute(*args)

    monkeypatch.setattr(davserver.digests, "_compute", cut)

    assert dav.get("/f", WANT).status == 500
    assert str(file) not in descriptors(os.getpid())


def test_a_digest_that_cannot_be_kept_is_told_all_the_same(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    dav.put("/f", BODY)
    services = dav.app.services
    key = services.storage.canonical(FILE)

    with services.state.hold([key], wait_s=1.0):
        reply = dav.get("/f", WANT)

    assert reply.headers["repr-digest"] == sf("sha-256", BODY)
    assert not services.state.properties(key)


def test_a_request_that_is_cancelled_stops_reading(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem")
    dav.put("/f", LONG)
    services = dav.app.services
    begun, released = asyncio.Event(), threading.Event()
    compute = davserver.digests._compute

    async def leave() -> None:
        loop = asyncio.get_running_loop()

        def slow(*args: Any) -> bytes:
            loop.call_soon_threadsafe(begun.set)
            assert released.wait(15)
            return compute(*args)

        monkeypatch.setattr(davserver.digests, "_compute", slow)
        task = asyncio.ensure_future(dav.send("GET", "/f", WANT))
        await begun.wait()
        task.cancel()
        loop.call_soon(released.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    dav.run(leave())

    assert not services.state.properties(services.storage.canonical(FILE))
