"""MKCOL (RFC 4918 section 9.3)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from davserver.errors import AccessDenied, NoSpace, QuotaExceeded, ResourceExists
from tests.conftest import AppDav
from tests.support.asgi import AsgiDav
from tests.support.dav import XML
from tests.support.storages import HookedStorage

D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"
MakeDav = Callable[..., AppDav]


@pytest.mark.rfc("MK-01", "MK-07")
@pytest.mark.parametrize("target", ["/c", "/c/"])
def test_a_new_collection_is_201_and_empty(dav: AppDav, target: str) -> None:
    reply = dav.mkcol(target)

    assert (reply.status, reply.body) == (201, b"")
    # Nothing says that a cache may keep it (section 9.3: "MUST NOT be cached").
    assert not {"cache-control", "expires", "etag", "last-modified"} & {n for n, _ in reply.headers}
    assert dav.members("/c/") == []
    assert dav.members("/") == ["/c/"]
    assert dav.prop("/c/", f"{D}resourcetype").find(f"{D}collection") is not None
    if dav.root:
        assert (dav.root / "c").is_dir()


@pytest.mark.rfc("MK-02")
@pytest.mark.parametrize("target", ["/c", "/c/", "/file", "/file/", "/", "/locked-empty"])
@pytest.mark.parametrize("body", [b"", b"<x/>"], ids=["no body", "a body"])
def test_a_mapped_url_is_405_with_allow(dav: AppDav, target: str, body: bytes) -> None:
    dav.mkcol("/c/")
    dav.put("/c/member", b"kept")
    dav.put("/file", b"kept")
    dav.lock("/locked-empty")

    reply = dav.mkcol(target, {"Content-Type": XML} if body else None, body)

    assert reply.status == 405
    allow = reply.headers.tokens("allow")
    assert "MKCOL" not in allow
    assert {"GET", "PROPFIND"} <= set(allow)
    assert dav.members("/") == ["/c/", "/file", "/locked-empty"]
    assert dav.members("/c/") == ["/c/member"]
    assert dav.get("/file").body == b"kept"


@pytest.mark.rfc("MK-03")
@pytest.mark.parametrize("target", ["/no/such/", "/no/such/thing", "/file/below/", "/file/x/y"])
def test_without_a_parent_collection_it_is_409_and_no_ancestor_is_made(
    dav: AppDav, target: str
) -> None:
    dav.put("/file", b"kept")

    assert dav.mkcol(target).status == 409
    assert dav.members("/") == ["/file"]


@pytest.mark.rfc("MK-04", "G-14")
@pytest.mark.parametrize("kind", [XML, "text/xml", "application/octet-stream", "httpunit/unknown"])
@pytest.mark.parametrize("body", [b"<x/>", [b"<x", b"/>"]], ids=["length", "chunked"])
def test_a_body_is_415_and_nothing_is_made(
    dav: AppDav, kind: str, body: bytes | list[bytes]
) -> None:
    reply = dav.request("MKCOL", "/c/", {"Content-Type": kind}, body)

    assert reply.status == 415
    assert dav.members("/") == []


@pytest.mark.rfc("MK-04")
@pytest.mark.parametrize("kind", [None, XML])
def test_an_empty_body_is_none(dav: AppDav, kind: str | None) -> None:
    headers = {"Content-Length": "0"} | ({"Content-Type": kind} if kind else {})

    assert dav.mkcol("/c/", headers).status == 201


@pytest.mark.rfc("MK-05", "PC-08")
@pytest.mark.parametrize(
    ("error", "expected", "condition"),
    [
        (AccessDenied, 403, None),
        (NoSpace, 507, "sufficient-disk-space"),
        (QuotaExceeded, 507, "quota-not-exceeded"),
    ],
)
def test_what_the_storage_refuses(
    make_dav: MakeDav, error: type[AccessDenied], expected: int, condition: str | None
) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    storage.refuse("make_collection", "/c", error("refused"))

    reply = dav.mkcol("/c/")

    assert reply.status == expected
    assert condition is None or reply.conditions == [f"{D}{condition}"]
    assert dav.members("/") == []


@pytest.mark.rfc("MK-05")
def test_who_may_not_write_gets_403(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", read_only=True)
    assert dav.root

    assert dav.mkcol("/c/").status == 403
    assert os.listdir(dav.root) == []


@pytest.mark.rfc("MK-06", "CL-01", "CL-03", "LM-02")
@pytest.mark.parametrize("depth", ["0", "infinity"])
def test_a_locked_parent_needs_its_token(dav: AppDav, depth: str) -> None:
    dav.mkcol("/p/")
    lock = dav.lock("/p/", depth=depth)

    reply = dav.mkcol("/p/c/")

    assert (reply.status, reply.condition_hrefs) == (423, ["/p/"])
    assert reply.conditions == [f"{D}lock-token-submitted"]
    assert dav.members("/p/") == []
    assert dav.mkcol("/p/c/", {"If": f"</p/> (<{lock.token}>)"}).status == 201
    # It joins a lock of depth infinity, and no other.
    tokens = [one.findtext(f"{D}locktoken/{D}href") for one in dav.locks("/p/c/")]
    assert tokens == ([lock.token] if depth == "infinity" else [])


@pytest.mark.rfc("MK-06", "IF-09", "PU-13")
@pytest.mark.parametrize(
    "headers", [{"If": "(<urn:uuid:unknown>)"}, {"If-Match": "*"}], ids=["If", "If-Match"]
)
def test_a_false_condition_is_412_and_nothing_is_made(dav: AppDav, headers: dict[str, str]) -> None:
    assert dav.mkcol("/c/", headers).status == 412
    assert dav.members("/") == []


@pytest.mark.rfc("DP-10", "DL-07")
def test_a_new_collection_inherits_nothing_of_what_stood_there(make_dav: MakeDav) -> None:
    """Not even of what was removed behind the server, with its locks and properties."""
    dav = make_dav("filesystem")
    assert dav.root
    dav.mkcol("/c/")
    dav.put("/c/a", b"old")
    for target in ("/c/", "/c/a"):
        dav.proppatch(target, set={TOPIC: "old"})
    dav.lock("/c/a")
    (dav.root / "c/a").unlink()
    (dav.root / "c").rmdir()

    assert dav.mkcol("/c/").status == 201
    assert dav.prop("/c/", TOPIC) is None
    assert dav.put("/c/a", b"new").status == 201
    assert dav.prop("/c/a", TOPIC) is None
    assert dav.locks("/c/a") == []


@pytest.mark.rfc("MK-08")
@pytest.mark.parametrize("storage", ["filesystem", "memory"])
def test_of_many_at_once_one_is_201_and_the_others_405(make_dav: MakeDav, storage: str) -> None:
    dav = make_dav(storage)
    _ = dav.app.services
    barrier = threading.Barrier(6)

    def make(_: int) -> list[int]:
        client = AsgiDav(dav.app)
        with closing(client._runner):
            statuses = []
            for number in range(5):
                barrier.wait(10)
                statuses.append(client.mkcol(f"/c{number}/").status)
            return statuses

    with ThreadPoolExecutor(6) as pool:
        rounds = list(zip(*pool.map(make, range(6)), strict=True))

    assert [sorted(statuses) for statuses in rounds] == [[201] + [405] * 5] * 5


@pytest.mark.rfc("MK-02", "MK-08")
def test_a_collection_that_comes_from_beside_the_server_is_405(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    storage.refuse("make_collection", "/c", ResourceExists("just made"))

    assert dav.mkcol("/c/").status == 405
