"""RFC 4918 section 8.3 and RFC 3986: paths decoded once, and encoded again by href."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.errors import BadRequest, UriTooLong
from davserver.protocol.path import (
    PATH_LIMIT,
    DavPath,
    Key,
    encode_segments,
    quote_segment,
    quote_segments,
)

SEGMENT = (
    st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1)
    | st.binary(min_size=1)
    .filter(lambda raw: b"/" not in raw and b"\0" not in raw)
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
).filter(lambda name: name not in (".", ".."))


@pytest.mark.parametrize(
    ("raw", "segments", "slash"),
    [
        pytest.param(b"/", (), True, id="root"),
        pytest.param(b"/a/b", ("a", "b"), False, id="plain"),
        pytest.param(b"/a/b/", ("a", "b"), True, id="trailing slash"),
        pytest.param(b"//a///b//", ("a", "b"), True, id="runs of slashes"),
        pytest.param(b"//", (), True, id="nothing but slashes"),
        pytest.param(b"/a%20b", ("a b",), False, id="blank"),
        pytest.param(b"/%41%3a", ("A:",), False, id="lower-case escape"),
        pytest.param(b"/%2541", ("%41",), False, id="decoded once"),
        pytest.param(b"/%252e%252e", ("%2e%2e",), False, id="dots encoded twice are a name"),
        pytest.param(b"/a;x=1&y+z", ("a;x=1&y+z",), False, id="sub-delimiters"),
        pytest.param(b"/...", ("...",), False, id="three dots"),
        pytest.param(b"/..;", ("..;",), False, id="dots with a parameter are a name"),
        pytest.param(b"/.git", (".git",), False, id="hidden name"),
        pytest.param(b"/a%5cb", ("a\\b",), False, id="backslash is a character"),
        pytest.param(b"/%23%3F", ("#?",), False, id="encoded hash and question mark"),
        pytest.param("/é".encode(), ("é",), False, id="raw UTF-8"),
        pytest.param(b"/%C3%A9", ("é",), False, id="escaped UTF-8"),
        pytest.param(b"/%ff", ("\udcff",), False, id="not UTF-8"),
        pytest.param(b"/%c0%ae%c0%ae", ("\udcc0\udcae\udcc0\udcae",), False, id="overlong dots"),
        pytest.param(b"/%c0%af", ("\udcc0\udcaf",), False, id="overlong slash"),
        pytest.param(b"/" + b"n" * 300, ("n" * 300,), False, id="long name"),
    ],
)
@pytest.mark.security("P-01", "P-02")
def test_from_raw_decodes_once(raw: bytes, segments: tuple[str, ...], slash: bool) -> None:
    path = DavPath.from_raw(raw)

    assert (segments, slash) == (path.segments, path.slash)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"a", id="no slash"),
        pytest.param(b"*", id="asterisk form"),
        pytest.param(b"/a\0", id="NUL"),
        pytest.param(b"/a%00", id="encoded NUL"),
        pytest.param(b"/%", id="bare percent"),
        pytest.param(b"/%4", id="short escape"),
        pytest.param(b"/%zz", id="bad escape"),
        pytest.param(b"/%u0041", id="IIS escape"),
        pytest.param(b"/a%2fb", id="encoded slash"),
        pytest.param(b"/a%2Fb", id="encoded slash, upper case"),
        pytest.param(b"/..", id="dot-dot"),
        pytest.param(b"/a/../b", id="dot-dot inside"),
        pytest.param(b"/a/.", id="dot"),
        pytest.param(b"/./", id="dot with slash"),
        pytest.param(b"/%2e%2E", id="encoded dot-dot"),
        pytest.param(b"/.%2e/x", id="half encoded"),
        pytest.param(b"/%2e%2e/%ff", id="dot-dot beside a name that is not UTF-8"),
        pytest.param(b"/..%2f..%2fetc", id="encoded separators"),
        pytest.param(b"/a#b", id="fragment"),
        pytest.param(b"/a?b", id="query that was not cut"),
    ],
)
@pytest.mark.security("P-01", "P-02", "P-03")
def test_from_raw_refuses(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        DavPath.from_raw(raw)


@pytest.mark.security("P-06")
@pytest.mark.rfc("G-20")
def test_too_long_path_is_414() -> None:
    assert DavPath.from_raw(b"/" * PATH_LIMIT).is_root

    with pytest.raises(UriTooLong):
        DavPath.from_raw(b"/" * (PATH_LIMIT + 1))


@given(st.lists(SEGMENT), st.booleans())
@settings(max_examples=200, deadline=None)
@pytest.mark.rfc("G-13", "DN-04")
def test_href_reads_back_as_the_same_path(segments: list[str], collection: bool) -> None:
    path = DavPath(tuple(segments))
    href = path.href(collection=collection)
    if len(href) > PATH_LIMIT:
        return

    again = DavPath.from_raw(href)

    assert path == again
    assert again.slash == (collection or path.is_root)


@given(st.binary(max_size=60).map(lambda raw: b"/" + raw))
@settings(max_examples=200, deadline=None)
def test_any_octets_give_a_path_or_400(raw: bytes) -> None:
    try:
        path = DavPath.from_raw(raw)
    except BadRequest:
        return

    assert not {"", ".", ".."}.intersection(path.segments)
    assert not any("/" in segment or "\0" in segment for segment in path.segments)
    assert path == DavPath.from_raw(path.href(collection=False))


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        pytest.param("a test", b"a%20test", id="8.3.1"),
        pytest.param("AZaz09-._~", b"AZaz09-._~", id="unreserved"),
        pytest.param("&<>'\"", b"%26%3C%3E%27%22", id="XML"),
        pytest.param("%#?;", b"%25%23%3F%3B", id="delimiters of URLs"),
        pytest.param("c:", b"c%3A", id="colon in the first segment"),
        pytest.param("é", b"%C3%A9", id="UTF-8"),
        pytest.param("\udcff", b"%FF", id="not UTF-8"),
    ],
)
@pytest.mark.rfc("G-13")
def test_quote_segment_leaves_unreserved_only(name: str, quoted: bytes) -> None:
    assert quoted == quote_segment(name)


@pytest.mark.parametrize(
    ("segments", "base", "collection", "href"),
    [
        ((), b"", False, b"/"),
        ((), b"/dav", False, b"/dav/"),
        (("a",), b"", False, b"/a"),
        (("a",), b"", True, b"/a/"),
        (("a", "b c"), b"/my%20dav", True, b"/my%20dav/a/b%20c/"),
    ],
)
@pytest.mark.rfc("G-04", "G-13")
def test_href(segments: tuple[str, ...], base: bytes, collection: bool, href: bytes) -> None:
    assert href == DavPath(segments).href(base, collection=collection)


@pytest.mark.rfc("G-03")
@given(st.lists(SEGMENT))
@settings(max_examples=100, deadline=None)
@pytest.mark.rfc("G-13")
def test_many_segments_are_quoted_as_each_is(names: list[str]) -> None:
    assert quote_segments(names) == [quote_segment(name) for name in names]
    assert encode_segments(names) == [name.encode("utf-8", "surrogateescape") for name in names]


def test_trailing_slash_makes_no_other_path() -> None:
    assert DavPath(("a",), True) == DavPath(("a",))
    assert hash(DavPath(("a",), True)) == hash(DavPath(("a",)))


def test_relations() -> None:
    root, a, b = DavPath(()), DavPath(("a",)), DavPath(("a", "b"))

    assert (root.parent, root.name, root.is_root) == (None, "", True)
    assert (b.parent, b.name, b.is_root) == (a, "b", False)
    assert a.child("b") == b
    assert root.covers(b)
    assert a.covers(a)
    assert not b.covers(a)
    assert not DavPath(("a",)).covers(DavPath(("ab",)))


def test_below_takes_the_prefix_off() -> None:
    path = DavPath.from_raw(b"/dav/my%20share/x/")

    below = path.below(("dav", "my share"))

    assert below is not None
    assert (below.segments, below.slash) == (("x",), True)
    assert path.below(()) is path
    assert path.below(["dav", "other"]) is None
    assert DavPath(("dav",)).below(("dav", "my share")) is None
    assert DavPath(("dav",)).below(("dav",)) == DavPath(())


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        pytest.param(".davserver", True, id="the name itself"),
        pytest.param(".DavServer", True, id="case"),
        pytest.param(".davserver.7f.1234", True, id="hidden name"),
        pytest.param("\uff0edavserver", True, id="full-width stop"),
        pytest.param("\u2024davserver", True, id="one dot leader"),
        pytest.param(".dav\uff33erver", True, id="full-width letter"),
        pytest.param(".dav\u017ferver", True, id="long s"),
        pytest.param(".dav\u200bserver", True, id="zero-width space"),
        pytest.param("\u00ad.davserver.x", True, id="soft hyphen in front"),
        pytest.param(".davserverx", False, id="longer name"),
        pytest.param("davserver", False, id="no dot"),
        pytest.param("x.davserver", False, id="dot inside"),
        pytest.param(".davserve", False, id="shorter name"),
        pytest.param("é.davserver", False, id="not at the start"),
        pytest.param(".dav\udcffserver", False, id="not UTF-8"),
        pytest.param("\u2100.davserver", False, id="character that decomposes to a slash"),
    ],
)
@pytest.mark.security("P-13")
def test_is_reserved(name: str, reserved: bool) -> None:
    assert reserved == DavPath(("a", name, "b")).is_reserved


@pytest.mark.parametrize(
    ("name", "creatable"),
    [
        ("a b", True),
        ("é\u0301", True),
        ("a\x80b", True),
        ("a\nb", False),
        ("\x01", False),
        ("\x7f", False),
        ("\udcff", False),
    ],
)
@pytest.mark.security("P-02", "P-07")
def test_is_creatable(name: str, creatable: bool) -> None:
    assert creatable == DavPath(("x", name)).is_creatable


def test_key_relations() -> None:
    root, a, b = Key("s", b""), Key("s", b"a"), Key("s", b"a/b")

    assert (root.parent, root.name) == (None, b"")
    assert (a.parent, a.name) == (root, b"a")
    assert (b.parent, b.name) == (a, b"b")
    assert root.child(b"a") == a
    assert a.child(b"b") == b


@pytest.mark.parametrize(
    ("mine", "other", "covers"),
    [
        pytest.param(Key("s", b""), Key("s", b"a/b"), True, id="root"),
        pytest.param(Key("s", b"a"), Key("s", b"a"), True, id="itself"),
        pytest.param(Key("s", b"a"), Key("s", b"a/b"), True, id="descendant"),
        pytest.param(Key("s", b"a"), Key("s", b"ab"), False, id="same beginning"),
        pytest.param(Key("s", b"a/b"), Key("s", b"a"), False, id="ancestor"),
        pytest.param(Key("s", b""), Key("t", b"a"), False, id="another share"),
    ],
)
def test_key_covers(mine: Key, other: Key, covers: bool) -> None:
    assert covers == mine.covers(other)
