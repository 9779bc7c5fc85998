"""OPTIONS, the DAV header field and the classes of compliance (RFC 4918 sections 10.1 and 18)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from davserver.auth.base import ANONYMOUS, Attempt, Principal, Privilege
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.dav import XML

D = "{DAV:}"
CLASSES = "1, 2, 3, extended-mkcol, sabredav-partialupdate"
MakeDav = Callable[..., AppDav]
READS = {"GET", "HEAD", "OPTIONS", "PROPFIND"}
FILE = READS | {"COPY", "DELETE", "LOCK", "MOVE", "PATCH", "PROPPATCH", "PUT", "UNLOCK"}
COLLECTION = FILE - {"PATCH", "PUT"}
ALLOWED = {
    "/file": FILE,
    "/c/": COLLECTION,
    "/c": COLLECTION,
    "/": COLLECTION,
    "/new": {"OPTIONS", "PUT", "MKCOL", "LOCK", "UNLOCK"},
    "/no/such": {"OPTIONS", "PUT", "MKCOL", "LOCK", "UNLOCK"},
}


BINDINGS = {"BIND", "UNBIND", "REBIND"}


def classes(dav: AppDav) -> str:
    """The value of DAV for who may write."""
    return f"{CLASSES}, bind" if dav.storage == "filesystem" else CLASSES


def fill(dav: AppDav) -> None:
    assert dav.mkcol("/c/").status == 201
    assert dav.put("/file", b"x").status == 201


@pytest.mark.rfc("O-01", "O-03", "O-05", "O-06", "O-07")
@pytest.mark.parametrize("target", ALLOWED)
def test_every_url_of_the_share_answers_with_class_and_methods(dav: AppDav, target: str) -> None:
    fill(dav)

    reply = dav.options(target)
    has_bindings = dav.storage == "filesystem" and target in ("/", "/c", "/c/")
    allowed = ALLOWED[target] | (BINDINGS if has_bindings else set())

    assert (reply.status, reply.headers["content-length"]) == (200, "0")
    assert reply.headers["dav"] == classes(dav)
    assert reply.headers["ms-author-via"] == "DAV"
    assert set(reply.headers.tokens("allow")) == allowed


def test_cadaver_alone_hears_of_the_class_of_executable(make_dav: MakeDav) -> None:
    dav = make_dav("memory")
    to_cadaver = dav.options("/", {"User-Agent": "cadaver/0.24 neon/0.32.5"})
    to_others = dav.options("/", {"User-Agent": "davfs2/1.6.1 neon/0.32.5"})

    assert to_cadaver.headers["dav"] == f"{CLASSES}, <http://apache.org/dav/propset/fs/1>"
    assert to_others.headers["dav"] == CLASSES


@pytest.mark.rfc("O-06", "HM-02")
@pytest.mark.parametrize("target", ALLOWED)
@pytest.mark.parametrize("method", sorted((FILE | {"MKCOL", "POST", "TRACE"}) - {"OPTIONS"}))
def test_allow_tells_the_truth(make_dav: MakeDav, method: str, target: str) -> None:
    """What is listed is never 405; what is not listed is 405, or 404 where nothing is."""
    dav = make_dav("memory")
    fill(dav)
    headers = {"Destination": "/other"} if method in ("COPY", "MOVE") else {}
    body = b""
    if method == "PROPPATCH":
        headers = {"Content-Type": XML}
        body = b"<propertyupdate xmlns='DAV:'><remove><prop><x/></prop></remove></propertyupdate>"

    reply = dav.request(method, target, headers, body)

    assert method not in reply.headers.tokens("allow")
    if method in ALLOWED[target]:
        assert reply.status not in (404, 405, 501)
    else:
        assert reply.status in ((404, 405) if target in ("/new", "/no/such") else (405,))


@pytest.mark.rfc("O-06", "HC-07", "HM-01")
@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": '"other"'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Sun, 09 Sep 2001 01:46:40 GMT"},
        {"Depth": "nonsense"},
        {"Overwrite": "nonsense"},
        {"If": "(<urn:uuid:unknown>)"},
    ],
)
def test_options_has_no_conditions(dav: AppDav, headers: dict[str, str]) -> None:
    fill(dav)

    assert dav.options("/file", headers).status == 200


@pytest.mark.rfc("O-06")
def test_the_asterisk_asks_about_the_server(dav: AppDav) -> None:
    reply = dav.options("*")

    assert reply.status == 200
    assert reply.headers["dav"] == classes(dav)
    assert dav.request("GET", "*").status == 400


@pytest.mark.rfc("G-14")
@pytest.mark.parametrize("body", [b"<x/>", [b"<x/>"]], ids=["length", "chunked"])
def test_a_body_is_415(dav: AppDav, body: bytes | list[bytes]) -> None:
    assert dav.request("OPTIONS", "/", None, body).status == 415


@pytest.mark.rfc("O-02", "LM-09", "UL-07")
@pytest.mark.parametrize("settings", [{"read_only": True}, {"anonymous": "read"}])
def test_who_cannot_write_is_not_offered_class_2(
    make_dav: MakeDav, settings: dict[str, Any]
) -> None:
    """Finder mounts read-only on class 1, instead of failing at its first write."""
    dav = make_dav("filesystem", **settings)
    assert dav.root
    (dav.root / "file").write_bytes(b"x")

    for target in ("/", "/file", "/new"):
        reply = dav.options(target)
        assert reply.headers["dav"] == "1, 3"
        assert set(reply.headers.tokens("allow")) == (READS if target != "/new" else {"OPTIONS"})
    assert dav.lock_request("/file").status == 403
    assert dav.request("UNLOCK", "/file", {"Lock-Token": "<urn:uuid:x>"}).status == 403
    assert dav.prop("/file", f"{D}supportedlock") is None
    assert os.listdir(dav.root) == ["file"]


@pytest.mark.rfc("O-02", "LK-01", "UL-01", "TO-01")
def test_class_2_is_there_with_all_that_belongs_to_it(dav: AppDav) -> None:
    fill(dav)
    for target in ("/file", "/c/"):
        assert len(dav.prop(target, f"{D}supportedlock").findall(f"{D}lockentry")) == 2
        lock = dav.lock(target, timeout="Second-600")
        assert lock.activelock.findtext(f"{D}timeout") == "Second-600"
        assert len(dav.locks(target)) == 1
        assert dav.unlock(target, lock.token).status == 204


# -- below a prefix, and outside of it ---------------------------------------------------------


@pytest.mark.rfc("O-04", "G-12")
@pytest.mark.parametrize("how", ["prefix", "mounted"])
@pytest.mark.parametrize("target", ["/", "/files", "/files/"])
def test_the_way_to_the_mount_is_read_only(make_dav: MakeDav, how: str, target: str) -> None:
    """Windows and gvfs ask every ancestor of what they mount."""
    if how == "prefix":
        dav = make_dav("memory", prefix="/files/dav")
    else:
        dav = make_dav("memory", root_path="/files/dav")

    reply = dav.options(target)

    assert (reply.status, reply.headers["dav"]) == (200, "1, 3")
    assert set(reply.headers.tokens("allow")) == {"OPTIONS", "PROPFIND"}
    shown = dav.propfind(target, props=[f"{D}resourcetype"], depth="1").hrefs
    assert sorted(shown) == (["/", "/files/"] if target == "/" else ["/files/", "/files/dav/"])
    for method in ("PUT", "DELETE", "MKCOL", "LOCK", "PROPPATCH"):
        assert dav.request(method, target).status == 405
    assert dav.get(target).status == 404


@pytest.mark.rfc("O-04")
@pytest.mark.parametrize("target", ["/other", "/files/davx", "/files/other/x", "/FILES/dav/"])
def test_beside_the_mount_nothing_says_dav(make_dav: MakeDav, target: str) -> None:
    dav = make_dav("memory", prefix="/files/dav")

    reply = dav.options(target)

    assert reply.status == 404
    assert "dav" not in reply.headers
    assert dav.put(target, b"lost").status == 404


@pytest.mark.rfc("O-01", "G-04", "G-11", "G-12")
@pytest.mark.parametrize("how", [{"prefix": "/a b/ü"}, {"root_path": "/a b/ü"}])
def test_below_the_prefix_every_url_carries_it(make_dav: MakeDav, how: dict[str, str]) -> None:
    dav = make_dav("filesystem", **how)
    assert dav.root
    base = "/a%20b/%C3%BC"
    assert dav.options(f"{base}/").headers["dav"] == classes(dav)
    assert dav.mkcol(f"{base}/c/").status == 201
    assert dav.put(f"{base}/c/f", b"x").status == 201

    assert sorted(dav.propfind(f"{base}/", b"", depth="infinity").hrefs) == [
        f"{base}/",
        f"{base}/c/",
        f"{base}/c/f",
    ]
    assert dav.copy(f"{base}/c/", f"{base}/d/").headers["location"] == f"{base}/d/"
    lock = dav.lock(f"{base}/c", depth="infinity")
    assert lock.activelock.findtext(f"{D}lockroot/{D}href") == f"{base}/c/"
    assert dav.delete(f"{base}/c/f").condition_hrefs == [f"{base}/c/"]
    assert dav.copy(f"{base}/d/", "/elsewhere/d").status in (403, 502)
    assert dav.delete(f"{base}/").status == 403
    assert sorted(os.listdir(dav.root)) == ["c", "d"]


# -- sign-in ---------------------------------------------------------------------------------


class Gatekeeper:
    """Knows one user by a word, and lets nobody else in."""

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        return [b'Example realm="files"']

    def recall(self, attempt: Attempt) -> Principal | None:
        return None

    def authenticate(self, attempt: Attempt) -> Principal | None:
        if attempt.authorization is None:
            return None
        word = attempt.authorization.removeprefix(b"Example ")
        return ANONYMOUS if word == b"guest" else Principal(word.decode())

    def close(self) -> None:
        pass


class Owner:
    """Lets `alice` write; others may read."""

    def permits(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool:
        return privilege is Privilege.READ or principal.name == "alice"


@pytest.fixture
def guarded(make_dav: MakeDav) -> AppDav:
    dav = make_dav("memory", overrides={"authenticator": Gatekeeper(), "authorizer": Owner()})
    alice = {"Authorization": "Example alice"}
    dav.put("/a", b"kept", alice)
    dav.mkcol("/c/", alice)
    dav.lock("/a", headers=alice)
    return dav


HOPELESS = [
    pytest.param("PUT", "/a", {}, id="locked"),
    pytest.param("PUT", "/a", {"If-Match": '"other"'}, id="a false condition"),
    pytest.param("PUT", "/a", {"If": "(<urn:x:y>)"}, id="a false If"),
    pytest.param("PUT", "/a", {"If": "nonsense"}, id="an If that cannot be read"),
    pytest.param("DELETE", "/missing", {}, id="missing"),
    pytest.param("PUT", "/no/such", {}, id="no parent"),
    pytest.param("MKCOL", "/a", {}, id="mapped"),
    pytest.param("PUT", "/c/", {}, id="of another kind"),
    pytest.param("PROPPATCH", "/a", {}, id="no body"),
    pytest.param("COPY", "/a", {"Destination": "/c/", "Overwrite": "F"}, id="Overwrite F"),
    pytest.param("MOVE", "/a", {"Destination": "/c/", "Overwrite": "F"}, id="Overwrite F, MOVE"),
    pytest.param("COPY", "/a", {"Destination": "http://x.example/"}, id="a foreign Destination"),
    pytest.param("OPTIONS", "/a", {}, id="OPTIONS"),
    pytest.param("PROPFIND", "/missing", {"Depth": "9"}, id="Depth"),
]


@pytest.mark.rfc("G-05")
@pytest.mark.parametrize(("method", "target", "headers"), HOPELESS)
def test_401_comes_before_anything_about_the_resource(
    guarded: AppDav, method: str, target: str, headers: dict[str, str]
) -> None:
    reply = guarded.request(method, target, headers)

    assert reply.status == 401
    assert reply.headers["www-authenticate"] == 'Example realm="files"'
    assert guarded.last.received == 0


@pytest.mark.rfc("G-05", "G-06", "LM-05")
@pytest.mark.parametrize(("who", "expected"), [("bob", 403), ("guest", 401)])
@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        case
        for case in HOPELESS
        if case.values[0] not in ("OPTIONS", "PROPFIND")
        and "nonsense" not in str(case.values[2])
        and "x.example" not in str(case.values[2])
    ],
)
def test_403_comes_before_conditions_locks_and_overwrite(
    guarded: AppDav, who: str, expected: int, method: str, target: str, headers: dict[str, str]
) -> None:
    """One who may not write is told only that; the guest is asked to sign in."""
    reply = guarded.request(method, target, headers | {"Authorization": f"Example {who}"})

    assert reply.status == expected
    assert guarded.last.received == 0
    assert guarded.get("/a", {"Authorization": "Example bob"}).body == b"kept"


@pytest.mark.rfc("G-05", "O-06")
def test_options_shows_each_what_they_may_do(guarded: AppDav) -> None:
    alice = guarded.options("/a", {"Authorization": "Example alice"})
    bob = guarded.options("/a", {"Authorization": "Example bob"})

    assert (alice.headers["dav"], bob.headers["dav"]) == (CLASSES, "1, 3")
    assert set(alice.headers.tokens("allow")) == FILE
    assert set(bob.headers.tokens("allow")) == READS
