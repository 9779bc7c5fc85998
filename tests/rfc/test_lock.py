"""LOCK that makes a lock: the model of locks and RFC 4918 sections 6, 7.3 and 9.10."""

from __future__ import annotations

import re
import uuid

import pytest

from tests.conftest import AppDav
from tests.support.dav import LOCKINFO, Dav, activelock_of

D = "{DAV:}"


def tree(dav: Dav) -> None:
    """`/c` with the file `/c/f`, the collection `/c/d` and the file `/c/d/f`."""
    for name in ("/c", "/c/d"):
        assert dav.mkcol(name).status == 201
    for name in ("/c/f", "/c/d/f"):
        assert dav.put(name, b"old").status == 201


# What is locked (target, scope, depth), what is asked for, and whether it is granted.
COMPATIBILITY = {
    "none, exclusive": (None, ("/c/f", "exclusive", "0"), True),
    "none, shared": (None, ("/c/f", "shared", "0"), True),
    "shared, shared": (("/c/f", "shared", "0"), ("/c/f", "shared", "0"), True),
    "shared, exclusive": (("/c/f", "shared", "0"), ("/c/f", "exclusive", "0"), False),
    "exclusive, shared": (("/c/f", "exclusive", "0"), ("/c/f", "shared", "0"), False),
    "exclusive, exclusive": (("/c/f", "exclusive", "0"), ("/c/f", "exclusive", "0"), False),
    "indirect exclusive, shared": (
        ("/c/", "exclusive", "infinity"),
        ("/c/d/f", "shared", "0"),
        False,
    ),
    "indirect shared, exclusive": (
        ("/c/", "shared", "infinity"),
        ("/c/d/f", "exclusive", "0"),
        False,
    ),
    "indirect shared, shared": (("/c/", "shared", "infinity"), ("/c/d/f", "shared", "0"), True),
    "depth 0 above, exclusive": (("/c/", "exclusive", "0"), ("/c/d/f", "exclusive", "0"), True),
    "exclusive member, infinity": (
        ("/c/d/f", "exclusive", "0"),
        ("/c/", "shared", "infinity"),
        False,
    ),
    "shared member, exclusive infinity": (
        ("/c/d/f", "shared", "0"),
        ("/c/", "exclusive", "infinity"),
        False,
    ),
    "shared member, shared infinity": (
        ("/c/d/f", "shared", "0"),
        ("/c/", "shared", "infinity"),
        True,
    ),
    "exclusive member, depth 0": (("/c/f", "exclusive", "0"), ("/c/", "exclusive", "0"), True),
}


@pytest.mark.rfc("LM-01", "LK-14")
@pytest.mark.parametrize(
    ("held", "asked", "granted"), COMPATIBILITY.values(), ids=COMPATIBILITY.keys()
)
def test_compatibility_of_locks(
    dav: AppDav,
    held: tuple[str, str, str] | None,
    asked: tuple[str, str, str],
    granted: bool,
) -> None:
    tree(dav)
    if held is not None:
        dav.lock(held[0], scope=held[1], depth=held[2])
    before = {target: len(dav.locks(target)) for target in ("/c/", "/c/f", "/c/d/f")}

    reply = dav.lock_request(asked[0], scope=asked[1], depth=asked[2])

    if granted:
        assert reply.status == 200
        active = activelock_of(reply, reply.headers["lock-token"][1:-1])
        assert active.find(f"{D}lockscope")[0].tag == f"{D}{asked[1]}"
        assert active.findtext(f"{D}depth") == asked[2]
        assert len(dav.locks(asked[0])) == before[asked[0]] + 1
    else:
        assert reply.status in (207, 423)
        assert {t: len(dav.locks(t)) for t in before} == before


@pytest.mark.rfc("LM-02")
def test_infinity_lock_covers_what_comes_and_not_what_goes(dav: AppDav) -> None:
    tree(dav)
    lock = dav.lock("/c/", depth="infinity")
    submit = {"If": f"</c/> (<{lock.token}>)"}
    assert dav.put("/c/new", b"1", submit).status == 201
    assert dav.move("/c/f", "/out", headers=submit).status == 201

    assert len(dav.locks("/c/new")) == 1
    assert dav.put("/c/new", b"2").status == 423
    assert dav.locks("/out") == []
    assert dav.put("/out", b"2").status == 204


@pytest.mark.rfc("LM-03", "LM-06")
def test_each_shared_lock_has_a_token_of_its_own(dav: AppDav) -> None:
    dav.put("/f", b"old")
    tokens = [dav.lock("/f", scope="shared").token for _ in range(5)]

    shown = [e.findtext(f"{D}locktoken/{D}href") for e in dav.locks("/f")]
    assert sorted(shown) == sorted(set(tokens))
    assert {uuid.UUID(token).version for token in tokens} == {4}
    assert all(token.startswith("urn:uuid:") for token in tokens)
    for token in tokens:
        assert dav.put("/f", b"x", {"If": f"(<{token}>)"}).status == 204
    assert dav.put("/f", b"y").status == 423
    assert dav.unlock("/f", tokens[0]).status == 204
    assert len(dav.locks("/f")) == 4


