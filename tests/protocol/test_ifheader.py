"""RFC 4918 section 10.4: the If header."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.errors import BadRequest
from davserver.protocol.etag import ETag
from davserver.protocol.ifheader import (
    CONDITION_LIMIT,
    LIST_LIMIT,
    VALUE_LIMIT,
    Condition,
    IfHeader,
    IfList,
    _Scanner,
    evaluate_if,
    parse_if,
)
from davserver.protocol.path import DavPath
from davserver.protocol.resourcestate import ResourceState

OURS = (b"www.example.com",)
A, B = "urn:uuid:a", "urn:uuid:b"


def read(value: bytes) -> IfHeader:
    header = parse_if([value], authorities=OURS)
    assert header is not None
    return header


def to_header(header: IfHeader) -> bytes:
    """The inverse of parse_if."""
    parts: list[bytes] = []
    for one in header.lists:
        if one.resource is not None:
            host = b"http://other.example" if one.foreign else b""
            parts.append(b"<%b%b>" % (host, one.resource.href(collection=False)))
        conditions = [
            (b"Not " if c.negated else b"")
            + (
                b"<%b>" % c.token.encode()
                if c.token
                else b"[%b]" % (c.etag or ETag("")).to_header()
            )
            for c in one.conditions
        ]
        parts.append(b"(" + b" ".join(conditions) + b")")
    return b" ".join(parts)


TOKENS = st.text("abc:/-.09", min_size=1, max_size=12)
TAGS = st.builds(ETag, st.text("ab])(<>,[09", max_size=6), st.booleans())
CONDITIONS = st.builds(Condition, st.booleans(), TOKENS) | st.builds(
    Condition, st.booleans(), st.none(), TAGS
)
LISTS = st.lists(CONDITIONS, min_size=1, max_size=4).map(tuple)
UNTAGGED = st.lists(st.builds(IfList, st.none(), st.just(False), LISTS), min_size=1, max_size=4)
PATHS = st.lists(st.text("ab é%&", min_size=1, max_size=4), max_size=3).map(
    lambda names: DavPath(tuple(names))
)
TAGGED = st.lists(st.builds(IfList, PATHS, st.booleans(), LISTS), min_size=1, max_size=4)
HEADERS = (UNTAGGED | TAGGED).map(lambda lists: IfHeader(tuple(lists)))


@given(HEADERS)
@settings(max_examples=200, deadline=None)
@pytest.mark.rfc("IF-01", "IF-05")
def test_header_reads_back(header: IfHeader) -> None:
    assert header == read(to_header(header))


@given(st.binary(max_size=60) | st.text('(<>)[]" Not/:aW', max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None)
@pytest.mark.security("S-07")
def test_any_octets_give_a_header_or_400(value: bytes) -> None:
    try:
        header = read(value)
    except BadRequest:
        return

    assert all(one.conditions for one in header.lists)


def test_no_field_is_none() -> None:
    assert parse_if([], authorities=OURS) is None


@pytest.mark.parametrize(
    ("value", "lists"),
    [
        pytest.param(
            b'(<urn:uuid:a> ["I am an ETag"]) (["I am another ETag"])',
            [
                IfList(
                    None, False, (Condition(False, A), Condition(False, etag=ETag("I am an ETag")))
                ),
                IfList(None, False, (Condition(False, etag=ETag("I am another ETag")),)),
            ],
            id="10.4.6",
        ),
        pytest.param(
            b'(<urn:uuid:a>["e1"])(["e2"])',
            [
                IfList(None, False, (Condition(False, A), Condition(False, etag=ETag("e1")))),
                IfList(None, False, (Condition(False, etag=ETag("e2")),)),
            ],
            id="no blanks",
        ),
        pytest.param(
            b"(Not <urn:uuid:a> <urn:uuid:b>)",
            [IfList(None, False, (Condition(True, A), Condition(False, B)))],
            id="10.4.7",
        ),
        pytest.param(
            b"(<urn:uuid:a>) (Not <DAV:no-lock>)",
            [
                IfList(None, False, (Condition(False, A),)),
                IfList(None, False, (Condition(True, "DAV:no-lock"),)),
            ],
            id="10.4.8",
        ),
        pytest.param(
            b'</resource1> (<urn:uuid:a> [W/"A weak ETag"]) (["strong ETag"])',
            [
                IfList(
                    DavPath(("resource1",)),
                    False,
                    (Condition(False, A), Condition(False, etag=ETag("A weak ETag", True))),
                ),
                IfList(
                    DavPath(("resource1",)), False, (Condition(False, etag=ETag("strong ETag")),)
                ),
            ],
            id="10.4.9",
        ),
        pytest.param(
            b"<http://www.example.com:80/specs/?q> (<urn:uuid:a>)<http://other/x>(<urn:uuid:b>)",
            [
                IfList(DavPath(("specs",)), False, (Condition(False, A),)),
                IfList(DavPath(("x",)), True, (Condition(False, B),)),
            ],
            id="10.4.10 and another server",
        ),
        pytest.param(
            b'<urn:x:y> (not["]"])',
            [IfList(DavPath(()), True, (Condition(True, etag=ETag("]")),))],
            id="tag of another kind, bracket in an entity-tag",
        ),
        pytest.param(
            b'(["e-gzip"])',
            [IfList(None, False, (Condition(False, etag=ETag("e")),))],
            id="behind mod_deflate",
        ),
    ],
)
@pytest.mark.rfc("IF-01", "IF-03", "IF-05")
def test_parsing(value: bytes, lists: list[IfList]) -> None:
    assert tuple(lists) == read(value).lists


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"  ", id="blank"),
        pytest.param(b"()", id="empty list"),
        pytest.param(b"(<a:b>) ()", id="second list empty"),
        pytest.param(b"(<a:b>", id="bad: unfinished list"),
        pytest.param(b"(<a:b", id="unfinished token"),
        pytest.param(b"(<>)", id="empty token"),
        pytest.param(b'(["e"', id="unfinished condition"),
        pytest.param(b'(["e)', id="unfinished tag"),
        pytest.param(b"([e])", id="tag without quotes"),
        pytest.param(b"((<a:b>))", id="nested list"),
        pytest.param(b"(<a:b>))", id="text after"),
        pytest.param(b"(<a:b>) x", id="word after"),
        pytest.param(b"(Not)", id="Not alone"),
        pytest.param(b"(Not Not <a:b>)", id="Not twice"),
        pytest.param(b"(Notx <a:b>)", id="not Not"),
        pytest.param(b"<a:b>", id="token without list"),
        pytest.param(b"a:b", id="raw token"),
        pytest.param(b"</x>", id="tag without list"),
        pytest.param(b"</x> </y> (<a:b>)", id="two tags in a row"),
        pytest.param(b"(<a:b>) </x> (<a:b>)", id="untagged, then tagged"),
        pytest.param(b"<x> (<a:b>)", id="relative tag"),
        pytest.param(b"<//h/x> (<a:b>)", id="network-path tag"),
        pytest.param(b"</a/../b> (<a:b>)", id="dot segment in a tag"),
        pytest.param(b"</a%2fb> (<a:b>)", id="encoded slash in a tag"),
        pytest.param(b"<http://other/../x> (<a:b>)", id="dot segment on another server"),
        pytest.param(b"(<a b>)", id="blank in a token"),
        pytest.param(b"(" + b"<a:b>" * (VALUE_LIMIT // 5 + 1) + b")", id="too many bytes"),
        pytest.param(b"(<a>)" * (LIST_LIMIT + 1), id="too many lists"),
        pytest.param(b"(" + b"<a>" * (CONDITION_LIMIT + 1) + b")", id="too many conditions"),
    ],
)
@pytest.mark.rfc("IF-11")
@pytest.mark.security("S-07", "P-01")
def test_garbage_is_400(value: bytes) -> None:
    with pytest.raises(BadRequest):
        read(value)


@pytest.mark.rfc("IF-11")
def test_two_lines_are_400() -> None:
    with pytest.raises(BadRequest):
        parse_if([b"(<a:b>)", b"(<a:b>)"], authorities=OURS)


@pytest.mark.parametrize("part", [b"(", b"<", b"[", b'["', b"(<a>", b"(Not ", b'(["a"] ', b" "])
@pytest.mark.security("S-07")
def test_hostile_values_cost_no_more_than_their_length(part: bytes) -> None:
    value = part * (VALUE_LIMIT // len(part))

    began = time.process_time()
    with pytest.raises(BadRequest):
        read(value)
    took_s = time.process_time() - began

    assert took_s < 0.25


STATES = {
    None: ResourceState(True, ETag("e"), lock_tokens=(A,)),
    DavPath(("other",)): ResourceState(True, ETag("o"), lock_tokens=(B,)),
    DavPath(("col",)): ResourceState(True, lock_tokens=()),
}


def lookup(one: IfList) -> ResourceState:
    assert not one.foreign
    return STATES.get(one.resource, ResourceState(False))


@pytest.mark.parametrize(
    ("value", "result"),
    [
        pytest.param(b"(<urn:uuid:a>)", True, id="token of the lock"),
        pytest.param(b"(<urn:uuid:b>)", False, id="token of another resource"),
        pytest.param(b"(Not <urn:uuid:b>)", True, id="negated token"),
        pytest.param(b'(["e"])', True, id="entity-tag"),
        pytest.param(b'([W/"e"])', False, id="compared strongly"),
        pytest.param(b'(Not [W/"e"])', True, id="compared strongly, negated"),
        pytest.param(b'(<urn:uuid:a> ["x"])', False, id="AND"),
        pytest.param(b'(<urn:uuid:b>) (["e"])', True, id="OR"),
        pytest.param(b"(<DAV:no-lock>)", False, id="DAV:no-lock"),
        pytest.param(b"(<urn:x>) (Not <DAV:no-lock>)", True, id="always true"),
        pytest.param(
            b'(<urn:uuid:a> ["bad"]) (Not <DAV:no-lock> ["bad"])', False, id="litmus, both false"
        ),
        pytest.param(b"</other> (<urn:uuid:b>)", True, id="tagged"),
        pytest.param(b"</other/> (<urn:uuid:b>)", True, id="tagged with a slash"),
        pytest.param(b'</other> (<urn:uuid:a>) (["o"])', True, id="tag holds for every list"),
        pytest.param(b"</other> (<urn:uuid:a>)", False, id="tagged, token of the Request-URI"),
        pytest.param(b"</none> (<urn:uuid:a>) </other> (<urn:uuid:b>)", True, id="two tags"),
        pytest.param(b'</none> (["e"])', False, id="10.4.11: unmapped, entity-tag"),
        pytest.param(b'</none> (Not ["e"])', True, id="10.4.11: unmapped, negated entity-tag"),
        pytest.param(b"</none> (Not <urn:uuid:a>)", True, id="unmapped, negated token"),
        pytest.param(b'</col> (["e"])', False, id="no entity-tag there"),
        pytest.param(b"<http://x/other> (<urn:uuid:b>)", False, id="another server"),
        pytest.param(b"<http://x/other> (Not <urn:uuid:b>)", True, id="another server, negated"),
    ],
)
@pytest.mark.rfc("IF-01", "IF-02", "IF-03", "IF-04", "IF-05", "IF-06", "IF-08", "IF-10")
def test_evaluation(value: bytes, result: bool) -> None:
    assert result is evaluate_if(read(value), lookup)


def test_a_resource_is_looked_up_once() -> None:
    asked: list[DavPath | None] = []

    def counting(one: IfList) -> ResourceState:
        asked.append(one.resource)
        return ResourceState(False)

    evaluate_if(read(b"</a> (<x:1>) (<x:2>) </b> (<x:3>) </a/> (<x:4>)"), counting)

    assert asked == [DavPath(("a",)), DavPath(("b",))]


def test_no_lock_matches_no_lock_of_that_name() -> None:
    state = ResourceState(True, lock_tokens=("DAV:no-lock",))

    assert not evaluate_if(read(b"(<DAV:no-lock>)"), lambda one: state)


@pytest.mark.rfc("IF-06", "IF-07", "IF-10")
def test_every_token_counts_as_submitted() -> None:
    header = read(
        b'</a> (<urn:1> ["x"]) (Not <urn:2>) (Not <DAV:no-lock>) <http://other/> (<urn:3>)'
    )

    assert header.submitted_tokens() == {"urn:1", "urn:2", "urn:3"}


@pytest.mark.parametrize(
    ("value", "only_tokens"),
    [(b"(<a:b> Not <c:d>) (<e:f>)", True), (b'(<a:b>) (["e"])', False), (b'(["e"])', False)],
)
def test_is_only_tokens(value: bytes, only_tokens: bool) -> None:
    assert only_tokens is read(value).is_only_tokens


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"(<a:b>)", "a:b"),
        (b"\t( <a:b> ) ", "a:b"),
        (b"</c> (<a:b>)", None),
        (b"(Not <a:b>)", None),
        (b"(<a:b> <c:d>)", None),
        (b"(<a:b>) (<c:d>)", None),
        (b'(["e"])', None),
    ],
)
def test_sole_token_is_that_of_a_header_with_nothing_else(value: bytes, token: str | None) -> None:
    header = read(value)

    assert header.sole_token == token
    assert header == _Scanner(value, OURS).header()
