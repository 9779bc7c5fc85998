"""Named rules for clients. Each table shows the rule, and where it must not reach."""

from __future__ import annotations

import pytest

from davserver.errors import BadRequest
from davserver.protocol import quirks
from davserver.protocol.headers import DavHeaders
from davserver.protocol.ifheader import IfHeader, parse_if
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import DavPath


def read(value: bytes) -> IfHeader:
    header = parse_if([value], authorities=())
    assert header is not None
    return header


@pytest.mark.parametrize(
    ("method", "header", "token"),
    [
        ("PUT", b"<urn:uuid:a>", "urn:uuid:a"),
        ("PROPPATCH", b"<urn:uuid:a>", "urn:uuid:a"),
        ("DELETE", b"urn:uuid:a", "urn:uuid:a"),
        ("MOVE", b"<urn:uuid:a>", "urn:uuid:a"),
        pytest.param("PUT", None, None, id="not sent"),
        pytest.param("PUT", b"<urn:uuid:a", None, id="unreadable"),
        pytest.param("COPY", b"<urn:uuid:a>", None, id="COPY"),
        pytest.param("UNLOCK", b"<urn:uuid:a>", None, id="UNLOCK has its own meaning"),
    ],
)
def test_lock_token_header_submits(method: str, header: bytes | None, token: str | None) -> None:
    assert token == quirks.submitted_by_lock_token_header(method, header)


@pytest.mark.parametrize(
    ("method", "is_collection", "value", "result"),
    [
        pytest.param("MOVE", True, b"(<urn:in>)", True, id="MOVE"),
        pytest.param("DELETE", True, b"(<urn:in>)", True, id="DELETE"),
        pytest.param("DELETE", True, b"(<urn:in>) (<urn:in2>)", True, id="two tokens"),
        pytest.param("COPY", True, b"(<urn:in>)", False, id="COPY"),
        pytest.param("PUT", True, b"(<urn:in>)", False, id="PUT"),
        pytest.param("MOVE", False, b"(<urn:in>)", False, id="no collection"),
        pytest.param("MOVE", True, b"(<urn:out>)", False, id="lock elsewhere"),
        pytest.param("MOVE", True, b"(<urn:in>) (<urn:out>)", False, id="one elsewhere"),
        pytest.param("MOVE", True, b"(Not <urn:in>)", False, id="negated"),
        pytest.param("MOVE", True, b'(<urn:in> ["e"])', False, id="with an entity-tag"),
        pytest.param("MOVE", True, b"</x> (<urn:in>)", False, id="tagged"),
    ],
)
def test_member_tokens(method: str, is_collection: bool, value: bytes, result: bool) -> None:
    assert result is quirks.is_if_true_by_member_tokens(
        method,
        is_collection=is_collection,
        header=read(value),
        tokens_beneath={"urn:in", "urn:in2"},
    )


WIN32 = "{urn:schemas-microsoft-com:}Win32FileAttributes"


@pytest.mark.parametrize(
    ("names", "principal", "creators", "result"),
    [
        pytest.param([WIN32], "ann", ["ann"], True, id="own lock"),
        pytest.param([WIN32], "ann", [], True, id="no lock"),
        pytest.param([WIN32], "ann", ["bob"], False, id="another's lock"),
        pytest.param([WIN32], "ann", ["ann", "bob"], False, id="shared with another"),
        pytest.param([WIN32], "", [""], False, id="anonymous"),
        pytest.param([WIN32, "{DAV:}displayname"], "ann", ["ann"], False, id="other name too"),
        pytest.param(["{urn:schemas-microsoft-com:x}a"], "ann", ["ann"], False, id="namespace"),
        pytest.param([], "ann", ["ann"], False, id="nothing"),
    ],
)
def test_windows_proppatch(
    names: list[str], principal: str, creators: list[str], result: bool
) -> None:
    changes = [PropertyChange(QName(name), None) for name in names]

    assert result is quirks.is_windows_proppatch_exempt(
        changes, principal=principal, lock_creators=creators
    )


@pytest.mark.parametrize(
    ("value", "ignored"), [(b"free text", True), (b'"x', True), (b'*, "x"', False)]
)
def test_unreadable_none_match(value: bytes, ignored: bool) -> None:
    assert ignored is quirks.is_unreadable_none_match_ignored(value)


@pytest.mark.parametrize(
    ("method", "value", "ignored"),
    [
        ("GET", b"(<urn:a>)", True),
        ("HEAD", b"(Not <urn:a>) (<urn:b>)", True),
        ("OPTIONS", b"(<urn:a>)", True),
        ("PROPFIND", b"(<urn:a>)", False),
        ("PUT", b"(<urn:a>)", False),
        ("GET", b'(["e"])', False),
        ("GET", b'(<urn:a>) (["e"])', False),
    ],
)
@pytest.mark.rfc("IF-09")
def test_if_ignored(method: str, value: bytes, ignored: bool) -> None:
    assert ignored is quirks.is_if_ignored(method, read(value))