@pytest.mark.rfc("LM-09", "O-02")
def test_every_resource_shows_that_it_can_be_locked(dav: AppDav) -> None:
    tree(dav)
    for target in ("/", "/c/", "/c/f"):
        assert dav.locks(target) == []
        entries = dav.prop(target, f"{D}supportedlock")
        scopes = [entry.find(f"{D}lockscope")[0].tag for entry in entries]
        assert scopes == [f"{D}exclusive", f"{D}shared"]


@pytest.mark.rfc("LM-10")
@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("HEAD", {}),
        ("OPTIONS", {}),
        ("PROPFIND", {"Depth": "0"}),
        ("COPY", {"Destination": "/copy"}),
    ],
)
def test_a_lock_never_hinders_reading(dav: AppDav, method: str, headers: dict[str, str]) -> None:
    dav.put("/f", b"old")
    dav.lock("/f")

    assert dav.request(method, "/f", headers).status in (200, 201, 207)


CHANGES = {
    "PUT": ("PUT", "/c/f", {}, b"new"),
    "DELETE": ("DELETE", "/c/f", {}, b""),
    "MOVE": ("MOVE", "/c/f", {"Destination": "/moved"}, b""),
    "COPY onto": ("COPY", "/source", {"Destination": "/c/f"}, b""),
    "MOVE onto": ("MOVE", "/source", {"Destination": "/c/f"}, b""),
    "PROPPATCH": (
        "PROPPATCH",
        "/c/f",
        {},
        b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><a xmlns="urn:x">1</a></D:prop></D:set>'
        b"</D:propertyupdate>",
    ),
    "MKCOL": ("MKCOL", "/c/new", {}, b""),
    "LOCK new": ("LOCK", "/c/new", {}, LOCKINFO.format(scope="shared", owner="").encode()),
    "LOCK": ("LOCK", "/c/f", {}, LOCKINFO.format(scope="shared", owner="").encode()),
}


@pytest.mark.rfc("LM-10", "CL-07", "ST-03", "PC-02", "PC-03", "LM-05")
@pytest.mark.parametrize(
    ("method", "target", "headers", "body"), CHANGES.values(), ids=CHANGES.keys()
)
def test_a_lock_hinders_change_without_its_token(
    dav: AppDav, method: str, target: str, headers: dict[str, str], body: bytes
) -> None:
    tree(dav)
    dav.put("/source", b"other")
    lock = dav.lock("/c/", depth="infinity")

    reply = dav.request(method, target, headers, body)

    assert reply.status == 423
    condition = "no-conflicting-lock" if (method, target) == ("LOCK", "/c/f") else None
    assert reply.conditions == [f"{D}{condition or 'lock-token-submitted'}"]
    assert reply.condition_hrefs == ["/c/"]
    assert lock.token.encode() not in reply.body
    assert dav.get("/c/f").body == b"old"
    assert dav.get("/source").body == b"other"
    assert dav.members("/c/") == ["/c/d/", "/c/f"]
    assert dav.prop("/c/f", "{urn:x}a") is None


@pytest.mark.rfc("LK-01", "LK-10", "LK-16", "LT-01")
def test_lock_of_a_file_answers_with_the_whole_lock(dav: AppDav) -> None:
    dav.put("/a b", b"old")

    reply = dav.lock_request("/a%20b", depth="0", timeout="Second-600")

    assert reply.status == 200
    token = reply.headers["lock-token"]
    assert re.fullmatch(r"<urn:uuid:[0-9a-f-]{36}>", token)
    active = activelock_of(reply, token[1:-1])
    assert [str(child.tag).removeprefix(D) for child in active] == [
        "locktype",
        "lockscope",
        "depth",
        "owner",
        "timeout",
        "locktoken",
        "lockroot",
    ]
    assert active.find(f"{D}locktype")[0].tag == f"{D}write"
    assert active.findtext(f"{D}timeout") == "Second-600"
    assert active.findtext(f"{D}lockroot/{D}href") == "/a%20b"
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.rfc("LK-02", "D-10", "G-21")
def test_lock_of_an_unmapped_url_creates_an_empty_file(dav: AppDav) -> None:
    lock = dav.lock("/new", depth="infinity")

    assert lock.reply.status == 201
    assert dav.members("/") == ["/new"]
    reply = dav.get("/new")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")
    assert len(dav.prop("/new", f"{D}resourcetype")) == 0
    assert len(dav.locks("/new")) == 1


