from __future__ import annotations

import json
import time
from typing import Any

import pytest

from davserver.errors import BadRequest, ContentTooLarge, DavError
from davserver.protocol.jsonbody import propfind_xml, proppatch_xml
from davserver.protocol.names import PropertyChange
from davserver.protocol.xmlread import (
    PropfindKind,
    PropfindRequest,
    parse_propfind,
    parse_proppatch,
)
from tests.support.faces import validator


def read_propfind(body: Any) -> PropfindRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_propfind(propfind_xml(raw), charset="utf-16")


def read_proppatch(body: Any) -> list[PropertyChange]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_proppatch(proppatch_xml(raw), charset="utf-16")


def set_value(value: Any) -> bytes | None:
    (change,) = read_proppatch({"update": [{"set": {"u": {"a": value}}}]})
    return change.value


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"prop": {"DAV:": ["getetag"], "u:x": ["a", "b"], "": ["c"]}},
            PropfindRequest(PropfindKind.PROP, ("{DAV:}getetag", "{u:x}a", "{u:x}b", "c")),
            id="prop",
        ),
        pytest.param(
            {"prop": {"DAV:": {"getetag": '"x"', "a": None}}},
            PropfindRequest(PropfindKind.PROP, ("{DAV:}getetag", "{DAV:}a")),
            id="values do not matter",
        ),
        pytest.param({"prop": {}}, PropfindRequest(PropfindKind.PROP), id="no names"),
        pytest.param({"propname": True}, PropfindRequest(PropfindKind.PROPNAME), id="propname"),
        pytest.param({"allprop": True}, PropfindRequest(PropfindKind.ALLPROP), id="allprop"),
        pytest.param(
            {"allprop": True, "include": {"u": ["a"]}, "propname": False},
            PropfindRequest(PropfindKind.ALLPROP, ("{u}a",)),
            id="include",
        ),
        pytest.param(
            b'\xef\xbb\xbf{"propname": true}', PropfindRequest(PropfindKind.PROPNAME), id="BOM"
        ),
        pytest.param(
            {"propname": True, "other": 1}, PropfindRequest(PropfindKind.PROPNAME), id="unknown"
        ),
    ],
)
def test_propfind(body: Any, expected: PropfindRequest) -> None:
    if not isinstance(body, bytes):
        validator("propfind").validate(body)

    assert expected == read_propfind(body)


def test_instructions_keep_their_order() -> None:
    body = {
        "update": [
            {"set": {"u": {"a": "1"}}},
            {"remove": {"u": ["a"], "DAV:": {"displayname": None}}},
            {"set": {"u": {"a": {"content": "2"}}}},
        ]
    }
    validator("propertyupdate").validate(body)

    assert read_proppatch(body) == [
        ("{u}a", b'<a xmlns="u">1</a>'),
        ("{u}a", None),
        ("{DAV:}displayname", None),
        ("{u}a", b'<a xmlns="u">2</a>'),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, b'<a xmlns="u"/>', id="null"),
        pytest.param("", b'<a xmlns="u"/>', id="empty text"),
        pytest.param({}, b'<a xmlns="u"/>', id="carries nothing"),
        pytest.param({"content": []}, b'<a xmlns="u"/>', id="no content"),
        pytest.param("<b/>&\r", b'<a xmlns="u">&lt;b/&gt;&amp;&#13;</a>', id="text is no markup"),
        pytest.param({"lang": 'e"n'}, b'<a xmlns="u" xml:lang="e&quot;n"/>', id="lang"),
        pytest.param(
            {"attributes": [{"name": "k", "value": "\n<"}]},
            b'<a xmlns="u" k="&#10;&lt;"/>',
            id="attribute",
        ),
        pytest.param(
            {
                "namespaces": {"ns0": "v"},
                "content": "ns0:x",
                "attributes": [{"namespace": "w", "name": "k", "value": "1"}],
            },
            b'<a xmlns="u" xmlns:ns0_="w" xmlns:ns0="v" ns0_:k="1">ns0:x</a>',
            id="prefixes do not meet",
        ),
        pytest.param(
            {"content": ["x", {"namespace": "u", "name": "b", "content": ["y"]}, "z"]},
            b'<a xmlns="u">x<b>y</b>z</a>',
            id="mixed",
        ),
    ],
)
def test_values(value: Any, expected: bytes) -> None:
    validator("value").validate(value)

    assert expected == set_value(value)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [{"namespace": "u", "name": "b", "content": value}]
    return {"content": value}


