"""The lock rules of RFC 4918 sections 6 and 7 as tables."""

from __future__ import annotations

import pytest

from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope, blocking, conflicting, is_satisfied
from davserver.protocol.path import Key

EXCLUSIVE, SHARED = LockScope.EXCLUSIVE, LockScope.SHARED
ZERO, INFINITY = Depth.ZERO, Depth.INFINITY


def lock(
    token: str,
    path: bytes = b"a",
    *,
    scope: LockScope = EXCLUSIVE,
    depth: Depth = INFINITY,
    principal: str = "ada",
) -> Lock:
    return Lock(token, Key("r", path), b"/" + path, scope, depth, b"", principal, 600, 1000.0)


SHARED_PAIR = [
    lock("s1", scope=SHARED, principal="ada"),
    lock("s2", scope=SHARED, principal="bob"),
]


@pytest.mark.parametrize(
    ("depth", "path", "root", "expected"),
    [
        pytest.param(ZERO, b"a", "r", True, id="0: itself"),
        pytest.param(ZERO, b"a/b", "r", False, id="0: member"),
        pytest.param(INFINITY, b"a", "r", True, id="infinity: itself"),
        pytest.param(INFINITY, b"a/b/c", "r", True, id="infinity: deep member"),
        pytest.param(INFINITY, b"", "r", False, id="infinity: parent"),
        pytest.param(INFINITY, b"ab", "r", False, id="infinity: begins alike"),
        pytest.param(INFINITY, b"a/b", "q", False, id="infinity: another share"),
    ],
)
@pytest.mark.rfc("CL-02", "CL-03")
def test_lock_covers_by_depth(depth: Depth, path: bytes, root: str, expected: bool) -> None:
    assert expected == lock("t", depth=depth).covers(Key(root, path))


@pytest.mark.rfc("LM-03", "LM-04", "CL-06", "CL-07")
@pytest.mark.parametrize(
    ("covering", "submitted", "principal", "expected"),
    [
        pytest.param([], [], "ada", True, id="no lock"),
        pytest.param([lock("t")], [], "ada", False, id="nothing submitted"),
        pytest.param([lock("t")], ["t"], "ada", True, id="its token"),
        pytest.param([lock("t")], ["u"], "ada", False, id="another token"),
        pytest.param([lock("t")], ["u", "t"], "ada", True, id="among others"),
        pytest.param([lock("t")], ["t"], "bob", False, id="token of another principal"),
        pytest.param([lock("t")], ["t"], "", False, id="anonymous with a user's token"),
        pytest.param([lock("t", principal="")], ["t"], "", True, id="anonymous: token is proof"),
        pytest.param([lock("t", principal="")], [], "", False, id="anonymous without the token"),
        pytest.param(SHARED_PAIR, ["s1"], "ada", True, id="shared: own of two"),
        pytest.param(SHARED_PAIR, ["s2"], "ada", False, id="shared: the other's token"),
        pytest.param(SHARED_PAIR, [], "bob", False, id="shared: no token"),
        pytest.param(SHARED_PAIR, ["s1", "s2"], "bob", True, id="shared: both"),
    ],
)
def test_who_may_change_a_locked_resource(
    covering: list[Lock], submitted: list[str], principal: str, expected: bool
) -> None:
    assert expected == is_satisfied(covering, submitted, principal)


@pytest.mark.rfc("CL-01", "CL-04", "CL-07", "CL-08")
@pytest.mark.parametrize(
    ("covering", "beneath", "submitted", "expected"),
    [
        pytest.param([], [], [], [], id="no lock"),
        pytest.param([lock("c")], [], [], ["c"], id="covered"),
        pytest.param([lock("c")], [], ["c"], [], id="covered, token submitted"),
        pytest.param([], [lock("m", b"a/m")], [], ["m"], id="member locked"),
        pytest.param([], [lock("m", b"a/m")], ["m"], [], id="member locked, token submitted"),
        pytest.param(
            [lock("c", depth=ZERO)], [lock("m", b"a/m")], ["c"], ["m"], id="collection's only"
        ),
        pytest.param(
            [lock("c", depth=ZERO)], [lock("m", b"a/m")], ["m"], ["c"], id="member's only"
        ),
        pytest.param([lock("c", depth=ZERO)], [lock("m", b"a/m")], ["c", "m"], [], id="both"),
        pytest.param(
            [],
            [lock("m", b"a/m"), lock("n", b"a/n"), lock("o", b"a/o", principal="bob")],
            ["m", "o"],
            ["n", "o"],
            id="each member for itself",
        ),
        pytest.param(
            [],
            [lock("s", b"a/m", scope=SHARED, principal="bob"), lock("t", b"a/m", scope=SHARED)],
            ["t"],
            [],
            id="shared member: own of two",
        ),
        pytest.param(
            [],
            [lock("s", b"a/m", scope=SHARED, principal="bob"), lock("t", b"a/m", scope=SHARED)],
            [],
            ["s", "t"],
            id="shared member: none",
        ),
    ],
)
def test_blocking_names_every_lock_in_the_way(
    covering: list[Lock], beneath: list[Lock], submitted: list[str], expected: list[str]
) -> None:
    found = blocking(covering, iter(beneath), submitted, "ada")

    assert expected == [each.token for each in found]


@pytest.mark.rfc("LM-01")
@pytest.mark.parametrize(
    ("scope", "depth", "covering", "beneath", "expected"),
    [
        pytest.param(EXCLUSIVE, INFINITY, [], [], ([], []), id="none: exclusive"),
        pytest.param(SHARED, INFINITY, [], [], ([], []), id="none: shared"),
        pytest.param(SHARED, ZERO, SHARED_PAIR, [], ([], []), id="shared: shared"),
        pytest.param(EXCLUSIVE, ZERO, SHARED_PAIR, [], (["s1", "s2"], []), id="shared: exclusive"),
        pytest.param(SHARED, ZERO, [lock("x")], [], (["x"], []), id="exclusive: shared"),
        pytest.param(EXCLUSIVE, ZERO, [lock("x")], [], (["x"], []), id="exclusive: exclusive"),
        pytest.param(
            EXCLUSIVE, INFINITY, [], [lock("m", b"a/m")], ([], ["m"]), id="infinity: member"
        ),
        pytest.param(EXCLUSIVE, ZERO, [], [lock("m", b"a/m")], ([], []), id="0: member"),
        pytest.param(
            SHARED,
            INFINITY,
            [],
            [lock("m", b"a/m", scope=SHARED), lock("x", b"a/x")],
            ([], ["x"]),
            id="shared infinity: only exclusive members",
        ),
        pytest.param(
            EXCLUSIVE,
            INFINITY,
            [lock("s", b"", scope=SHARED)],
            [lock("m", b"a/m", scope=SHARED)],
            (["s"], ["m"]),
            id="exclusive infinity: shared above and below",
        ),
    ],
)
def test_conflict_table(
    scope: LockScope,
    depth: Depth,
    covering: list[Lock],
    beneath: list[Lock],
    expected: tuple[list[str], list[str]],
) -> None:
    on_it, below = conflicting(scope, depth, covering, iter(beneath))

    assert expected == ([each.token for each in on_it], [each.token for each in below])