@pytest.mark.parametrize(
    ("values", "token"),
    [
        pytest.param([b"urn:uuid:a"], "urn:uuid:a", id="raw"),
        pytest.param([b" <opaquelocktoken:a> "], "opaquelocktoken:a", id="brackets"),
        pytest.param([b"(<urn:uuid:a>)"], None, id="a list is the parser's"),
        pytest.param([b"urn:a urn:b"], None, id="two tokens"),
        pytest.param([b"<urn:a><urn:b>"], None, id="two in brackets"),
        pytest.param([b"<urn:a"], None, id="half a bracket"),
        pytest.param([b"word"], None, id="no URI"),
        pytest.param([b"urn:a", b"urn:a"], None, id="two lines"),
        pytest.param([], None, id="not sent"),
    ],
)
def test_refresh_token_without_list(values: list[bytes], token: str | None) -> None:
    assert token == quirks.refresh_token_without_list(values)


def test_without_the_rule_a_raw_token_is_400() -> None:
    with pytest.raises(BadRequest):
        read(b"urn:uuid:a")


@pytest.mark.parametrize(
    ("raw", "left_out"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([(b"brief", b"t")], True, id="Brief: t"),
        pytest.param([(b"brief", b"T")], True, id="Brief: T"),
        pytest.param([(b"brief", b"f")], False, id="Brief: f"),
        pytest.param([(b"prefer", b"return=minimal")], True, id="minimal"),
        pytest.param([(b"prefer", b'Return = "minimal"')], True, id="quoted, blanks"),
        pytest.param([(b"prefer", b"depth-noroot, return=minimal;x=y")], True, id="in a list"),
        pytest.param([(b"prefer", b"wait=1"), (b"prefer", b"return=minimal")], True, id="lines"),
        pytest.param([(b"prefer", b"return=representation")], False, id="representation"),
        pytest.param(
            [(b"prefer", b"return=minimal, return=representation")], False, id="contradiction"
        ),
        pytest.param([(b"prefer", b"return=Minimal")], False, id="values have a case"),
        pytest.param([(b"prefer", b"return")], False, id="no value"),
    ],
)
def test_missing_properties_left_out(raw: list[tuple[bytes, bytes]], left_out: bool) -> None:
    assert left_out is quirks.leaves_out_missing_properties(DavHeaders(raw))


@pytest.mark.parametrize(
    ("agent", "announced"),
    [
        pytest.param(b"cadaver/0.24 neon/0.32.5", True, id="cadaver"),
        pytest.param(b"sitecopy/0.16.6 neon/0.32.5", True, id="sitecopy"),
        pytest.param(b"davfs2/1.6.1 neon/0.32.5", False, id="another with neon"),
        pytest.param(b"Material Files (like cadaver/1)", False, id="cadaver elsewhere"),
        pytest.param(None, False, id="nobody"),
    ],
)
def test_executable_is_announced_to_who_asks_for_it_so(
    agent: bytes | None, announced: bool
) -> None:
    headers = DavHeaders([] if agent is None else [(b"user-agent", agent)])

    assert quirks.announces_executable(headers) is announced


@pytest.mark.parametrize(
    ("agent", "body", "left_out"),
    [
        (b"Microsoft-WebDAV-MiniRedir/10.0.19045", b"", True),
        (b"Microsoft-WebDAV-MiniRedir/10.0.19045", b"<x/>", False),
        (b"DavClnt", b"", False),
        (b"WebDAVFS/3.0.0", b"", False),
        (None, b"", False),
    ],
)
def test_supportedlock_of_members_is_left_out_of_a_listing_by_windows(
    agent: bytes | None, body: bytes, left_out: bool
) -> None:
    headers = DavHeaders([] if agent is None else [(b"user-agent", agent)])

    assert quirks.is_supportedlock_of_members_left_out(headers, body) is left_out


@pytest.mark.parametrize(
    ("path", "writable", "result"),
    [
        pytest.param((), [False, True], True, id="above a share that can be written"),
        pytest.param((), [False, False], False, id="above shares that cannot"),
        pytest.param((), [], False, id="no shares: it says what is true of itself"),
        pytest.param(("a",), [True], False, id="a share says what is true of itself"),
    ],
)
def test_class_2_above_shares(path: tuple[str, ...], writable: list[bool], result: bool) -> None:
    assert result == quirks.is_class_2_for_shares(DavPath(path), writable)