BAD: list[Any] = [
    pytest.param(b"", id="bad: empty"),
    pytest.param(b"{", id="bad: unfinished"),
    pytest.param(b'{"a":1,"a":2}', id="bad: a name twice"),
    pytest.param(b"\xff", id="bad: not UTF-8"),
    pytest.param('{"prop":{}}'.encode("utf-16"), id="bad: UTF-16"),
    pytest.param(b'{"prop": NaN}', id="bad: NaN"),
    pytest.param(b'{"prop": ' + b"1" * 5000 + b"}", id="bad: an endless number"),
    pytest.param(b"[" * 100_000, id="bad: nested beyond reason"),
    pytest.param(b"[]", id="bad: a list"),
    pytest.param(b"{}", id="bad: asks for nothing"),
    pytest.param({"prop": ["getetag"]}, id="bad: names without a namespace"),
    pytest.param({"prop": {"DAV:": "getetag"}}, id="bad: names as text"),
    pytest.param({"prop": {"DAV:": [1]}}, id="bad: a number as a name"),
    pytest.param({"prop": {"DAV:": ["a b"]}}, id="bad: a blank in a name"),
    pytest.param({"prop": {"DAV:": ["a:b"]}}, id="bad: a prefix in a name"),
    pytest.param({"prop": {"DAV:": ["!--"]}}, id="bad: a comment as a name"),
    pytest.param({"prop": {"DAV:": ["a/><b"]}}, id="bad: markup in a name"),
    pytest.param({"prop": {"DAV:": ["×"]}}, id="bad: a character that no name has"),
    pytest.param({"prop": {"DAV:": ["\ud800"]}}, id="bad: half a character in a name"),
    pytest.param({"prop": {"a\x01": ["a"]}}, id="bad: a control character in a namespace"),
    pytest.param({"prop": {}, "propname": True}, id="bad: two things at once"),
    pytest.param({"propname": 1}, id="bad: a number for true"),
]  # fmt: skip


@pytest.mark.parametrize("body", BAD)
def test_a_malformed_propfind_is_400(body: Any) -> None:
    with pytest.raises(BadRequest):
        read_propfind(body)


@pytest.mark.parametrize(
    "body",
    [
        *BAD,
        pytest.param({"update": []}, id="bad: no instruction"),
        pytest.param({"update": {"set": {}}}, id="bad: no list"),
        pytest.param({"update": [1]}, id="bad: no object"),
        pytest.param({"update": [{}]}, id="bad: neither"),
        pytest.param({"update": [{"set": {}, "remove": {}}]}, id="bad: both"),
        pytest.param({"update": [{"set": []}]}, id="bad: properties as a list"),
    ],
)
def test_a_malformed_proppatch_is_400(body: Any) -> None:
    with pytest.raises(BadRequest):
        read_proppatch(body)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1, id="bad: a number"),
        pytest.param(True, id="bad: true"),
        pytest.param(["x"], id="ok: a list is content"),
        pytest.param("\ud800", id="bad: half a character"),
        pytest.param("\0", id="bad: NUL"),
        pytest.param({"content": [1]}, id="bad: a number as content"),
        pytest.param({"content": [{"name": "b"}]}, id="bad: an element without a namespace"),
        pytest.param({"content": [{"namespace": "u"}]}, id="bad: an element without a name"),
        pytest.param({"lang": 1}, id="bad: lang"),
        pytest.param({"attributes": {}}, id="bad: attributes"),
        pytest.param({"attributes": [{"name": "xmlns", "value": "v"}]}, id="bad: xmlns"),
        pytest.param({"attributes": [{"name": "k"}]}, id="bad: an attribute without a value"),
        pytest.param({"attributes": [{"name": "k", "value": "1"}] * 2}, id="bad: twice"),
        pytest.param({"namespaces": {"p": ""}}, id="bad: a prefix of no namespace"),
        pytest.param({"namespaces": {"xmlns": "u"}}, id="bad: the prefix xmlns"),
        pytest.param({"namespaces": {"p=": "u"}}, id="bad: no prefix"),
        pytest.param(nested(200), id="bad: too deep"),
    ],
)
def test_a_malformed_value_is_400(value: Any, request: pytest.FixtureRequest) -> None:
    if "ok" in request.node.callspec.id:
        assert set_value(value) == b'<a xmlns="u">x</a>'
        return
    with pytest.raises(BadRequest):
        set_value(value)


@pytest.mark.security("X-03")
@pytest.mark.parametrize(
    "names",
    [
        pytest.param({"u" * 500_000: [f"a{n}" for n in range(50_000)]}, id="a long namespace"),
        pytest.param({"u": [f"a{n}" for n in range(50_000)]}, id="many names"),
        pytest.param({f"u:{n}": ["a"] for n in range(50_000)}, id="many namespaces"),
    ],
)
def test_limits_are_those_of_xml(names: Any) -> None:
    begun = time.process_time()
    with pytest.raises(ContentTooLarge):
        read_propfind({"prop": names})
    with pytest.raises(DavError):
        read_proppatch({"update": [{"remove": names}]})

    assert time.process_time() - begun < 5
