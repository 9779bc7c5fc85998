"""PUT (RFC 9110 section 9.3.4, RFC 4918 section 9.7): what it creates, replaces and refuses."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from davserver.errors import AccessDenied, NoSpace, QuotaExceeded
from davserver.protocol.path import DavPath
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.support.storages import HookedStorage

D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"
MakeDav = Callable[..., AppDav]


@pytest.mark.rfc("PU-01", "PU-06")
def test_new_is_201_replaced_is_204_with_the_validators_of_what_is_stored(dav: AppDav) -> None:
    for expected, content in ((201, b"first"), (204, b"other"), (204, b"")):
        reply = dav.put("/a", content)

        assert (reply.status, reply.body) == (expected, b"")
        assert "location" not in reply.headers
        shown = dav.get("/a")
        assert shown.body == content
        assert reply.headers["etag"] == shown.headers["etag"]
        assert reply.headers["last-modified"] == shown.headers["last-modified"]
        assert dav.prop("/a", f"{D}getetag").text == reply.headers["etag"]
    if dav.root:
        assert os.listdir(dav.root) == ["a"]


@pytest.mark.rfc("PU-02", "D-5")
@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/no/such", id="missing parent"),
        pytest.param("/no/such/thing", id="missing grandparent"),
        pytest.param("/file/below", id="the parent is a file"),
        pytest.param("/slash/", id="a trailing slash on an unmapped URL"),
    ],
)
def test_without_a_parent_collection_it_is_409_and_nothing_is_made(
    dav: AppDav, target: str
) -> None:
    dav.put("/file", b"kept")

    assert dav.put(target, b"lost").status == 409
    assert dav.last.received == 0
    assert dav.members("/") == ["/file"]
    assert dav.get("/file").body == b"kept"


@pytest.mark.rfc("PU-03", "HM-02")
@pytest.mark.parametrize("target", ["/c", "/c/", "/"])
def test_on_a_collection_it_is_405_with_what_is_allowed_there(dav: AppDav, target: str) -> None:
    dav.mkcol("/c/")
    dav.put("/c/member", b"kept")

    reply = dav.put(target, b"lost")

    assert reply.status == 405
    assert "PUT" not in reply.headers.tokens("allow")
    assert {"PROPFIND", "GET", "DELETE"} <= set(reply.headers.tokens("allow"))
    assert dav.get("/c/member").body == b"kept"


@pytest.mark.rfc("PU-04", "CL-09")
def test_dead_properties_and_the_creation_date_survive_a_replacement(dav: AppDav) -> None:
    dav.put("/a", b"old")
    dav.proppatch("/a", set={TOPIC: "kept"})
    created = dav.prop("/a", f"{D}creationdate").text
    dav.clock.pass_s(3600)

    for content in (b"new", b"newer"):
        assert dav.put("/a", content).status == 204
        assert dav.prop("/a", TOPIC).text == "kept"
        assert dav.prop("/a", f"{D}creationdate").text == created


@pytest.mark.rfc("PU-04")
def test_the_creation_date_is_when_the_first_version_was_made(make_dav: MakeDav) -> None:
    """Also where every version is a new file of the storage, with a birth of its own."""
    storage = MemoryStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    dav.put("/a", b"old")
    node = storage.find(DavPath(("a",))).node
    assert node is not None
    node.birth_ns = 1_000_000_000 * 10**9

    for content in (b"new", b"newer"):
        assert dav.put("/a", content).status == 204
        assert dav.prop("/a", f"{D}creationdate").text == "2001-09-09T01:46:40Z"


@pytest.mark.rfc("PU-05")
@pytest.mark.parametrize("sent", [None, "image/png", "text/plain; charset=utf-16"])
def test_the_content_type_is_that_of_the_name(dav: AppDav, sent: str | None) -> None:
    dav.put("/page.html", b"<p>", {"Content-Type": sent} if sent else None)

    shown = dav.get("/page.html").headers["content-type"]
    assert shown.startswith("text/html")
    assert dav.prop("/page.html", f"{D}getcontenttype").text == shown


@pytest.mark.rfc("PU-07", "PU-11", "HX-01", "HE-01")
@pytest.mark.parametrize(
    ("headers", "expected", "answer"),
    [
        pytest.param({"Content-Range": "bytes 0-2/10"}, 400, {}, id="Content-Range"),
        pytest.param({"Content-Range": "junk"}, 400, {}, id="Content-Range, junk"),
        pytest.param({"Content-Encoding": "gzip"}, 415, {"accept-encoding": "identity"}, id="gzip"),
        pytest.param(
            {"Content-Encoding": "identity, br"}, 415, {"accept-encoding": "identity"}, id="br"
        ),
        pytest.param({"X-Expected-Entity-Length": "three"}, 400, {}, id="no number"),
        pytest.param({"X-Expected-Entity-Length": "-3"}, 400, {}, id="a negative number"),
        pytest.param({"X-Expected-Entity-Length": "9" * 40}, 400, {}, id="a huge number"),
    ],
)
def test_what_would_store_something_else_is_refused_before_the_body(
    dav: AppDav, headers: dict[str, str], expected: int, answer: dict[str, str]
) -> None:
    dav.put("/a", b"kept")

    reply = dav.request("PUT", "/a", [*headers.items(), ("Expect", "100-continue")], [b"abc"])

    assert reply.status == expected
    assert dav.last.received == 0
    assert {name: reply.headers[name] for name in answer} == answer
    assert reply.headers["connection"] == "close"
    assert dav.get("/a").body == b"kept"


@pytest.mark.rfc("PU-08", "PU-11")
def test_unknown_fields_are_ignored(dav: AppDav) -> None:
    headers = {
        "Overwrite": "F",
        "Depth": "0",
        "Translate": "f",
        "Apply-To-Redirect-Ref": "T",
        "X-MSDAVEXT": "PROPPATCH",
        "X-Anything": "at all",
        "Content-Encoding": "identity",
        "Content-Language": "de",
    }

    assert dav.put("/a", b"abc", headers).status == 201
    assert dav.put("/a", b"abcd", headers).status == 204
    shown = dav.get("/a").headers
    assert "content-language" not in shown
    assert "x-anything" not in shown


@pytest.mark.rfc("PU-12")
@pytest.mark.parametrize("headers", [{"Content-Length": "0"}, {}], ids=["length 0", "no length"])
def test_an_empty_body_makes_an_empty_file(dav: AppDav, headers: dict[str, str]) -> None:
    for expected, target in ((201, "/new"), (204, "/new")):
        exchange = dav.run(dav.send("PUT", target, headers, b""))

        assert exchange.reply.status == expected
        assert dav.get("/new").body == b""
        dav.put("/new", b"filled")


@pytest.mark.rfc("PU-10", "LM-10")
@pytest.mark.parametrize("scope", ["exclusive", "shared"])
def test_a_locked_resource_needs_its_token(dav: AppDav, scope: str) -> None:
    dav.put("/a", b"old")
    lock = dav.lock("/a", scope=scope)

    reply = dav.put("/a", b"lost")

    assert reply.status == 423
    assert reply.conditions == [f"{D}lock-token-submitted"]
    assert reply.condition_hrefs == ["/a"]
    assert dav.last.received == 0
    assert dav.get("/a").body == b"old"
    assert dav.put("/a", b"new", {"If": lock.untagged}).status == 204
    assert dav.get("/a").body == b"new"
    assert len(dav.locks("/a")) == 1


@pytest.mark.rfc("PU-10", "CL-01", "CL-02", "CL-03")
@pytest.mark.parametrize(("depth", "replaced"), [("0", 204), ("infinity", 423)])
def test_a_new_member_of_a_locked_collection_needs_the_collections_token(
    dav: AppDav, depth: str, replaced: int
) -> None:
    dav.mkcol("/c/")
    dav.put("/c/old", b"old")
    lock = dav.lock("/c/", depth=depth)

    reply = dav.put("/c/new", b"lost")

    assert (reply.status, reply.condition_hrefs) == (423, ["/c/"])
    assert dav.last.received == 0
    assert dav.members("/c/") == ["/c/old"]
    assert dav.put("/c/old", b"changed").status == replaced
    assert dav.put("/c/new", b"new", {"If": f"</c/> (<{lock.token}>)"}).status == 201


@pytest.mark.rfc("PU-13", "HC-06")
@pytest.mark.parametrize(
    ("target", "headers", "expected"),
    [
        pytest.param("/a", {"If-None-Match": "*"}, 412, id="If-None-Match * on a mapped URL"),
        pytest.param("/new", {"If-None-Match": "*"}, 201, id="If-None-Match * on an unmapped one"),
        pytest.param("/new", {"If-Match": "*"}, 412, id="If-Match * on an unmapped URL"),
        pytest.param("/a", {"If-Match": "*"}, 204, id="If-Match * on a mapped one"),
        pytest.param("/a", {"If-Match": '"other"'}, 412, id="another tag"),
        pytest.param("/a", {"If": '(["other"])'}, 412, id="another tag in If"),
    ],
)
def test_conditions_hold_before_the_body_is_asked_for(
    dav: AppDav, target: str, headers: dict[str, str], expected: int
) -> None:
    dav.put("/a", b"old")

    reply = dav.put(target, b"new", headers)

    assert reply.status == expected
    assert (dav.last.received == 0) == (expected == 412)
    assert dav.get("/a").body == (b"new" if (target, expected) == ("/a", 204) else b"old")
    assert dav.get("/new").status == (200 if expected == 201 else 404)


class Full(MemoryStorage):
    """Refuses every new version with `error`."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error = error

    def create(self, path: object, *, size_hint: int | None = None) -> None:  # type: ignore[override]
        raise self.error("refused")


