"""Request XML as values, and what is refused at the door."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.errors import (
    BadRequest,
    ContentTooLarge,
    DavError,
    Forbidden,
    UnprocessableContent,
    UnsupportedMediaType,
)
from davserver.protocol.deadprops import canonical_element, element_text, name_only
from davserver.protocol.locks import LockScope
from davserver.protocol.names import GETETAG, QName, dav
from davserver.protocol.xmlguard import XmlLimits, parse_xml
from davserver.protocol.xmlread import (
    LockInfo,
    PropfindKind,
    PropfindRequest,
    parse_lockinfo,
    parse_propfind,
    parse_proppatch,
)


def propfind(inner: str) -> bytes:
    return f'<D:propfind xmlns:D="DAV:">{inner}</D:propfind>'.encode()


@pytest.mark.rfc("PF-03", "PF-07", "PF-09", "PF-11", "PF-12", "PF-13", "PF-14", "XX-01", "XX-05")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", PropfindRequest(PropfindKind.ALLPROP), id="empty body"),
        pytest.param(propfind("<D:allprop/>"), PropfindRequest(PropfindKind.ALLPROP), id="all"),
        pytest.param(propfind("<D:propname/>"), PropfindRequest(PropfindKind.PROPNAME), id="names"),
        pytest.param(propfind("<D:prop/>"), PropfindRequest(PropfindKind.PROP), id="empty prop"),
        pytest.param(
            propfind("<D:prop><D:getetag/><x xmlns='u'/><y/><D:getetag/></D:prop>"),
            PropfindRequest(PropfindKind.PROP, (GETETAG, QName("{u}x"), QName("y"))),
            id="each name once",
        ),
        pytest.param(
            propfind("<D:prop><D:getetag>v<D:x/></D:getetag></D:prop>"),
            PropfindRequest(PropfindKind.PROP, (GETETAG,)),
            id="values are ignored",
        ),
        pytest.param(
            propfind("<D:include><D:a/></D:include><D:allprop/>"),
            PropfindRequest(PropfindKind.ALLPROP, (dav("a"),)),
            id="include in any order",
        ),
        pytest.param(
            b"<propfind xmlns='DAV:' x='1'><new xmlns='u'><prop/></new><allprop/></propfind>",
            PropfindRequest(PropfindKind.ALLPROP),
            id="A.4 unknown beside a known one",
        ),
        pytest.param(
            b"<?xml version='1.0'?><?pi?><!-- c --><a:propfind xmlns:a='DAV:'><a:prop>"
            b"<relative xmlns='test'/></a:prop></a:propfind>",
            PropfindRequest(PropfindKind.PROP, (QName("{test}relative"),)),
            id="relative namespace name",
        ),
    ],
)
def test_propfind_reads(body: bytes, expected: PropfindRequest) -> None:
    assert expected == parse_propfind(body)


@pytest.mark.rfc("G-07", "PF-10", "PF-11", "PF-12", "XX-05")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(propfind("<D:allprop/><D:propname/>"), id="A.3"),
        pytest.param(propfind("<D:prop/><D:prop/>"), id="two props"),
        pytest.param(propfind("<E:expired-props xmlns:E='u'/>"), id="A.4"),
        pytest.param(propfind(""), id="nothing asked"),
        pytest.param(propfind("<D:include/>"), id="include alone"),
        pytest.param(b"<propfind xmlns='dav:'><allprop/></propfind>", id="dav: is not DAV:"),
        pytest.param(b"<propfind><prop/></propfind>", id="no namespace"),
        pytest.param(propfind("<p:x/>"), id="undeclared prefix"),
        pytest.param(propfind("<D:prop><b:x xmlns:b=''/></D:prop>"), id="litmus propfind_invalid2"),
        pytest.param(propfind("<D:prop/>") + b"<x/>", id="two roots"),
        pytest.param(propfind("<D:prop/>") + b"junk", id="junk after the root"),
        pytest.param(propfind("<D:prop a='1' a='2'/>"), id="attribute twice"),
        pytest.param(propfind("<D:prop>"), id="not closed"),
        pytest.param(propfind("&undefined;<D:prop/>"), id="undefined entity"),
        pytest.param(propfind("<D:prop>\x00</D:prop>"), id="NUL"),
        pytest.param(propfind("<D:prop>&#1;</D:prop>"), id="control character"),
        pytest.param(propfind("<D:prop>&#xfffe;</D:prop>"), id="U+FFFE"),
        pytest.param(propfind("<D:prop>&#xd800;</D:prop>"), id="surrogate"),
        pytest.param(propfind("<D:prop>").replace(b"<D:prop>", b"<D:prop>\xff"), id="not UTF-8"),
        pytest.param(propfind("<D:prop><x xmlns='a}b'/></D:prop>"), id="brace in a namespace"),
        pytest.param(b"hello", id="no XML"),
        pytest.param(b" ", id="blank"),
    ],
)
def test_bad_propfind_is_400(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_propfind(body)


@pytest.mark.rfc("PC-04", "SE-04", "XX-03")
@pytest.mark.security("X-01", "X-02")
@pytest.mark.parametrize(
    ("doctype", "status"),
    [
        pytest.param('<!DOCTYPE a SYSTEM "http://h/x.dtd">', 403, id="external subset"),
        pytest.param('<!DOCTYPE a PUBLIC "p" "u">', 403, id="public subset"),
        pytest.param('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>', 403, id="external"),
        pytest.param('<!DOCTYPE a [<!ENTITY % p SYSTEM "http://h/">%p;]>', 403, id="parameter"),
        pytest.param('<!DOCTYPE a [<!ENTITY e "x">]>', 400, id="internal"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY a "xxxx"><!ENTITY b "&a;&a;&a;">]>', 400, id="billion laughs"
        ),
        pytest.param("<!DOCTYPE a>", 400, id="bare"),
        pytest.param("<!DOCTYPE a [<!ELEMENT a ANY>]>", 400, id="element declaration"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_doctype_is_refused(doctype: str, status: int, encoding: str) -> None:
    body = f'{doctype}<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'.encode(encoding)

    with pytest.raises(DavError) as caught:
        parse_propfind(body)

    condition = b"no-external-entities" if status == 403 else None
    assert (status, condition) == (caught.value.status, caught.value.condition)
    assert isinstance(caught.value, Forbidden if status == 403 else BadRequest)


LIMITS = XmlLimits(elements=20, names=5, namespaces=4, depth=4)


@pytest.mark.security("X-03", "X-07")
@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        pytest.param("<a/>" * 19, None, id="as many elements as allowed"),
        pytest.param("<a/>" * 20, ContentTooLarge, id="elements"),
        pytest.param("<a>" + "".join(f"<a b{i}=''/>" for i in range(9)) + "</a>", None, id="few"),
        pytest.param(
            "<a " + " ".join(f"b{i}=''" for i in range(21)) + "/>", ContentTooLarge, id="attributes"
        ),
        pytest.param("<a/><b/><c/><d/>", None, id="as many names as allowed"),
        pytest.param("<a/><b/><c/><d/><e/>", ContentTooLarge, id="names"),
        pytest.param("<a xmlns:p='u' xmlns:q='u' xmlns:r='u' xmlns:s='u'/>", None, id="namespaces"),
        pytest.param("<a xmlns='a'/>" * 5, ContentTooLarge, id="too many namespaces"),
        pytest.param("<a><a><a/></a></a>", None, id="as deep as allowed"),
        pytest.param("<a><a><a><a/></a></a></a>", BadRequest, id="depth"),
    ],
)
def test_limits_stop_at_the_first_excess(inner: str, expected: type[DavError] | None) -> None:
    body = f"<r>{inner}</r>".encode()

    if expected is None:
        assert parse_xml(body, limits=LIMITS).name == "r"
        return
    with pytest.raises(expected):
        # What follows the excess is never looked at.
        parse_xml(body + b"<not well-formed", limits=LIMITS)


TEXT = '<?xml version="1.0" encoding="{}"?><a>ü</a>'


@pytest.mark.rfc("G-09", "G-10")
@pytest.mark.security("X-05")
@pytest.mark.parametrize(
    ("body", "charset"),
    [
        pytest.param(TEXT.format("utf-8").encode(), None, id="UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + TEXT.format("utf-8").encode(), None, id="UTF-8 with mark"),
        pytest.param(TEXT.format("utf-16").encode("utf-16"), None, id="UTF-16 with mark"),
        pytest.param(TEXT.format("utf-16").encode("utf-16-be"), None, id="UTF-16BE, declared"),
        pytest.param(TEXT.format("utf-16").encode("utf-16-le"), None, id="UTF-16LE"),
        pytest.param(TEXT.format("utf-16").encode("utf-16-be"), "UTF-16BE", id="by charset"),
        pytest.param(TEXT.format("latin-1").encode(), "utf-8", id="charset wins: UTF-8"),
        pytest.param(TEXT.format("utf-8").encode("utf-16-le"), "utf-16le", id="charset wins"),
    ],
)
def test_utf8_and_utf16_are_read(body: bytes, charset: str | None) -> None:
    assert parse_xml(body, charset=charset).children == ["ü"]


@pytest.mark.security("X-05")
@pytest.mark.parametrize(
    ("body", "charset", "expected"),
    [
        pytest.param(TEXT.format("latin-1").encode("latin-1"), None, UnsupportedMediaType, id="l1"),
        pytest.param(TEXT.format("utf-7").encode(), None, UnsupportedMediaType, id="UTF-7"),
        pytest.param(b"<a/>", "iso-8859-1", UnsupportedMediaType, id="charset latin-1"),
        pytest.param("<a/>".encode("utf-32"), None, BadRequest, id="UTF-32"),
        pytest.param("<a/>".encode("utf-32-be"), None, BadRequest, id="UTF-32BE"),
        pytest.param(TEXT.format("utf-16").encode(), None, BadRequest, id="says UTF-16, is UTF-8"),
        pytest.param(b"<\0a", None, BadRequest, id="half a character"),
    ],
)
def test_other_encodings_are_refused(
    body: bytes, charset: str | None, expected: type[DavError]
) -> None:
    with pytest.raises(expected):
        parse_xml(body, charset=charset)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
@pytest.mark.security("S-08")
def test_any_bytes_are_answered(body: bytes) -> None:
    for parse in (parse_propfind, parse_proppatch, parse_lockinfo):
        # Whatever else is raised fails the test.
        with suppress(BadRequest, ContentTooLarge, Forbidden, UnsupportedMediaType):
            parse(body)


def proppatch(inner: str) -> bytes:
    return f'<D:propertyupdate xmlns:D="DAV:">{inner}</D:propertyupdate>'.encode()


@pytest.mark.rfc("PP-02", "PP-09", "PP-15", "XX-02")
def test_instructions_keep_document_order() -> None:
    body = proppatch(
        "<D:remove><D:prop><a>ignored</a></D:prop></D:remove><x/>"
        "<D:set><D:prop><a>1</a><b/></D:prop></D:set>"
        "<D:set><D:prop><a>2</a></D:prop></D:set>"
    )

    actual = [(change.name, change.value) for change in parse_proppatch(body)]

    assert actual == [("a", None), ("a", b"<a>1</a>"), ("b", b"<b/>"), ("a", b"<a>2</a>")]


@pytest.mark.rfc("PP-01")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="no body"),
        pytest.param(proppatch(""), id="no instruction"),
        pytest.param(proppatch("<D:set/>"), id="set without prop"),
        pytest.param(propfind("<D:allprop/>"), id="another root"),
    ],
)
def test_bad_proppatch_is_400(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_proppatch(body)


@pytest.mark.rfc("DP-01", "DP-02", "DP-03", "DP-04", "DP-05", "DP-06", "DP-08", "DP-11")
@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        pytest.param("<p/>", b"<p/>", id="no namespace"),
        pytest.param("<p></p>", b"<p/>", id="empty"),
        pytest.param(
            "<D:p>x</D:p>", b'<D:p xmlns:D="DAV:">x</D:p>', id="declaration of an ancestor"
        ),
        pytest.param("<p xmlns='u'><q/></p>", b'<p xmlns="u"><q/></p>', id="default namespace"),
        pytest.param(
            "<p xmlns='u'><q xmlns=''/></p>", b'<p xmlns="u"><q xmlns=""/></p>', id="undeclared"
        ),
        pytest.param(
            "<a:p xmlns:a='u' xmlns:b='v' b:c='1' d='2'/>",
            b'<a:p xmlns:a="u" xmlns:b="v" b:c="1" d="2"/>',
            id="attributes",
        ),
        pytest.param(
            "<p t='D:x'>D:y http://z</p>",
            b'<p xmlns:D="DAV:" t="D:x">D:y http://z</p>',
            id="qualified names in content",
        ),
        pytest.param("<p> a <b/> \n c</p>", b"<p> a <b/> \n c</p>", id="mixed content"),
        pytest.param("<p>x<!-- c -->y<?pi z?></p>", b"<p>xy</p>", id="comment and PI are dropped"),
        pytest.param("<p><![CDATA[<&]]>]]&gt;</p>", b"<p>&lt;&amp;]]&gt;</p>", id="CDATA"),
        pytest.param(
            "<p a='&#9;&#10;&#13;&quot;&gt;'>&#13;\t\n</p>",
            b'<p a="&#9;&#10;&#13;&quot;&gt;">&#13;\t\n</p>',
            id="white space survives",
        ),
        pytest.param("<p>\U00010000ü</p>", "<p>\U00010000ü</p>".encode(), id="astral"),
        pytest.param(
            "<p xmlns='a&amp;&quot;&lt;b c'/>", b'<p xmlns="a&amp;&quot;&lt;b c"/>', id="odd name"
        ),
        pytest.param("<p xml:lang='fr'/>", b'<p xml:lang="fr"/>', id="its own language"),
        pytest.param(
            "<a:p xmlns:a='u'><a:p xmlns:a='v'/><a:p/></a:p>",
            b'<a:p xmlns:a="u"><a:p xmlns:a="v"/><a:p/></a:p>',
            id="a prefix bound anew",
        ),
    ],
)
def test_value_keeps_its_infoset(inner: str, expected: bytes) -> None:
    body = proppatch(f"<D:set><D:prop>{inner}</D:prop></D:set>")

    (change,) = parse_proppatch(body)

    assert expected == change.value
    # What was stored reads back as the same, inside an element that binds no default namespace.
    again = parse_xml(b'<D:prop xmlns:D="DAV:">%s</D:prop>' % expected).elements[0]
    assert expected == canonical_element(again)


@pytest.mark.rfc("DP-01", "DP-04")
@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        pytest.param("en", "<p/>", b'<p xml:lang="en"/>', id="inherited"),
        pytest.param("en", "<p xml:lang='fr'/>", b'<p xml:lang="fr"/>', id="own one wins"),
        pytest.param("en", "<p xml:lang=''/>", b'<p xml:lang=""/>', id="own one is none"),
        pytest.param("", "<p/>", b"<p/>", id="none in scope"),
        pytest.param("a&amp;b", "<p/>", b'<p xml:lang="a&amp;b"/>', id="escaped"),
    ],
)
def test_language_in_scope_is_kept(outer: str, inner: str, expected: bytes) -> None:
    body = proppatch(f"<D:set><D:prop xml:lang='{outer}'>{inner}</D:prop></D:set>")

    assert expected == parse_proppatch(body)[0].value


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="￾￿")))
@pytest.mark.rfc("DP-03")
def test_any_text_round_trips(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = proppatch(f"<D:set><D:prop><p>{escaped}</p></D:prop></D:set>")

    value = parse_proppatch(body)[0].value

    assert value is not None
    assert text == element_text(value)


@pytest.mark.rfc("D-8")
@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        pytest.param("<D:exclusive/>", LockScope.EXCLUSIVE, id="exclusive"),
        pytest.param("<D:shared/><x/>", LockScope.SHARED, id="shared, with an unknown one"),
    ],
)
def test_lockinfo_reads(inner: str, expected: LockScope) -> None:
    body = (
        f'<D:lockinfo xmlns:D="DAV:"><D:owner>me <D:href>http://x/</D:href></D:owner>'
        f"<D:locktype><D:write/></D:locktype><D:lockscope>{inner}</D:lockscope></D:lockinfo>"
    ).encode()

    owner = b'<D:owner xmlns:D="DAV:">me <D:href>http://x/</D:href></D:owner>'
    assert LockInfo(expected, owner) == parse_lockinfo(body)


@pytest.mark.rfc("D-8", "ST-02")
@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        pytest.param("<locktype><write/></locktype>", BadRequest, id="no scope"),
        pytest.param("<lockscope><shared/></lockscope>", BadRequest, id="no type"),
        pytest.param("<lockscope/><locktype><write/></locktype>", BadRequest, id="empty scope"),
        pytest.param(
            "<lockscope><shared/><exclusive/></lockscope><locktype><write/></locktype>",
            BadRequest,
            id="two scopes",
        ),
        pytest.param(
            "<lockscope><x/></lockscope><locktype><write/></locktype>",
            UnprocessableContent,
            id="unknown scope",
        ),
        pytest.param(
            "<lockscope><shared/></lockscope><locktype><read/></locktype>",
            UnprocessableContent,
            id="unknown type",
        ),
        pytest.param(
            "<lockscope><shared/></lockscope><locktype><write/></locktype><owner/><owner/>",
            BadRequest,
            id="two owners",
        ),
    ],
)
def test_bad_lockinfo_is_refused(inner: str, expected: type[DavError]) -> None:
    with pytest.raises(expected):
        parse_lockinfo(f"<lockinfo xmlns='DAV:'>{inner}</lockinfo>".encode())


@pytest.mark.rfc("PP-05", "PP-10")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(GETETAG, b"<D:getetag/>", id="DAV:"),
        pytest.param(QName("x"), b"<x/>", id="no namespace"),
        pytest.param(QName("{u}x"), b'<ns0:x xmlns:ns0="u"/>', id="another"),
        pytest.param(QName('{a&"<}x'), b'<ns0:x xmlns:ns0="a&amp;&quot;&lt;"/>', id="odd"),
        pytest.param(
            QName("{http://www.w3.org/XML/1998/namespace}x"), b"<xml:x/>", id="the reserved prefix"
        ),
    ],
)
def test_name_only_is_an_empty_element(name: QName, expected: bytes) -> None:
    assert expected == name_only(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"<a/>", "", id="empty"),
        pytest.param(b'<a b="&gt;">x &lt;&amp;amp;&#13;</a>', "x <&amp;\r", id="references"),
        pytest.param(b"<a><b/></a>", None, id="has an element"),
    ],
)
def test_element_text(value: bytes, expected: str | None) -> None:
    assert expected == element_text(value)
