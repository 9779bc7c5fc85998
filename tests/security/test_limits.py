"""How much one client may leave behind in the state: locks, owner elements, dead properties."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davserver.state import sqlview
from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]
NS = "{http://example.org/ns}"


@pytest.mark.security("O-03", "S-05")
def test_expired_locks_lock_nobody_out(make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: a refused request undoes the clearing that came with it."""
    monkeypatch.setattr(sqlview, "_EXPIRED_AT_ONCE", 2)
    dav = make_dav(durability="none", locks_per_principal=20)
    for number in range(20):
        dav.lock(f"/{number}", timeout="Second-10")
    assert dav.lock_request("/new").status == 403
    dav.clock.pass_s(11)

    assert dav.lock("/new").reply.status == 201
    assert dav.put("/0", b"x").status == 204


@pytest.mark.security("O-03", "S-05")
def test_a_lock_too_many_is_told_why_and_leaves_nothing(make_dav: MakeDav) -> None:
    dav = make_dav(durability="none", locks_per_principal=2)
    dav.lock("/a")
    dav.lock("/b")
    reply = dav.lock_request("/c")

    assert (reply.status, reply.body) == (403, b"more than 2 locks of ''\n")
    assert dav.members("/") == ["/a", "/b"]


@pytest.mark.security("O-03")
def test_a_lock_on_everything_ends_like_any_other(dav: AppDav) -> None:
    granted = dav.lock("/", depth="infinity", timeout="Infinite")
    assert dav.put("/f", b"x").status == 423
    limit_s = dav.app.services.settings.lock_timeout_max_s
    found = granted.activelock.findtext("{DAV:}timeout")
    assert found == f"Second-{limit_s}"
    dav.clock.pass_s(limit_s + 1)

    assert dav.put("/f", b"x").status == 201


@pytest.mark.security("O-04", "S-05")
@pytest.mark.parametrize(
    ("size", "status"),
    [(100, 201), (8_000, 201), (9_000, 507), (1_100_000, 413)],
)
def test_the_owner_element_is_bounded(dav: AppDav, size: int, status: int) -> None:
    owner = f"<D:owner>{'o' * size}</D:owner>"

    assert dav.lock_request("/f", owner=owner).status == status
    assert dav.members("/") == (["/f"] if status == 201 else [])


@pytest.mark.security("O-04", "X-09")
def test_the_owner_comes_back_as_it_was_and_cannot_break_out(dav: AppDav) -> None:
    text = "</D:owner><evil/> & <script>alert(1)</script> ]]> \" '"
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    dav.lock("/f", owner=f'<D:owner>{escaped}<x:a xmlns:x="urn:x">b</x:a></D:owner>')
    (lock,) = dav.locks("/f")
    owner = lock.find("{DAV:}owner")

    assert owner.text == text
    assert [(child.tag, child.text) for child in owner] == [("{urn:x}a", "b")]
    assert lock.find("{DAV:}owner/{DAV:}evil") is None


@pytest.mark.security("O-05", "C-12")
@pytest.mark.parametrize(
    ("target", "settings", "status"),
    [
        ("/new", {"read_only": True}, 403),
        ("/new", {"anonymous": "read"}, 403),
        ("/none/new", {}, 409),
        ("/%00", {}, 400),
        ("/a%01", {}, 400),
        ("/.davserver.x", {}, 404),
        ("/" + "n" * 256, {}, 414),
    ],
    ids=["read-only", "reader", "no parent", "NUL", "control", "reserved", "long name"],
)
def test_lock_of_an_unmapped_url_needs_what_a_put_needs(
    make_dav: MakeDav, target: str, settings: dict[str, object], status: int
) -> None:
    dav = make_dav(durability="none", **settings)
    locked = dav.lock_request(target)

    assert (locked.status, dav.put(target, b"x").status) == (status, status)
    assert dav.root is not None
    assert list(dav.root.iterdir()) == []


@pytest.mark.security("X-06")
@pytest.mark.parametrize("storage", ["filesystem"])
def test_dead_properties_of_a_resource_are_bounded_and_can_always_go(
    make_dav: MakeDav, storage: str
) -> None:
    dav = make_dav(storage, durability="none", properties_per_resource=5, property_bytes=200)
    dav.put("/f", b"x")
    names = [f"{NS}p{number}" for number in range(5)]
    assert list(dav.proppatch("/f", set=dict.fromkeys(names, "v")).multistatus["/f"]) == [200]

    one_more = dav.proppatch("/f", set={f"{NS}more": "v"})
    assert list(one_more.multistatus["/f"]) == [507]
    large = dav.proppatch("/f", set={names[0]: "v" * 201})
    assert list(large.multistatus["/f"]) == [507]
    assert dav.prop("/f", names[0]).text == "v"
    swap = dav.proppatch("/f", set={}, remove=[names[0]])
    assert list(swap.multistatus["/f"]) == [200]
    assert list(dav.proppatch("/f", set={f"{NS}more": "v"}).multistatus["/f"]) == [200]


@pytest.mark.security("X-06")
def test_a_mebibyte_of_properties_is_enough_for_one_resource(make_dav: MakeDav) -> None:
    """So that a listing of its collection stays bounded; each value alone would be allowed."""
    dav = make_dav(durability="none")
    dav.put("/f", b"x")
    statuses = [
        next(iter(dav.proppatch("/f", set={f"{NS}p{n}": "v" * 60_000}).multistatus["/f"]))
        for n in range(20)
    ]

    assert statuses == [200] * 17 + [507] * 3
