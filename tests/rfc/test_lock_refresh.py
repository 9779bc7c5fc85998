"""How locks live on, or don't: refresh (RFC 4918 section 9.10.2), expiry (6.6), restart, limits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from davserver.state.limits import StateLimits
from davserver.state.memory import MemoryState
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.support.dav import activelock_of

D = "{DAV:}"
MATCHES = f"{D}lock-token-matches-request-uri"


@pytest.fixture
def tree(dav: AppDav) -> AppDav:
    """`/c/` with the file `/c/f`, and `/other`."""
    assert dav.mkcol("/c/").status == 201
    for name in ("/c/f", "/other"):
        assert dav.put(name, b"old").status == 201
    return dav


@pytest.mark.rfc("LR-01", "LM-07", "LT-01")
@pytest.mark.parametrize("target", ["/c/", "/c", "/c/f"])
def test_refresh_through_any_url_in_scope(tree: AppDav, target: str) -> None:
    lock = tree.lock("/c/", timeout="Second-600")
    tree.clock.pass_s(500)

    reply = tree.refresh(target, lock.token, timeout="Second-700")

    assert reply.status == 200
    assert "lock-token" not in reply.headers
    active = activelock_of(reply, lock.token)
    assert active.findtext(f"{D}timeout") == "Second-700"
    assert active.findtext(f"{D}lockroot/{D}href") == "/c/"
    assert active.findtext(f"{D}owner") == "tests"
    tree.clock.pass_s(699)
    assert len(tree.locks("/c/f")) == 1
    tree.clock.pass_s(2)
    assert tree.locks("/c/f") == []


@pytest.mark.rfc("LR-01")
def test_refresh_without_timeout_grants_the_same_again(tree: AppDav) -> None:
    lock = tree.lock("/c/f", timeout="Second-600")
    tree.clock.pass_s(300)

    reply = tree.refresh("/c/f", lock.token)

    assert activelock_of(reply, lock.token).findtext(f"{D}timeout") == "Second-600"


@pytest.mark.rfc("LR-02")
@pytest.mark.parametrize("depth", ["0", "1", "infinity"])
def test_depth_does_not_matter_to_a_refresh(tree: AppDav, depth: str) -> None:
    lock = tree.lock("/c/", depth="infinity")

    reply = tree.refresh("/c/", lock.token, headers={"Depth": depth})

    assert reply.status == 200
    assert activelock_of(reply, lock.token).findtext(f"{D}depth") == "infinity"


@pytest.mark.rfc("LR-03", "D-7")
@pytest.mark.parametrize("target", ["/c/f", "/new"])
def test_lock_without_body_and_if_is_400(tree: AppDav, target: str) -> None:
    assert tree.request("LOCK", target).status == 400
    assert tree.members("/") == ["/c/", "/other"]
    assert tree.locks("/c/f") == []


@pytest.mark.rfc("D-7")
@pytest.mark.parametrize("value", ['(["x"])', "(<{a}>) (<{b}>)", "(Not <DAV:no-lock>)"])
def test_refresh_names_exactly_one_token(tree: AppDav, value: str) -> None:
    first, second = (tree.lock("/c/f", scope="shared") for _ in range(2))
    etag = tree.head("/c/f").headers["etag"]
    value = value.format(a=first.token, b=second.token).replace('"x"', etag)

    assert tree.request("LOCK", "/c/f", {"If": value}).status == 400


REFUSED: dict[str, Callable[[AppDav], tuple[str, str]]] = {
    "unknown": lambda dav: ("/c/f", "urn:uuid:00000000-0000-4000-8000-000000000000"),
    "out of scope": lambda dav: ("/other", dav.lock("/c/f").token),
    "depth 0 does not reach members": lambda dav: ("/c/f", dav.lock("/c/", depth="0").token),
    "expired": lambda dav: ("/c/f", _expired(dav)),
    "given up": lambda dav: ("/c/f", _given_up(dav)),
    "unmapped": lambda dav: ("/new", dav.lock("/c/f").token),
    "unmapped, in scope": lambda dav: ("/c/new", dav.lock("/c/").token),
}


def _expired(dav: AppDav) -> str:
    token = dav.lock("/c/f", timeout="Second-60").token
    dav.clock.pass_s(61)
    return token


def _given_up(dav: AppDav) -> str:
    token = dav.lock("/c/f").token
    assert dav.unlock("/c/f", token).status == 204
    return token


@pytest.mark.rfc("LR-04", "LR-03", "PC-01")
@pytest.mark.parametrize("prepare", REFUSED.values(), ids=REFUSED.keys())
def test_refresh_of_no_lock_here_is_412(
    tree: AppDav, prepare: Callable[[AppDav], tuple[str, str]]
) -> None:
    target, token = prepare(tree)

    reply = tree.refresh(target, token)

    assert (reply.status, reply.conditions) == (412, [MATCHES])
    assert tree.members("/") == ["/c/", "/other"]
    assert tree.members("/c/") == ["/c/f"]


@pytest.mark.rfc("LR-05")
def test_refresh_leaves_other_shared_locks_alone(tree: AppDav) -> None:
    mine = tree.lock("/c/f", scope="shared", timeout="Second-600")
    other = tree.lock("/c/f", scope="shared", timeout="Second-600")
    tree.clock.pass_s(300)

    assert tree.refresh("/c/f", mine.token).status == 200

    shown = {
        active.findtext(f"{D}locktoken/{D}href"): active.findtext(f"{D}timeout")
        for active in tree.locks("/c/f")
    }
    assert shown == {mine.token: "Second-600", other.token: "Second-300"}


@pytest.mark.rfc("LM-07", "PF-17")
def test_use_of_a_lock_does_not_prolong_it(tree: AppDav) -> None:
    lock = tree.lock("/c/f", timeout="Second-100")
    tree.clock.pass_s(60)
    assert tree.put("/c/f", b"new", {"If": lock.untagged}).status == 204
    assert (
        tree.proppatch("/c/f", set={"{urn:x}a": "1"}, headers={"If": lock.untagged}).status == 207
    )
    (active,) = tree.locks("/c/f")
    assert active.findtext(f"{D}timeout") == "Second-40"
    tree.clock.pass_s(41)

    assert tree.locks("/c/f") == []


@pytest.mark.rfc("LM-08")
def test_expired_lock_is_as_if_given_up(tree: AppDav) -> None:
    lock = tree.lock("/c/", timeout="Second-60")
    tree.clock.pass_s(61)

    assert tree.locks("/c/") == tree.locks("/c/f") == []
    assert tree.put("/c/f", b"new", {"If": f"</c/> (<{lock.token}>)"}).status == 412
    assert tree.unlock("/c/", lock.token).status == 409
    assert tree.put("/c/f", b"free").status == 204
    assert tree.lock("/c/f").reply.status == 200


@pytest.mark.rfc("LM-08")
def test_locks_survive_a_restart(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem")
    dav.mkcol("/c/")
    dav.put("/c/f", b"old")
    lock = dav.lock("/c/", owner="<D:owner>me</D:owner>", timeout="Second-600")
    short = dav.lock("/short", timeout="Second-60")
    dav.close()

    again = make_dav("filesystem")
    again.clock.now = dav.clock.now + 100

    (active,) = again.locks("/c/f")
    assert active.findtext(f"{D}locktoken/{D}href") == lock.token
    assert active.findtext(f"{D}owner") == "me"
    assert active.findtext(f"{D}timeout") == "Second-500"
    assert again.put("/c/f", b"new").status == 423
    assert again.put("/c/f", b"new", {"If": lock.untagged}).status == 204
    assert again.locks("/short") == []
    assert again.unlock("/short", short.token).status == 409
    assert again.unlock("/c/f", lock.token).status == 204
    assert again.put("/c/f", b"free").status == 204


def limited(make_dav: Callable[..., AppDav], storage: str, **limits: int) -> AppDav:
    if storage == "filesystem":
        return make_dav(storage, **limits)
    parts: dict[str, Any] = {"state": MemoryState(limits=StateLimits(**limits))}
    return make_dav(storage, overrides=parts | {"storage": MemoryStorage()})


@pytest.mark.rfc("LM-08", "SE-05")
@pytest.mark.security("S-05")
@pytest.mark.parametrize("storage", ["filesystem", "memory"])
def test_locks_of_one_principal_are_limited(make_dav: Callable[..., AppDav], storage: str) -> None:
    dav = limited(make_dav, storage, locks_per_principal=3)
    locks = [dav.lock(f"/f{number}", timeout="Second-60") for number in range(3)]

    reply = dav.lock_request("/new")

    assert (reply.status, reply.body) == (403, b"more than 3 locks of ''\n")
    assert dav.members("/") == ["/f0", "/f1", "/f2"]
    assert dav.refresh("/f0", locks[0].token).status == 200
    assert dav.unlock("/f0", locks[0].token).status == 204
    assert dav.lock("/new", timeout="Second-60").reply.status == 201
    assert dav.lock_request("/more").status == 403
    dav.clock.pass_s(61)
    assert dav.lock("/more").reply.status == 201


@pytest.mark.rfc("SE-05")
@pytest.mark.security("S-05")
@pytest.mark.parametrize("storage", ["filesystem", "memory"])
def test_locks_of_one_resource_are_limited(make_dav: Callable[..., AppDav], storage: str) -> None:
    dav = limited(make_dav, storage, locks_per_resource=3)
    for _ in range(3):
        dav.lock("/f", scope="shared", timeout="Second-60")

    reply = dav.lock_request("/f", scope="shared")

    assert (reply.status, reply.body) == (403, b"more than 3 locks on one resource\n")
    assert len(dav.locks("/f")) == 3
    dav.clock.pass_s(61)
    assert dav.lock("/f", scope="shared").reply.status == 200


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("DELETE", "/c/", {}, 204),
        ("MOVE", "/c/", {"Destination": "/moved/"}, 201),
        ("MOVE", "/source/", {"Destination": "/c/"}, 204),
        ("COPY", "/source/", {"Destination": "/c/"}, 204),
        ("MKCOL", "/c/gone", {}, 201),
        ("PUT", "/c/gone", {}, 201),
    ],
    ids=["DELETE", "MOVE", "MOVE onto", "COPY onto", "MKCOL there", "PUT there"],
)
def test_lock_of_what_was_deleted_behind_us_hinders_nobody(
    make_dav: Callable[..., AppDav],
    method: str,
    target: str,
    headers: dict[str, str],
    status: int,
) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.mkcol("/c/")
    dav.mkcol("/source/")
    dav.lock("/c/gone")
    os.unlink(dav.root / "c" / "gone")

    assert dav.request(method, target, headers).status == status


@pytest.mark.parametrize("target", ["/c/", "/c/gone"])
def test_lock_of_what_was_deleted_behind_us_is_no_conflict(
    make_dav: Callable[..., AppDav], target: str
) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.mkcol("/c/")
    dav.lock("/c/gone")
    os.unlink(dav.root / "c" / "gone")

    lock = dav.lock(target, depth="infinity")

    (active,) = dav.locks(target)
    assert active.findtext(f"{D}locktoken/{D}href") == lock.token


def test_lock_of_a_collection_deleted_behind_us_hinders_nobody(
    make_dav: Callable[..., AppDav],
) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.mkcol("/c/")
    dav.mkcol("/c/d/")
    lock = dav.lock("/c/d/")
    shutil.rmtree(dav.root / "c" / "d")

    assert dav.mkcol("/c/d/").status == 201
    assert dav.locks("/c/d/") == []
    assert dav.put("/c/d/f", b"new").status == 201
    assert dav.unlock("/c/d/", lock.token).status == 409


def test_lock_of_what_was_deleted_behind_us_can_be_given_up(
    make_dav: Callable[..., AppDav],
) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    lock = dav.lock("/gone")
    os.unlink(dav.root / "gone")

    assert dav.unlock("/gone", lock.token).status == 204
