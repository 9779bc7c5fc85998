"""What listings render in columns is what the renderers give for each member by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.properties import apache, owncloud, rfc4918, windows
from davserver.properties.base import Members, Plan, Resource
from davserver.protocol.path import quote_segments
from davserver.storage.base import Kind, Stat
from davserver.storage.batches import StatList
from tests.properties.test_base import LIVE, NOW, ask

BASE = b"/b%20/c/"
PROPERTIES = (
    *rfc4918.PROPERTIES,
    *apache.PROPERTIES,
    *windows.PROPERTIES,
    *owncloud.PROPERTIES,
)

names = st.text(
    st.characters(exclude_characters="/\0", codec="utf-8") | st.sampled_from("a.&<>\r\udc80\ufffe"),
    min_size=1,
    max_size=8,
)
nanoseconds = st.integers(-(10**19), 10**20)


def stats(kind: Kind) -> st.SearchStrategy[Stat]:
    sizes = st.integers(0, 1 << 62) if kind is Kind.FILE else st.just(0)
    births = st.none() | nanoseconds
    executable = st.booleans() if kind is Kind.FILE else st.just(False)
    number = st.integers(1, 1 << 64)
    return st.builds(Stat, st.just(kind), sizes, nanoseconds, births, number, number, executable)


def one_by_one(plan: Plan, members: Members, stats: list[Stat]) -> list[bytes]:
    slash = b"/" if members.kind is Kind.COLLECTION else b""
    responses = []
    segments = quote_segments(members.names)
    for name, segment, stat in zip(members.names, segments, stats, strict=True):
        href = BASE + segment + slash
        resource = Resource(href, name, stat, "me", b"/b%20", members.now, members.can_write)
        resource.hides_supportedlock = members.hides_supportedlock
        responses.append(plan.render_response(resource))
    return responses


def together(plan: Plan, members: Members) -> list[bytes | None]:
    return list(plan.render_members(BASE, quote_segments(members.names), members))


BODIES = [
    pytest.param(b"", id="allprop"),
    pytest.param(ask("{u%s}x", "{DAV:}foo"), id="nothing"),
    pytest.param(ask("{u%}x", "{DAV:}getetag", "{DAV:}resourcetype"), id="some"),
    *(pytest.param(ask(one.name), id=one.name) for one in PROPERTIES),
]


@pytest.mark.rfc("PF-06", "PF-14", "MS-01")
@pytest.mark.parametrize("body", BODIES)
@given(st.data())
@settings(max_examples=20, deadline=None)
def test_members_are_rendered_together_as_one_by_one(body: bytes, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(Kind))
    drawn = data.draw(st.lists(st.tuples(names, stats(kind)), min_size=1, max_size=4))
    shown, looks = [name for name, _ in drawn], [stat for _, stat in drawn]
    flags = data.draw(st.tuples(st.booleans(), st.booleans()))
    members = Members(kind, shown, StatList(looks), NOW, *flags)
    plan = LIVE.compile(body, minimal=data.draw(st.booleans()))

    found = together(plan, members)

    if len({stat.birth_ns is None for stat in looks}) == 2 and None in found:
        # Some have a birth time and some have not: that takes the longer way.
        assert found == [None] * len(drawn)
    else:
        assert found == one_by_one(plan, members, looks)


def test_names_alone_and_what_has_no_column_are_rendered_one_by_one() -> None:
    stats = StatList([Stat(Kind.COLLECTION, 0, 0, 0, 1, 1)] * 2)
    members = Members(Kind.COLLECTION, ["a", "b"], stats, NOW, can_write=True)
    propname = b'<propfind xmlns="DAV:"><propname/></propfind>'

    assert together(LIVE.compile(propname), members) == [None, None]
    assert together(LIVE.compile(ask("{DAV:}quota-used-bytes")), members) == [None, None]