@pytest.mark.rfc("PC-08", "ST-02")
@pytest.mark.parametrize(
    ("error", "expected", "conditions"),
    [
        (NoSpace, 507, [f"{D}sufficient-disk-space"]),
        (QuotaExceeded, 507, [f"{D}quota-not-exceeded"]),
        (AccessDenied, 403, None),
    ],
)
@pytest.mark.parametrize("size", [3, 3 << 20])
def test_what_the_storage_refuses(
    make_dav: MakeDav, error: type[Exception], expected: int, conditions: list[str], size: int
) -> None:
    dav = make_dav("memory", overrides={"storage": Full(error)})

    reply = dav.put("/a", b"x" * size)

    assert reply.status == expected
    assert conditions is None or reply.conditions == conditions
    assert dav.members("/") == []


@pytest.mark.rfc("HE-01")
@pytest.mark.parametrize(
    ("settings", "headers", "expected"),
    [
        pytest.param({"put_limit": 2_000_000}, {"Content-Length": "2000001"}, 413, id="limit"),
        pytest.param(
            {"put_limit": 2_000_000}, {"X-Expected-Entity-Length": "2000001"}, 413, id="Finder"
        ),
        pytest.param({}, {"Content-Length": "9000001"}, 507, id="no space"),
        pytest.param({}, {"X-Expected-Entity-Length": "9000001"}, 507, id="no space for Finder"),
        pytest.param({"read_only": True}, {"Content-Length": "1"}, 403, id="read-only"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_the_body(
    make_dav: MakeDav, settings: dict[str, object], headers: dict[str, str], expected: int
) -> None:
    storage = HookedStorage()
    storage.available = 9_000_000
    dav = make_dav("memory", overrides={"storage": storage}, **settings)
    fields = [*headers.items(), ("Expect", "100-continue")]
    body: bytes | list[bytes] = b"x" if "Content-Length" in headers else [b"x"]

    reply = dav.request("PUT", "/a", fields, body)

    assert (reply.status, reply.headers["connection"]) == (expected, "close")
    assert dav.last.received == 0
    assert dav.members("/") == []


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("limit", "expected"), [(2_000_000, 201), (1_999_999, 413), (10, 413)])
def test_the_limit_counts_what_comes(
    make_dav: MakeDav, chunked: bool, limit: int, expected: int
) -> None:
    dav = make_dav("filesystem", put_limit=limit)
    assert dav.root
    body = [b"x" * 100_000] * 20

    assert dav.put("/a", body if chunked else b"".join(body)).status == expected
    assert os.listdir(dav.root) == (["a"] if expected == 201 else [])


@pytest.mark.rfc("G-05", "G-06")
def test_without_a_right_to_write_nothing_is_told_and_nothing_is_read(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", anonymous="read")
    assert dav.root
    (dav.root / "a").write_bytes(b"kept")

    for target, headers in (
        ("/a", {"If-Match": '"other"'}),
        ("/a", {"If": "(<urn:x>)"}),
        ("/no/such", {}),
        ("/", {}),
    ):
        assert dav.put(target, b"lost", headers).status == 403
        assert dav.last.received == 0
    assert (dav.root / "a").read_bytes() == b"kept"
