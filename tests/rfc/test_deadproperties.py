"""Dead properties come back as the same XML (RFC 4918 sections 4.2 to 4.4, 14.26)."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from tests.conftest import AppDav

E = "{http://example.org/ns}"
A = f"{E}a"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
DECLARED = 'xmlns:D="DAV:" xmlns:e="http://example.org/ns" xmlns:q="urn:q"'
ALLPROP = b""
NAMED = f"<D:propfind {DECLARED}><D:prop><e:a/></D:prop></D:propfind>".encode()
INCLUDE = f"<D:propfind {DECLARED}><D:allprop/><D:include><e:a/></D:include></D:propfind>".encode()


@pytest.fixture
def file(dav: AppDav) -> AppDav:
    assert dav.put("/f", b"content").status == 201
    return dav


def update(content: str, *, attributes: str = "", prop: str = "", sets: str = "") -> str:
    return (
        f"<D:propertyupdate {DECLARED} {attributes}><D:set {sets}><D:prop {prop}>{content}"
        "</D:prop></D:set></D:propertyupdate>"
    )


def infoset(element: Any) -> Any:
    """What section 4.3 keeps: names, attributes, children and characters; no prefixes."""
    children = [(infoset(child), child.tail or "") for child in element.iterchildren(etree.Element)]
    return element.tag, dict(element.attrib), element.text or "", children


def sent(content: str) -> Any:
    """The element as the client means it: comments and instructions apart."""
    parser = etree.XMLParser(remove_comments=True, remove_pis=True)
    return etree.fromstring(f"<x {DECLARED}>{content}</x>".encode(), parser)[0]


def stored(dav: AppDav, body: bytes = NAMED, target: str = "/f") -> Any:
    return dav.propfind(target, body).ok(target)[A]


VALUES = {
    "empty": "<e:a/>",
    "empty in two tags": "<e:a></e:a>",
    "text": "<e:a>some text</e:a>",
    "white space alone": "<e:a> \n\t </e:a>",
    "white space around": "<e:a>  x  <e:b/>\n  </e:a>",
    "xml:space says nothing": '<e:a xml:space="default">  x  </e:a>',
    "mixed content": "<e:a>one <e:b>two</e:b> three <c xmlns=''>four</c> five</e:a>",
    "nested": "<e:a><e:b><e:a><q:c>x</q:c></e:a></e:b></e:a>",
    "elements of DAV:": "<e:a><D:href>/x</D:href><D:prop><D:getetag/></D:prop></e:a>",
    "elements nobody knows": "<e:a><D:unknown x='1'><D:set/></D:unknown></e:a>",
    "attributes": "<e:a one='1' e:two='2' q:two='3' D:href='4'/>",
    "attributes inside": "<e:a><e:b one='1' q:two='2'/></e:a>",
    "default namespace": "<a xmlns='http://example.org/ns'><b>x</b><c xmlns='urn:c'/></a>",
    "no namespace inside": "<a xmlns='http://example.org/ns'><b xmlns=''><c/></b></a>",
    "a prefix bound anew": "<e:a><e:b xmlns:e='urn:other'><e:c/></e:b><e:d/></e:a>",
    "D for something else": "<D:a xmlns:D='http://example.org/ns'><D:b xmlns:D='DAV:'/></D:a>",
    "markup in text": "<e:a>&lt;b&gt; &amp;amp; ]]&gt; \"'</e:a>",
    "CDATA": "<e:a><![CDATA[<b>&amp;]]>]]&gt;</e:a>",
    "comment and instruction": "<e:a>one<!-- c -->two<?pi x?>three</e:a>",
    "line ends": "<e:a>one&#13;&#10;two&#13;three\nfour</e:a>",
    "white space in attributes": "<e:a b='&#9;&#10;&#13; x  y' c='&quot;&lt;&amp;&gt;&apos;'/>",
    "astral characters": "<e:a b='\U0001f600'>\U00010000\U0010fffd</e:a>",
    "the edges of what is allowed": "<e:a>\ud7ff\ue000\ufffd\x85\xa0\u2028</e:a>",
    "C1 controls": "<e:a>&#x80;&#x9f;&#x7f;</e:a>",
    "other scripts": "<e:a>äöü ß 中文 עברית e\u0301 \u00e9</e:a>",
    "names in other scripts": "<e:a><e:äöü éa='1'/></e:a>",
    "xml:base and xml:id": "<e:a xml:base='http://x/' xml:id='i'/>",
    "its language": "<e:a xml:lang='de-AT'>x<e:b xml:lang='fr'/></e:a>",
}


@pytest.mark.rfc("DP-01", "DP-02", "DP-03", "DP-05", "DP-06", "DP-08", "PF-20")
@pytest.mark.parametrize("content", VALUES.values(), ids=VALUES.keys())
def test_a_value_comes_back_as_the_same_infoset(file: AppDav, content: str) -> None:
    assert file.proppatch("/f", update(content)).status == 207

    for body in (NAMED, ALLPROP, INCLUDE):
        assert infoset(stored(file, body)) == infoset(sent(content))


@pytest.mark.rfc("DP-08")
def test_a_carriage_return_in_the_request_is_a_line_end(file: AppDav) -> None:
    """XML 1.0 section 2.11: only the reference is a carriage return."""
    file.proppatch("/f", update("<e:a>one\r\ntwo\rthree&#13;</e:a>"))

    assert stored(file).text == "one\ntwo\nthree\r"


@pytest.mark.spelling
@pytest.mark.rfc("DP-02")
@pytest.mark.parametrize(
    "content",
    [
        "<e:a>q:name</e:a>",
        "<e:a type='q:name'/>",
        "<e:a><e:b><e:c>x q:name y</e:c></e:b></e:a>",
        "<e:a><e:b path='/e:x/q:name'/></e:a>",
    ],
    ids=["text", "attribute", "deep", "path"],
)
def test_prefixes_that_only_content_uses_stay_bound(file: AppDav, content: str) -> None:
    """Section 4.3: "SHOULD preserve the prefix": a QName in content means nothing without it."""
    file.proppatch("/f", update(content))

    element = stored(file)
    users = [one for one in element.iter() if "q:" in (one.text or "") + str(one.attrib)]
    assert len(users) == 1
    assert users[0].nsmap["q"] == "urn:q"
    assert element.prefix == "e"


# -- xml:lang ----------------------------------------------------------------------------------

SCOPES = {
    "on the property": ({}, "<e:a xml:lang='en'>x</e:a>", "en"),
    "on prop": ({"prop": "xml:lang='en'"}, "<e:a>x</e:a>", "en"),
    "on set": ({"sets": "xml:lang='en'"}, "<e:a>x</e:a>", "en"),
    "on propertyupdate": ({"attributes": "xml:lang='en'"}, "<e:a>x</e:a>", "en"),
    "the nearest": ({"attributes": "xml:lang='de'", "prop": "xml:lang='en'"}, "<e:a/>", "en"),
    "its own wins": ({"prop": "xml:lang='de'"}, "<e:a xml:lang='en'/>", "en"),
    "taken back": ({"attributes": "xml:lang='de'", "prop": "xml:lang=''"}, "<e:a/>", None),
    "none": ({}, "<e:a/>", None),
}


@pytest.mark.rfc("DP-01", "DP-04")
@pytest.mark.parametrize("body", [NAMED, ALLPROP], ids=["named", "allprop"])
@pytest.mark.parametrize(("scope", "content", "expected"), SCOPES.values(), ids=SCOPES.keys())
def test_the_language_in_scope_is_kept(
    file: AppDav, scope: dict[str, str], content: str, expected: str | None, body: bytes
) -> None:
    file.proppatch("/f", update(content, **scope))

    assert stored(file, body).get(LANG) == expected


@pytest.mark.rfc("DP-04")
def test_a_language_stays_with_its_own_property(file: AppDav) -> None:
    body = update("<e:a xml:lang='de'>x</e:a><e:b>y</e:b>")
    file.proppatch("/f", body)

    found = file.propfind("/f").ok("/f")

    assert (found[A].get(LANG), found[f"{E}b"].get(LANG)) == ("de", None)


@pytest.mark.rfc("DP-04", "LP-02")
def test_a_display_name_keeps_its_language(file: AppDav) -> None:
    file.proppatch("/f", update("<D:displayname>Name</D:displayname>", prop="xml:lang='de'"))

    element = file.prop("/f", "{DAV:}displayname")

    assert (element.text, element.get(LANG)) == ("Name", "de")


# -- life --------------------------------------------------------------------------------------


@pytest.mark.rfc("DP-11")
def test_empty_is_not_missing(file: AppDav) -> None:
    assert file.prop("/f", A) is None

    file.proppatch("/f", update("<e:a/>"))
    empty = file.prop("/f", A)
    file.proppatch("/f", remove=[A])

    assert infoset(empty) == (A, {}, "", [])
    assert file.prop("/f", A) is None


@pytest.mark.rfc("DP-07")
def test_names_that_differ_in_case_or_namespace_are_others(file: AppDav) -> None:
    names = ["a", "A", "{urn:x}a", "{urn:X}a", "{urn:x/}a", "{dav:}a", "{DAV:}a"]
    for name in names:
        file.proppatch("/f", set={name: "old"})
        file.proppatch("/f", set={name: f"of {name}"})

    found = file.propfind("/f", props=names)["/f"][200]

    assert {name: element.text for name, element in found.items()} == {n: f"of {n}" for n in names}


@pytest.mark.rfc("DP-07")
def test_the_prefix_is_no_part_of_the_name(file: AppDav) -> None:
    file.proppatch("/f", update("<e:a>one</e:a>"))
    file.proppatch("/f", update("<other:a xmlns:other='http://example.org/ns'>two</other:a>"))

    assert stored(file).text == "two"
    assert stored(file, ALLPROP).text == "two"


VALUE = "<e:a xml:lang='de' q:x='q:y'> mixed <e:b>\U0001f600</e:b> &#13;</e:a>"


@pytest.mark.rfc("DP-10")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("exists", [False, True], ids=["new", "replaced"])
def test_values_go_along_unchanged(file: AppDav, method: str, exists: bool) -> None:
    for target in ("/c/", "/c/d/"):
        file.mkcol(target)
    file.put("/c/d/f", b"x")
    for target in ("/c/", "/c/d/", "/c/d/f"):
        file.proppatch(target, update(VALUE))
    if exists:
        file.mkcol("/n/")
        file.proppatch("/n/", set={f"{E}old": "x"})

    assert file.request(method, "/c/", {"Destination": "/n/"}).status == (204 if exists else 201)

    for target in ("/n/", "/n/d/", "/n/d/f"):
        assert infoset(stored(file, target=target)) == infoset(sent(VALUE))
        assert file.prop(target, f"{E}old") is None
    if method == "COPY":
        file.proppatch("/n/d/f", set={A: "other"})
        assert infoset(stored(file, target="/c/d/f")) == infoset(sent(VALUE))


@pytest.mark.rfc("DP-10")
@pytest.mark.parametrize("again", ["PUT", "MKCOL", "LOCK", "COPY", "MOVE"])
@pytest.mark.parametrize("gone", ["DELETE", "MOVE"])
def test_what_comes_later_at_the_url_inherits_nothing(file: AppDav, gone: str, again: str) -> None:
    file.put("/other", b"other")
    file.mkcol("/c/")
    file.put("/c/f", b"x")
    for target in ("/f", "/c/", "/c/f"):
        file.proppatch(target, set={A: "old", "{DAV:}displayname": "old"})
    for target in ("/f", "/c/"):
        away = {"Destination": f"/gone-{target.strip('/')}"}
        assert file.request(gone, target, away).status == (204 if gone == "DELETE" else 201)

    if again == "PUT":
        file.put("/f", b"new")
    elif again == "MKCOL":
        file.mkcol("/f")
    elif again == "LOCK":
        file.lock("/f")
    else:
        file.request(again, "/other", {"Destination": "/f"})
    file.mkcol("/c/")
    file.put("/c/f", b"new")

    for target in ("/f", "/c/", "/c/f"):
        assert file.prop(target, A) is None
        assert file.prop(target, "{DAV:}displayname").text == target.strip("/").split("/")[-1]


@pytest.mark.rfc("DP-10")
def test_new_content_keeps_the_properties(file: AppDav) -> None:
    file.proppatch("/f", update(VALUE))

    file.put("/f", b"new content")

    assert infoset(stored(file)) == infoset(sent(VALUE))
