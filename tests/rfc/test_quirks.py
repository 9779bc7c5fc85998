"""The named quirks (davserver/protocol/quirks.py) over the wire: what each helps, and that the
RFC's rule holds everywhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.support.dav import LOCKINFO, activelock_of
from tests.support.users import TestUsers, User

D = "{DAV:}"
MakeDav = Callable[..., AppDav]
UNKNOWN = "urn:uuid:00000000-0000-4000-8000-000000000000"
UPDATE = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><a xmlns="urn:x">1</a></D:prop></D:set>'
    b"</D:propertyupdate>"
)
LOCK = LOCKINFO.format(scope="shared", owner="").encode()

# -- a Lock-Token header submits (Office, Finder) -----------------------------------------------

SUBMITTED = {
    "PUT": ("/f", {}, b"new", 204),
    "PROPPATCH": ("/f", {}, UPDATE, 207),
    "DELETE": ("/f", {}, b"", 204),
    "MOVE": ("/f", {"Destination": "/moved"}, b"", 201),
}


@pytest.mark.parametrize("form", ["<{}>", "{}"], ids=["brackets", "bare"])
@pytest.mark.parametrize("method", SUBMITTED)
def test_lock_token_header_submits(dav: AppDav, method: str, form: str) -> None:
    target, headers, body, status = SUBMITTED[method]
    dav.put("/f", b"old")
    token = dav.lock("/f").token

    assert dav.request(method, target, headers, body).status == 423
    wrong = headers | {"Lock-Token": form.format(UNKNOWN)}
    assert dav.request(method, target, wrong, body).status == 423
    right = headers | {"Lock-Token": form.format(token)}
    assert dav.request(method, target, right, body).status == status


@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        ("COPY", "/source", {"Destination": "/f"}, b""),
        ("MKCOL", "/c/new", {}, b""),
        ("LOCK", "/c/new", {}, LOCK),
    ],
    ids=["COPY", "MKCOL", "LOCK"],
)
def test_lock_token_header_submits_on_no_other_method(
    dav: AppDav, method: str, target: str, headers: dict[str, str], body: bytes
) -> None:
    dav.mkcol("/c/")
    for name in ("/f", "/source"):
        dav.put(name, b"old")
    token = dav.lock("/c/" if "/c/" in target else "/f", scope="shared").token

    fields = headers | {"Lock-Token": f"<{token}>"}
    assert dav.request(method, target, fields, body).status == 423
    assert dav.get("/f").body == b"old"
    assert dav.members("/c/") == []


def test_lock_token_header_makes_no_false_if_true(dav: AppDav) -> None:
    dav.put("/f", b"old")
    token = dav.lock("/f").token

    reply = dav.put("/f", b"new", {"Lock-Token": f"<{token}>", "If": f"(<{UNKNOWN}>)"})

    assert reply.status == 412
    assert dav.get("/f").body == b"old"


def test_unreadable_lock_token_header_is_passed_over(dav: AppDav) -> None:
    dav.put("/f", b"old")

    assert dav.put("/f", b"new", {"Lock-Token": "<not a token"}).status == 204
    dav.lock("/f")
    assert dav.put("/f", b"newer", {"Lock-Token": "<not a token"}).status == 423


# -- a token without brackets in Lock-Token (npm webdav, Windows) --------------------------------


@pytest.mark.rfc("UL-08")
def test_unlock_takes_a_bare_token(dav: AppDav) -> None:
    token = dav.lock("/f").token

    assert dav.request("UNLOCK", "/f", {"Lock-Token": UNKNOWN}).status == 409
    assert dav.request("UNLOCK", "/f", {"Lock-Token": f"<{token}"}).status == 400
    assert len(dav.locks("/f")) == 1
    assert dav.request("UNLOCK", "/f", {"Lock-Token": token}).status == 204
    assert dav.locks("/f") == []


# -- Finder: MOVE or DELETE of a folder with the token of a file in it ---------------------------


@pytest.fixture
def folder(dav: AppDav) -> AppDav:
    """`/c/` with the files `/c/f` and `/c/g`."""
    assert dav.mkcol("/c/").status == 201
    for name in ("/c/f", "/c/g"):
        assert dav.put(name, b"old").status == 201
    return dav


@pytest.mark.parametrize(
    ("method", "status"), [("DELETE", 204), ("MOVE", 201)], ids=["DELETE", "MOVE"]
)
def test_token_of_a_member_serves_its_collection(folder: AppDav, method: str, status: int) -> None:
    token = folder.lock("/c/f").token

    reply = folder.request(method, "/c/", {"If": f"(<{token}>)", "Destination": "/moved/"})

    assert reply.status == status
    assert folder.get("/c/f").status == 404


REFUSED = {
    "unknown token": "(<{unknown}>)",
    "one of two unknown": "(<{token}> <{unknown}>)",
    "negated": "(Not <{token}>) (<{unknown}>)",
    "with an etag": '(<{token}> ["x"])',
    "tagged elsewhere": "</c/g> (<{token}>)",
}


@pytest.mark.parametrize("method", ["DELETE", "MOVE"])
@pytest.mark.parametrize("condition", REFUSED.values(), ids=REFUSED.keys())
def test_other_false_conditions_stay_false(folder: AppDav, method: str, condition: str) -> None:
    token = folder.lock("/c/f").token
    value = condition.format(token=token, unknown=UNKNOWN)
    if condition.startswith("(Not"):
        folder.lock("/c/", scope="shared", depth="0")
        value = value.replace("(Not", '(["x"] Not')

    reply = folder.request(method, "/c/", {"If": value, "Destination": "/moved/"})

    assert reply.status == 412
    assert folder.members("/c/") == ["/c/f", "/c/g"]


@pytest.mark.parametrize(
    ("method", "target"),
    [("COPY", "/c/"), ("PROPPATCH", "/c/"), ("DELETE", "/c/g"), ("PROPFIND", "/c/")],
)
def test_token_of_a_member_serves_no_other_request(
    folder: AppDav, method: str, target: str
) -> None:
    token = folder.lock("/c/f").token
    body = UPDATE if method == "PROPPATCH" else b""

    reply = folder.request(method, target, {"If": f"(<{token}>)", "Destination": "/copy/"}, body)

    assert reply.status == 412


@pytest.mark.parametrize("method", ["DELETE", "MOVE"])
def test_another_members_lock_still_counts(folder: AppDav, method: str) -> None:
    mine, other = folder.lock("/c/f").token, folder.lock("/c/g").token

    reply = folder.request(method, "/c/", {"If": f"(<{mine}>)", "Destination": "/moved/"})

    if method == "MOVE":
        assert (reply.status, reply.condition_hrefs) == (423, ["/c/g"])
    else:
        assert reply.multistatus.statuses == {"/c/g": 423}
    assert other.encode() not in reply.body
    assert folder.get("/c/g").body == b"old"


# -- Windows: PROPPATCH of its own properties by the lock's creator ------------------------------

WIN32 = "{urn:schemas-microsoft-com:}Win32FileAttributes"


@pytest.fixture(params=["filesystem", "memory"])
def users(request: pytest.FixtureRequest, make_dav: Callable[..., AppDav]) -> tuple[User, User]:
    carrier = make_dav(request.param, overrides={"authenticator": TestUsers()})
    alice, bob = User(carrier, "alice"), User(carrier, "bob")
    assert alice.put("/f", b"old").status == 201
    return alice, bob


def test_windows_attributes_need_no_token_of_ones_own_lock(users: tuple[User, User]) -> None:
    alice, _ = users
    alice.lock("/f")

    reply = alice.proppatch("/f", set={WIN32: "00000020"})

    assert reply.multistatus.status_of("/f", WIN32) == 200
    assert alice.prop("/f", WIN32).text == "00000020"


def test_windows_attributes_of_another_ones_lock_need_it(users: tuple[User, User]) -> None:
    alice, bob = users
    alice.lock("/f")

    assert bob.proppatch("/f", set={WIN32: "00000020"}).status == 423
    assert alice.proppatch("/f", set={WIN32: "1", "{urn:x}a": "1"}).status == 423
    assert alice.proppatch("/f", set={"{urn:x}a": "1"}).status == 423
    assert alice.prop("/f", WIN32) is None
    assert alice.prop("/f", "{urn:x}a") is None


def test_windows_attributes_beside_another_ones_shared_lock_need_a_token(
    users: tuple[User, User],
) -> None:
    alice, bob = users
    alice.lock("/f", scope="shared")
    bob.lock("/f", scope="shared")

    assert alice.proppatch("/f", set={WIN32: "00000020"}).status == 423


def test_windows_attributes_of_the_anonymous_need_the_token(dav: AppDav) -> None:
    token = dav.lock("/f").token

    assert dav.proppatch("/f", set={WIN32: "1"}).status == 423
    headers = {"If": f"(<{token}>)"}
    assert dav.proppatch("/f", set={WIN32: "1"}, headers=headers).status == 207


# -- If-None-Match that cannot be read (Joplin, scripts) ------------------------------------------


@pytest.mark.parametrize("value", ["JoplinIgnore-12345", "two words", '"unfinished', ""])
def test_unreadable_if_none_match_never_matches(dav: AppDav, value: str) -> None:
    headers = {"If-None-Match": value, "Depth": "0", "Destination": "/moved"}
    later = headers | {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}

    assert dav.put("/f", b"old", headers).status == 201
    assert dav.put("/f", b"new", headers).status == 204
    assert dav.get("/f", headers).status == 200
    assert dav.get("/f", later).status == 200, "If-None-Match is there, so the date does not count"
    assert dav.request("PROPFIND", "/f", headers).status == 207
    assert dav.mkcol("/c/", headers).status == 201
    assert dav.request("MOVE", "/f", headers).status == 201
    assert dav.delete("/moved", headers).status == 204


@pytest.mark.parametrize("name", ["If-Match", "If"])
def test_other_unreadable_conditions_are_refused(dav: AppDav, name: str) -> None:
    dav.put("/f", b"old")

    assert dav.put("/f", b"new", {name: "two words"}).status == 400
    assert dav.put("/f", b"new", {"If-None-Match": '*, "x'}).status == 400
    assert dav.get("/f").body == b"old"


# -- If of tokens alone on GET, HEAD, OPTIONS (webdavclient3) -------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("target", ["/c/", "/c/f"])
def test_if_of_tokens_alone_is_ignored_on_reads(folder: AppDav, method: str, target: str) -> None:
    token = folder.lock("/c/f").token

    for value in (f"(<{token}>)", f"(<{UNKNOWN}>)", f"</none> (<{token}>)"):
        assert folder.request(method, target, {"If": value}).status == 200
    for value in ('(["x"])', f'(<{token}> ["x"])'):
        assert folder.request(method, target, {"If": value}).status == 412


def test_if_of_tokens_alone_counts_elsewhere(folder: AppDav) -> None:
    headers = {"If": f"(<{UNKNOWN}>)", "Depth": "0"}

    assert folder.request("PROPFIND", "/c/f", headers).status == 412
    assert folder.put("/c/f", b"new", headers).status == 412


# -- a refresh whose If is nothing but a token (npm webdav) ---------------------------------------


@pytest.mark.parametrize("form", ["{}", "<{}>"])
def test_refresh_takes_a_token_without_list(dav: AppDav, form: str) -> None:
    token = dav.lock("/f", timeout="Second-100").token
    dav.clock.pass_s(50)

    reply = dav.request("LOCK", "/f", {"If": form.format(token), "Timeout": "Second-300"})

    assert reply.status == 200
    assert activelock_of(reply, token).findtext(f"{D}timeout") == "Second-300"
    unknown = dav.request("LOCK", "/f", {"If": form.format(UNKNOWN)})
    assert (unknown.status, unknown.conditions) == (412, [f"{D}lock-token-matches-request-uri"])


def test_refresh_by_a_token_without_list_may_repeat_the_body_of_the_lock(dav: AppDav) -> None:
    token = dav.lock("/f", timeout="Second-100").token
    dav.clock.pass_s(50)

    reply = dav.lock_request("/f", timeout="Second-300", headers={"If": token})

    assert (reply.status, "lock-token" in reply.headers) == (200, False)
    assert activelock_of(reply, token).findtext(f"{D}timeout") == "Second-300"
    assert len(dav.locks("/f")) == 1
    assert dav.lock_request("/f", headers={"If": UNKNOWN}).status == 412


@pytest.mark.rfc("D-9")
def test_token_without_list_is_400_elsewhere(dav: AppDav) -> None:
    token = dav.lock("/f").token

    assert dav.put("/f", b"new", {"If": f"<{token}>"}).status == 400
    assert dav.put("/f", b"new", {"If": token}).status == 400
    assert dav.unlock("/f", token, headers={"If": token}).status == 400
    assert dav.get("/f").body == b""


# -- tags that a proxy has changed (mod_deflate), and tags of PROPFIND everywhere ------------------


@pytest.mark.rfc("HC-02", "HC-03")
def test_suffix_of_a_compressing_proxy_is_taken_off(dav: AppDav) -> None:
    tag = dav.put("/f", b"old").headers["etag"]
    changed = tag[:-1] + '-gzip"'

    assert dav.get("/f", {"If-None-Match": changed}).status == 304
    assert dav.put("/f", b"a", {"If": f"([{changed}])"}).status == 204
    assert dav.put("/f", b"b", {"If-Match": changed}).status == 412
    assert dav.get("/f").body == b"a"


@pytest.mark.rfc("LP-06", "G-15")
def test_one_tag_everywhere(dav: AppDav) -> None:
    tag = dav.put("/f", b"old").headers["etag"]
    dav.proppatch("/f", set={"{urn:x}a": "1"})
    lock = dav.lock("/f")
    shown = {
        tag,
        dav.get("/f").headers["etag"],
        dav.head("/f").headers["etag"],
        dav.prop("/f", f"{D}getetag").text,
    }
    dav.unlock("/f", lock.token)

    assert shown == {tag, dav.head("/f").headers["etag"]}


# -- a listing stays below what Windows takes -----------------------------------------------------

REDIRECTOR = {"User-Agent": "Microsoft-WebDAV-MiniRedir/10.0.19045"}


def test_windows_takes_a_listing_of_1500_files(make_dav: MakeDav) -> None:
    """FileAttributesLimitInBytes is 1,000,000, and what is longer is an empty folder."""
    dav = make_dav("filesystem")
    assert dav.root is not None
    for number in range(1500):
        (dav.root / f"Photo of the holidays {number:04}.jpeg").touch()

    reply = dav.request("PROPFIND", "/", REDIRECTOR | {"Depth": "1"})
    others = dav.request("PROPFIND", "/", {"Depth": "1"})

    assert len(reply.multistatus) == 1501
    assert len(reply.body) < 1_000_000
    assert len(others.body) > 1_000_000


def test_windows_is_told_which_locks_there_are_where_it_asks(dav: AppDav) -> None:
    dav.mkcol("/c/")
    dav.put("/c/f", b"x")
    dav.lock("/c/f")
    name = f"{D}supportedlock"
    asked = '<D:propfind xmlns:D="DAV:"><D:prop><D:supportedlock/></D:prop></D:propfind>'

    listed = dav.propfind("/c/", depth="1", headers=REDIRECTOR)
    named = dav.propfind("/c/", asked, depth="1", headers=REDIRECTOR)
    itself = dav.propfind("/c/f", headers=REDIRECTOR)
    other = dav.propfind("/c/", depth="1")

    assert name in listed["/c/"][200]
    assert name not in listed["/c/f"][200]
    assert len(listed["/c/f"][200][f"{D}lockdiscovery"]) == 1
    assert all(name in answer["/c/f"][200] for answer in (named, itself, other))
