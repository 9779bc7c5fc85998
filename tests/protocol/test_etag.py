"""RFC 9110 section 8.8.3: entity-tags and lists of them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.errors import BadRequest
from davserver.protocol.etag import ETag, ETagList

OPAQUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f'))
TAGS = st.builds(ETag, OPAQUE, st.booleans())


@given(TAGS)
@settings(max_examples=200, deadline=None)
def test_tag_reads_back(tag: ETag) -> None:
    assert tag == ETag.from_header(tag.to_header())


@given(st.lists(TAGS.filter(lambda tag: not tag.opaque.endswith("-gzip")), min_size=1))
@settings(max_examples=200, deadline=None)
@pytest.mark.rfc("HC-08")
def test_list_reads_back(tags: list[ETag]) -> None:
    value = b", ".join(tag.to_header() for tag in tags)

    assert tuple(tags) == ETagList.from_header(value).tags


@given(st.binary(max_size=60) | st.text('W/"*, ab-gzip').map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_octets_give_tags_or_400(value: bytes) -> None:
    for read in (ETag.from_header, ETagList.from_header):
        with contextlib.suppress(BadRequest):
            read(value)


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        pytest.param(b'"x"', ETag("x"), id="strong"),
        pytest.param(b'W/"x"', ETag("x", weak=True), id="weak"),
        pytest.param(b'""', ETag(""), id="empty"),
        pytest.param(b' "a,b" ', ETag("a,b"), id="comma and blanks around"),
        pytest.param(b'"\xe9"', ETag("é"), id="obs-text"),
        pytest.param(b'"a b"', ETag("a b"), id="blank, RFC 4918 section 10.4.6"),
    ],
)
def test_one_tag(value: bytes, tag: ETag) -> None:
    assert tag == ETag.from_header(value)


@pytest.mark.parametrize(
    "value", [b"", b"x", b'"x', b'x"', b'w/"x"', b'"a" "b"', b'"a\x01"', b"*", b'W/ "x"']
)
def test_no_tag_is_400(value: bytes) -> None:
    with pytest.raises(BadRequest):
        ETag.from_header(value)


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        pytest.param(b'"a"', (ETag("a"),), id="one"),
        pytest.param(b'"a","b" , W/"c"', (ETag("a"), ETag("b"), ETag("c", True)), id="several"),
        pytest.param(b'"a,b", "c"', (ETag("a,b"), ETag("c")), id="quoted comma"),
        pytest.param(b',, "a" ,', (ETag("a"),), id="empty elements"),
        pytest.param(b'"\xff"', (ETag("ÿ"),), id="obs-text"),
        pytest.param(b"JoplinIgnore-12345", (ETag("JoplinIgnore-12345"),), id="Joplin"),
        pytest.param(b'"a-gzip", W/"b-gzip"', (ETag("a"), ETag("b", True)), id="mod_deflate"),
        pytest.param(b'"a b"', (ETag("a b"),), id="blank inside"),
    ],
)
@pytest.mark.rfc("HC-08")
def test_list(value: bytes, tags: tuple[ETag, ...]) -> None:
    assert ETagList(tags) == ETagList.from_header(value)


def test_asterisk_is_any() -> None:
    assert ETagList(is_any=True) == ETagList.from_header(b" * ")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" , ,", id="commas"),
        pytest.param(b'*, "a"', id="asterisk first"),
        pytest.param(b'"a", *', id="asterisk last"),
        pytest.param(b'"a" "b"', id="no comma"),
        pytest.param(b'"a', id="unterminated"),
        pytest.param(b'W/"a', id="unterminated weak"),
        pytest.param(b'a"b"', id="text before the quote"),
        pytest.param(b'"a\x01"', id="control character"),
    ],
)
@pytest.mark.rfc("HC-08")
def test_what_is_no_list_is_400(value: bytes) -> None:
    with pytest.raises(BadRequest):
        ETagList.from_header(value)


@pytest.mark.parametrize(
    ("mine", "other", "strong", "weak"),
    [
        pytest.param(ETag("1", True), ETag("1", True), False, True, id='W/"1" W/"1"'),
        pytest.param(ETag("1", True), ETag("2", True), False, False, id='W/"1" W/"2"'),
        pytest.param(ETag("1", True), ETag("1"), False, True, id='W/"1" "1"'),
        pytest.param(ETag("1"), ETag("1"), True, True, id='"1" "1"'),
    ],
)
def test_comparison_as_in_the_table_of_8_8_3_2(
    mine: ETag, other: ETag, strong: bool, weak: bool
) -> None:
    assert (strong, weak) == (mine.matches_strong(other), mine.matches_weak(other))
    assert (strong, weak) == (other.matches_strong(mine), other.matches_weak(mine))
    assert (strong, weak) == (
        ETagList((ETag("0"), mine)).matches_strong(other),
        ETagList((ETag("0"), mine)).matches_weak(other),
    )


def test_no_tag_matches_a_resource_without_one() -> None:
    assert not ETagList((ETag("a"),)).matches_strong(None)
    assert not ETagList((ETag("a"),)).matches_weak(None)
