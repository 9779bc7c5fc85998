"""Locks where resources have several bindings (RFC 5842 section 9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davserver.state.memory import MemoryState
from tests.conftest import AppDav
from tests.support.binding import bind, conditions, rebind, unbind
from tests.support.dav import Granted

MakeDav = Callable[..., AppDav]
TOPIC = "{http://example.org/ns}topic"


@pytest.fixture(params=["sqlite", "memory"])
def dav(request: pytest.FixtureRequest, make_dav: MakeDav) -> AppDav:
    """The collections of section 9.1: R is /CollX/test and /CollY/test."""
    overrides = {"state": MemoryState()} if request.param == "memory" else {}
    dav = make_dav("filesystem", overrides=overrides)
    for collection in ("/CollX/", "/CollY/"):
        dav.mkcol(collection)
    return dav


@pytest.fixture(params=["first", "second"])
def locked(request: pytest.FixtureRequest, dav: AppDav) -> Granted:
    """A lock whose root is /CollX/test, be that where the resource stands or a link to it."""
    if request.param == "first":
        dav.put("/CollX/test", b"R")
        bind(dav, "/CollY/", "test", "/CollX/test")
    else:
        dav.put("/CollY/test", b"R")
        bind(dav, "/CollX/", "test", "/CollY/test")
    return dav.lock("/CollX/test", depth="0")


def roots(dav: AppDav, target: str) -> list[str]:
    return [lock.findtext("{DAV:}lockroot/{DAV:}href") for lock in dav.locks(target)]


@pytest.mark.rfc("BI-13")
@pytest.mark.parametrize("target", ["/CollX/test", "/CollY/test"])
def test_the_resource_is_locked_whichever_url_is_used(
    dav: AppDav, locked: Granted, target: str
) -> None:
    assert roots(dav, target) == ["/CollX/test"]
    assert dav.put(target, b"new").status == 423
    assert dav.proppatch(target, set={TOPIC: "new"}).status == 423
    assert dav.put(target, b"new", {"If": locked.untagged}).status == 204


@pytest.mark.rfc("BI-13")
@pytest.mark.parametrize(
    ("method", "target"), [("DELETE", "/CollX/test"), ("MOVE", "/CollX/test"), ("DELETE", "/CollX")]
)
def test_what_unmaps_the_root_of_the_lock_needs_its_token(
    dav: AppDav, locked: Granted, method: str, target: str
) -> None:
    headers = {"Destination": "/new"} if method == "MOVE" else {}
    refused = dav.request(method, target, headers)
    token = {"If": f"<http://{dav.authority}/CollX/test> {locked.untagged}"}
    done = dav.request(method, target, headers | token)

    assert refused.status in (423, 207)
    assert b"423" in refused.body or refused.status == 423
    assert done.status in (201, 204)
    assert dav.get("/CollY/test").body == b"R"
    assert dav.put("/CollY/test", b"free").status == 204


@pytest.mark.rfc("BI-13", "BI-08")
def test_unbind_and_rebind_of_the_root_need_the_token_and_delete_the_lock(
    dav: AppDav, locked: Granted
) -> None:
    token = f"<http://{dav.authority}/CollX/test> {locked.untagged}"
    first = unbind(dav, "/CollX/", "test")
    second = rebind(dav, "/", "new", "/CollX/test")
    third = unbind(dav, "/CollX/", "test", If=token)

    assert first.status == second.status == 423
    assert conditions(first) == ["lock-token-submitted", "protected-url-deletion-allowed"]
    assert conditions(second) == ["lock-token-submitted", "protected-source-url-deletion-allowed"]
    assert first.condition_hrefs == ["/CollX/test"]
    assert third.status == 204
    assert roots(dav, "/CollY/test") == []
    assert dav.put("/CollY/test", b"free").status == 204


@pytest.mark.rfc("BI-13")
@pytest.mark.parametrize("how", ["DELETE", "DELETE parent", "MOVE", "UNBIND", "REBIND"])
def test_another_binding_goes_without_the_token_and_the_lock_stays(
    dav: AppDav, locked: Granted, how: str
) -> None:
    """Section 9.1: "it does not affect the resource R, nor the lock-root"."""
    if how == "DELETE":
        reply = dav.delete("/CollY/test")
    elif how == "DELETE parent":
        reply = dav.delete("/CollY/")
    elif how == "MOVE":
        reply = dav.move("/CollY/test", "/moved")
    elif how == "UNBIND":
        reply = unbind(dav, "/CollY/", "test")
    else:
        reply = rebind(dav, "/", "moved", "/CollY/test")

    assert reply.status in (201, 204)
    assert dav.get("/CollY/test").status == 404
    assert roots(dav, "/CollX/test") == ["/CollX/test"]
    assert dav.put("/CollX/test", b"new").status == 423
    assert dav.put("/CollX/test", b"new", {"If": locked.untagged}).status == 204
    if reply.status == 201:
        assert dav.put("/moved", b"new").status == 423


@pytest.mark.rfc("BI-13")
@pytest.mark.parametrize("target", ["/CollX/test", "/CollY/test"])
def test_unlock_and_refresh_by_any_url(dav: AppDav, locked: Granted, target: str) -> None:
    assert dav.refresh(target, locked.token).status == 200
    assert dav.unlock(target, locked.token).status == 204
    assert dav.put("/CollX/test", b"free").status == 204


@pytest.mark.rfc("BI-13")
@pytest.mark.parametrize("target", ["/CollX/test", "/CollY/test"])
def test_a_second_exclusive_lock_is_refused_by_any_url(
    dav: AppDav, locked: Granted, target: str
) -> None:
    assert dav.lock_request(target).status == 423


@pytest.mark.rfc("BI-13")
def test_a_lock_of_infinite_depth_covers_what_is_bound_below_it(dav: AppDav) -> None:
    dav.put("/R", b"R")
    dav.mkcol("/CollX/deep/")
    bind(dav, "/CollX/deep/", "test", "/R")
    lock = dav.lock("/CollX/", depth="infinity")
    token = {"If": f"<http://{dav.authority}/CollX/> {lock.untagged}"}

    assert roots(dav, "/R") == ["/CollX/"]
    assert dav.put("/R", b"new").status == 423
    assert dav.put("/R", b"new", token).status == 204
    assert dav.unlock("/R", lock.token).status == 204
    assert dav.put("/R", b"free").status == 204


@pytest.mark.rfc("BI-13")
def test_a_lock_of_infinite_depth_meets_the_locks_of_what_is_bound_below(dav: AppDav) -> None:
    dav.put("/R", b"R")
    bind(dav, "/CollX/", "test", "/R")
    dav.lock("/R")
    reply = dav.lock_request("/CollX/", depth="infinity")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/R": 423, "/CollX/": 424}


@pytest.mark.rfc("BI-13")
def test_bind_into_a_locked_collection_does_not_make_locks_conflict(dav: AppDav) -> None:
    dav.put("/R", b"R")
    one, other = dav.lock("/R"), dav.lock("/CollX/", depth="infinity")
    base = f"http://{dav.authority}"
    both = f"<{base}/R> {one.untagged} <{base}/CollX/> {other.untagged}"
    refused = bind(dav, "/CollX/", "test", "/R", If=both)
    dav.unlock("/R", one.token)
    done = bind(dav, "/CollX/", "test", "/R", If=other.untagged)

    assert (refused.status, conditions(refused)) == (423, ["no-conflicting-lock"])
    assert done.status == 201
    assert roots(dav, "/R") == ["/CollX/"]


@pytest.mark.rfc("BI-03", "BI-08", "BI-13")
@pytest.mark.parametrize("depth", ["0", "infinity"])
def test_a_locked_collection_keeps_its_bindings(dav: AppDav, depth: str) -> None:
    dav.put("/CollX/old", b"")
    dav.put("/R", b"R")
    lock = dav.lock("/CollX/", depth=depth)
    replies = [
        bind(dav, "/CollX/", "new", "/R"),
        unbind(dav, "/CollX/", "old"),
        rebind(dav, "/CollX/", "new", "/R"),
        rebind(dav, "/CollY/", "new", "/CollX/old"),
    ]

    assert [reply.status for reply in replies] == [423] * 4
    assert [conditions(reply)[1] for reply in replies] == [
        "locked-update-allowed",
        "locked-update-allowed",
        "locked-update-allowed",
        "locked-source-collection-update-allowed",
    ]
    assert bind(dav, "/CollX/", "new", "/R", If=lock.untagged).status == 201


@pytest.mark.rfc("BI-03", "BI-08", "BI-13")
def test_a_locked_binding_is_not_replaced(dav: AppDav) -> None:
    dav.put("/CollX/old", b"old")
    dav.put("/R", b"R")
    lock = dav.lock("/CollX/old")
    token = f"<http://{dav.authority}/CollX/old> {lock.untagged}"
    first = bind(dav, "/CollX/", "old", "/R")
    second = rebind(dav, "/CollX/", "old", "/R")
    done = bind(dav, "/CollX/", "old", "/R", If=token)

    assert conditions(first) == ["lock-token-submitted", "locked-overwrite-allowed"]
    assert conditions(second) == ["lock-token-submitted", "protected-url-modification-allowed"]
    assert done.status == 204
    assert roots(dav, "/R") == []


@pytest.mark.rfc("BI-13", "BI-09")
def test_rebind_in_presence_of_locks_and_loops(dav: AppDav) -> None:
    """Section 6.2: all of /CollW is locked; CollZ, which leads back to it, becomes CollA."""
    for path in ("/CollW/", "/CollW/CollX/", "/CollW/CollY/"):
        dav.mkcol(path)
    dav.put("/CollW/CollY/y.gif", b"")
    bind(dav, "/CollW/CollY/", "CollZ", "/CollW/")
    lock = dav.lock("/CollW/", depth="infinity")
    refused = rebind(dav, "/CollW/CollX", "CollA", "/CollW/CollY/CollZ")
    done = rebind(dav, "/CollW/CollX", "CollA", "/CollW/CollY/CollZ", If=lock.untagged)

    assert refused.status == 423
    assert done.status == 201
    assert dav.members("/CollW/CollX/") == ["/CollW/CollX/CollA/"]
    assert dav.members("/CollW/CollY/") == ["/CollW/CollY/y.gif"]
    assert dav.get("/CollW/CollX/CollA/CollY/y.gif").status == 200
    assert roots(dav, "/CollW/CollX/CollA/CollY/y.gif") == ["/CollW/"]


@pytest.mark.rfc("BI-13")
def test_a_tree_that_is_moved_leaves_the_locks_of_other_bindings(dav: AppDav) -> None:
    dav.put("/CollX/a", b"a")
    dav.put("/CollX/b", b"b")
    bind(dav, "/CollY/", "a", "/CollX/a")
    dav.lock("/CollY/a")
    lock = dav.lock("/CollX/b")
    refused = dav.move("/CollX/", "/moved/")
    token = {"If": f"<http://{dav.authority}/CollX/b> {lock.untagged}"}
    done = dav.move("/CollX/", "/moved/", headers=token)

    assert refused.status == 423
    assert refused.condition_hrefs == ["/CollX/b"]
    assert done.status == 201
    assert roots(dav, "/moved/a") == ["/CollY/a"]
    assert roots(dav, "/moved/b") == []