@pytest.mark.rfc("LK-03")
@pytest.mark.parametrize("target", ["/none/new", "/file/new"])
def test_lock_below_no_collection_is_409(dav: AppDav, target: str) -> None:
    dav.put("/file", b"old")

    assert dav.lock_request(target).status == 409
    assert dav.members("/") == ["/file"]


@pytest.mark.rfc("LK-04")
def test_empty_resource_stays_after_unlock_and_expiry(dav: AppDav) -> None:
    first, _ = dav.lock("/first"), dav.lock("/second", timeout="Second-60")
    assert dav.unlock("/first", first.token).status == 204
    dav.clock.pass_s(61)

    assert dav.members("/") == ["/first", "/second"]
    assert dav.locks("/second") == []


@pytest.mark.rfc("LK-05", "PF-01")
def test_empty_resource_is_a_plain_file(dav: AppDav) -> None:
    lock = dav.lock("/new")

    assert dav.mkcol("/new").status == 405
    assert dav.put("/new", b"content", {"If": lock.untagged}).status == 204
    assert dav.get("/new").body == b"content"
    assert len(dav.locks("/new")) == 1


@pytest.mark.rfc("LK-06")
@pytest.mark.parametrize(
    ("depth", "shown"), [(None, "infinity"), ("infinity", "infinity"), ("0", "0")]
)
def test_depth_of_a_lock(dav: AppDav, depth: str | None, shown: str) -> None:
    tree(dav)

    lock = dav.lock("/c/", depth=depth)

    assert lock.activelock.findtext(f"{D}depth") == shown
    assert len(dav.locks("/c/d/f")) == (1 if shown == "infinity" else 0)


@pytest.mark.rfc("LK-06", "DE-01")
@pytest.mark.parametrize("depth", ["1", "2", "-1", "", "infinite", "1,noroot", "01"])
@pytest.mark.parametrize("target", ["/c/", "/c/f"])
def test_other_depths_of_a_lock_are_400(dav: AppDav, target: str, depth: str) -> None:
    tree(dav)

    assert dav.lock_request(target, depth=depth).status == 400
    assert dav.locks(target) == []


@pytest.mark.rfc("LK-07", "LK-08", "D-1", "ST-02")
def test_infinity_lock_over_a_locked_member_is_207_and_locks_nothing(dav: AppDav) -> None:
    tree(dav)
    member = dav.lock("/c/d/f")

    reply = dav.lock_request("/c/", depth="infinity")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/c/d/f": 423, "/c/": 424}
    assert reply.multistatus.conditions["/c/d/f"] == [f"{D}no-conflicting-lock"]
    assert member.token.encode() not in reply.body
    assert "lock-token" not in reply.headers
    assert dav.locks("/c/") == dav.locks("/c/f") == []
    assert dav.put("/c/f", b"free").status == 204


@pytest.mark.rfc("LK-07")
def test_infinity_lock_is_one_token_for_all(dav: AppDav) -> None:
    tree(dav)
    lock = dav.lock("/c/", depth="infinity")

    for target in ("/c/", "/c/f", "/c/d/", "/c/d/f"):
        (active,) = dav.locks(target)
        assert active.findtext(f"{D}locktoken/{D}href") == lock.token
        assert active.findtext(f"{D}lockroot/{D}href") == "/c/"


@pytest.mark.rfc("LK-11", "PC-03")
def test_conflict_with_an_indirect_lock_names_its_root(dav: AppDav) -> None:
    tree(dav)
    lock = dav.lock("/c/", depth="infinity")

    reply = dav.lock_request("/c/d/f", depth="0")

    assert (reply.status, reply.conditions) == (423, [f"{D}no-conflicting-lock"])
    assert reply.condition_hrefs == ["/c/"]
    assert lock.token.encode() not in reply.body


@pytest.mark.rfc("LK-12", "LK-15")
def test_same_exclusive_lock_twice_is_423(dav: AppDav) -> None:
    dav.put("/f", b"old")
    lock = dav.lock("/f")

    for headers in (None, {"If": lock.untagged}):
        reply = dav.lock_request("/f", headers=headers)
        assert (reply.status, reply.conditions) == (423, [f"{D}no-conflicting-lock"])
    assert len(dav.locks("/f")) == 1


@pytest.mark.rfc("LK-13", "D-7")
@pytest.mark.parametrize("depth", ["0", "infinity"])
def test_lock_that_creates_needs_the_collections_token(dav: AppDav, depth: str) -> None:
    tree(dav)
    lock = dav.lock("/c/", depth=depth, scope="shared")

    assert dav.lock_request("/c/new", scope="shared").status == 423
    assert dav.members("/c/") == ["/c/d/", "/c/f"]

    submit = {"If": f"</c/> (<{lock.token}>)"}
    assert dav.lock("/c/new", scope="shared", headers=submit).reply.status == 201
    assert dav.members("/c/") == ["/c/d/", "/c/f", "/c/new"]
