"""UNLOCK (RFC 4918 section 9.11)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav

D = "{DAV:}"
MATCHES = f"{D}lock-token-matches-request-uri"


@pytest.fixture
def tree(dav: AppDav) -> AppDav:
    """`/c/` with `/c/f` and `/c/d/`; and `/other`."""
    for name in ("/c/", "/c/d/"):
        assert dav.mkcol(name).status == 201
    for name in ("/c/f", "/other"):
        assert dav.put(name, b"old").status == 201
    return dav


@pytest.mark.rfc("UL-01", "UL-05", "UL-07")
@pytest.mark.parametrize("through", ["/c/", "/c", "/c/f", "/c/d/"])
def test_unlock_through_any_url_in_scope_removes_the_whole_lock(tree: AppDav, through: str) -> None:
    lock = tree.lock("/c/")

    reply = tree.unlock(through, lock.token)

    assert (reply.status, reply.body) == (204, b"")
    for target in ("/c/", "/c/f", "/c/d/"):
        assert tree.locks(target) == []
    assert tree.put("/c/f", b"free").status == 204
    assert tree.put("/c/d/new", b"free").status == 201


@pytest.mark.rfc("UL-05")
def test_unlock_leaves_other_locks_alone(tree: AppDav) -> None:
    mine = tree.lock("/c/", scope="shared")
    other = tree.lock("/c/f", scope="shared")

    assert tree.unlock("/c/f", mine.token).status == 204

    (left,) = tree.locks("/c/f")
    assert left.findtext(f"{D}locktoken/{D}href") == other.token
    assert tree.locks("/c/") == []


@pytest.mark.rfc("UL-02")
def test_unlock_without_a_token_is_400(tree: AppDav) -> None:
    lock = tree.lock("/c/f")

    for headers in ({}, {"If": lock.untagged}, {"Lock-Token": ""}):
        assert tree.request("UNLOCK", "/c/f", headers).status == 400
    assert len(tree.locks("/c/f")) == 1


@pytest.mark.rfc("UL-02", "LT-01")
@pytest.mark.parametrize(
    "value", ["<", "<>", "<{0}", "{0}>", "<{0}> <{0}>", "<{0}>, <{0}>", "(<{0}>)", "<{0} >"]
)
def test_token_that_cannot_be_read_is_400(tree: AppDav, value: str) -> None:
    lock = tree.lock("/c/f")

    assert tree.request("UNLOCK", "/c/f", {"Lock-Token": value.format(lock.token)}).status == 400
    assert len(tree.locks("/c/f")) == 1


@pytest.mark.rfc("UL-02", "LT-01")
def test_two_tokens_are_400(tree: AppDav) -> None:
    one, two = (tree.lock("/c/f", scope="shared") for _ in range(2))
    fields = [("Lock-Token", f"<{lock.token}>") for lock in (one, two)]

    assert tree.request("UNLOCK", "/c/f", fields).status == 400
    assert len(tree.locks("/c/f")) == 2


WRONG: dict[str, Callable[[AppDav], tuple[str, str]]] = {
    "unknown": lambda dav: ("/c/f", "urn:uuid:00000000-0000-4000-8000-000000000000"),
    "no lock at all": lambda dav: ("/c/f", "DAV:no-lock"),
    "another resource's": lambda dav: ("/other", dav.lock("/c/f").token),
    "of a member": lambda dav: ("/c/", dav.lock("/c/f").token),
    "depth 0 does not reach members": lambda dav: ("/c/f", dav.lock("/c/", depth="0").token),
    "unmapped": lambda dav: ("/none", dav.lock("/c/f").token),
}


@pytest.mark.rfc("UL-03", "PC-01", "LT-01")
@pytest.mark.parametrize("prepare", WRONG.values(), ids=WRONG.keys())
def test_token_of_no_lock_here_is_409(
    tree: AppDav, prepare: Callable[[AppDav], tuple[str, str]]
) -> None:
    target, token = prepare(tree)
    before = {name: len(tree.locks(name)) for name in ("/c/", "/c/f", "/other")}

    reply = tree.unlock(target, token)

    assert (reply.status, reply.conditions) == (409, [MATCHES])
    assert {name: len(tree.locks(name)) for name in before} == before
    assert tree.get("/none").status == 404


@pytest.mark.rfc("UL-03")
def test_unlock_twice_is_409(tree: AppDav) -> None:
    lock = tree.lock("/c/f")

    assert [tree.unlock("/c/f", lock.token).status for _ in range(2)] == [204, 409]


@pytest.mark.rfc("UL-06")
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("(<{0}>)", 204),
        ("(<{0}> [{1}])", 204),
        ("(Not <DAV:no-lock>)", 204),
        ('(["bad"])', 412),
        ("(Not <{0}>)", 412),
        ("(<DAV:no-lock>)", 412),
    ],
)
def test_if_is_an_ordinary_condition(tree: AppDav, condition: str, status: int) -> None:
    lock = tree.lock("/c/f")
    value = condition.format(lock.token, tree.head("/c/f").headers["etag"])

    assert tree.unlock("/c/f", lock.token, {"If": value}).status == status
    assert len(tree.locks("/c/f")) == (0 if status == 204 else 1)


@pytest.mark.rfc("G-14")
def test_unlock_with_a_body_is_415(tree: AppDav) -> None:
    lock = tree.lock("/c/f")

    for body in (b"<x/>", [b"<x", b"/>"]):
        reply = tree.request("UNLOCK", "/c/f", {"Lock-Token": f"<{lock.token}>"}, body)
        assert reply.status == 415
    assert len(tree.locks("/c/f")) == 1


@pytest.mark.rfc("G-15")
def test_locking_changes_no_validator(tree: AppDav) -> None:
    before = [tree.head("/c/f").headers[name] for name in ("etag", "last-modified")]
    parent = tree.prop("/c/", f"{D}getlastmodified").text
    tree.clock.pass_s(10)
    lock = tree.lock("/c/f")
    assert tree.refresh("/c/f", lock.token).status == 200
    assert tree.unlock("/c/f", lock.token).status == 204

    assert [tree.head("/c/f").headers[name] for name in ("etag", "last-modified")] == before
    assert tree.prop("/c/", f"{D}getlastmodified").text == parent
