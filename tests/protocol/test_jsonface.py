"""What is told in XML and what is told in JSON are the same."""

from __future__ import annotations

import json
import time
from typing import Any
from xml.parsers.expat import ExpatError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.jsonbody import proppatch_xml
from davserver.protocol.jsonface import JsonFace, as_json, encode_refusal
from davserver.protocol.multistatus import MultiStatusWriter, PropStat, error_body
from davserver.protocol.xmlread import parse_proppatch
from tests.support.faces import compare, read_json


def properties(*elements: bytes) -> Any:
    """Returns the JSON of the properties of one resource."""
    writer = MultiStatusWriter()
    writer.propstats(b"/a", [PropStat(200, b"".join(elements))])
    xml = writer.finish()
    body = as_json(xml, 207)
    compare(xml, body)
    ((propstat,),) = [result["propstat"] for result in json.loads(body)["results"]]
    return propstat["properties"]


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        pytest.param(b"<D:a/>", {"DAV:": {"a": None}}, id="empty"),
        pytest.param(b"<D:a>t &lt;&amp;&#13;\n</D:a>", {"DAV:": {"a": "t <&\r\n"}}, id="text"),
        pytest.param(b"<a> </a>", {"": {"a": " "}}, id="a blank, in no namespace"),
        pytest.param(b'<x:a xmlns:x="u:x">1</x:a>', {"u:x": {"a": "1"}}, id="another namespace"),
        pytest.param(
            b"<D:resourcetype><D:collection/></D:resourcetype>",
            {"DAV:": {"resourcetype": {"content": [{"namespace": "DAV:", "name": "collection"}]}}},
            id="an element",
        ),
        pytest.param(
            b'<a xmlns="u" xml:lang="de">x</a>',
            {"u": {"a": {"lang": "de", "content": "x"}}},
            id="lang",
        ),
        pytest.param(
            b'<a xmlns="u" xmlns:p="v" p:k="1" k="2"/>',
            {
                "u": {
                    "a": {
                        "attributes": [
                            {"namespace": "v", "name": "k", "value": "1"},
                            {"namespace": "", "name": "k", "value": "2"},
                        ]
                    }
                }
            },
            id="attributes",
        ),
        pytest.param(
            b'<a xmlns="u" xmlns:p="v" xmlns:q="w">p:x <b>q:y</b> q</a>',
            {
                "u": {
                    "a": {
                        "namespaces": {"p": "v"},
                        "content": [
                            "p:x ",
                            {
                                "namespace": "u",
                                "name": "b",
                                "namespaces": {"q": "w"},
                                "content": "q:y",
                            },
                            " q",
                        ],
                    }
                }
            },
            id="prefixes that the text uses",
        ),
        pytest.param(b'<a xmlns="u">D:x</a>', {"u": {"a": "D:x"}}, id="the prefix of the answer"),
    ],
)
def test_values(element: bytes, expected: Any) -> None:
    assert expected == properties(element)


def test_properties_are_kept_apart_by_namespace() -> None:
    found = properties(b"<D:a>1</D:a>", b"<a>2</a>", b'<a xmlns="u">3</a>', b"<D:b>4</D:b>")

    assert found == {"DAV:": {"a": "1", "b": "4"}, "": {"a": "2"}, "u": {"a": "3"}}


@pytest.fixture(scope="module")
def multistatus() -> bytes:
    writer = MultiStatusWriter()
    writer.propstats(
        b"/a%20%26b",
        [
            PropStat(200, b'<D:getetag>"\xc3\xa9"</D:getetag>'),
            PropStat(403, b"<D:b/>", b"cannot-modify-protected-property", "it is <protected>"),
            PropStat(424, b"<D:c/><c/>"),
        ],
    )
    writer.status(b"/c", 423, condition=b"lock-token-submitted", hrefs=(b"/c", b"/d"))
    writer.status(b"/e", 302, location=b"/f")
    return writer.finish("urn:token")


def test_a_multistatus_has_all_facts(multistatus: bytes) -> None:
    body = as_json(multistatus, 207)

    compare(multistatus, body)
    first, locked, moved = read_json(body)["results"]
    assert [one["status"] for one in first["propstat"]] == [200, 403, 424]
    assert first["propstat"][1] == {
        "status": 403,
        "message": "Forbidden",
        "properties": {"DAV:": {"b": None}},
        "error": {"DAV:": {"cannot-modify-protected-property": None}},
        "description": "it is <protected>",
    }
    assert (locked["href"], locked["status"], locked["message"]) == ("/c", 423, "Locked")
    assert moved == {"href": "/e", "status": 302, "message": "Found", "location": "/f"}
    assert read_json(body)["sync-token"] == "urn:token"


def test_pieces_of_any_length_give_the_same(multistatus: bytes) -> None:
    face = JsonFace(207)
    parts = [face.feed(multistatus[i : i + 1]) for i in range(len(multistatus))]

    assert as_json(multistatus, 207) == b"".join(parts) + face.finish()


def test_a_response_is_ready_when_it_has_ended(multistatus: bytes) -> None:
    end = multistatus.index(b"</D:response>") + len(b"</D:response>")
    told = JsonFace(207).feed(multistatus[: end + 40]).decode()

    assert len(json.loads(told + "]}")["results"]) == 1


def test_a_long_value_takes_no_longer_than_its_length() -> None:
    begun = time.process_time()
    found = properties(b'<p:a xmlns:p="u:p">' + 100_000 * b"x" + b" p:b</p:a>")

    assert time.process_time() - begun < 1
    assert found["u:p"]["a"]["namespaces"] == {"p": "u:p"}


def test_a_document_that_breaks_off_has_no_end(multistatus: bytes) -> None:
    with pytest.raises(ExpatError):
        as_json(multistatus[:-5], 207)


def test_nothing_in_a_multistatus() -> None:
    body = as_json(MultiStatusWriter().finish(), 207)

    assert read_json(body) == {"results": []}


def test_refusals() -> None:
    xml = error_body(b"no-conflicting-lock", (b"/a",))
    body = as_json(xml, 423)

    compare(xml, body)
    assert read_json(body)["status"] == 423
    assert read_json(encode_refusal(404, "no 'ü'")) == {
        "status": 404,
        "message": "Not Found",
        "description": "no 'ü'",
    }
    assert read_json(encode_refusal(404)) == {"status": 404, "message": "Not Found"}


TEXT = st.text("ab é日😀\u0085\u2028\t\n\r&<>\"':;]-", max_size=8)
NAMES = st.sampled_from(["a", "b-c", "_d.e", "é", "href"])
NAMESPACES = st.sampled_from(["", "DAV:", "u:x", "urn:a&b'", "http://example.org/ns"])


def elements(content: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    carried: dict[str, st.SearchStrategy[Any]] = {
        "lang": st.sampled_from(["en", "de-CH"]),
        "content": content,
        "attributes": st.lists(
            st.fixed_dictionaries({"namespace": NAMESPACES, "name": NAMES, "value": TEXT}),
            min_size=1,
            max_size=3,
            unique_by=lambda one: (one["namespace"], one["name"]),
        ),
    }
    named = {"namespace": NAMESPACES, "name": NAMES}
    return st.fixed_dictionaries(named, optional=carried)


def pieces(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # Text beside text is one text.
    return st.tuples(elements(children), TEXT.filter(bool)).map(list)


CONTENT = st.recursive(TEXT.filter(bool), pieces, max_leaves=6)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMESPACES, st.dictionaries(NAMES, elements(CONTENT), min_size=1)))
def test_what_is_set_in_json_is_told_in_json(values: dict[str, dict[str, Any]]) -> None:
    for names in values.values():
        for value in names.values():
            del value["namespace"], value["name"]
    body = json.dumps({"update": [{"set": values}]}).encode()
    stored = [change.value for change in parse_proppatch(proppatch_xml(body))]
    told = properties(*[value for value in stored if value is not None])

    assert {ns: {k: simple(v) for k, v in names.items()} for ns, names in values.items()} == told


def simple(value: dict[str, Any]) -> Any:
    """A value that carries nothing, or a text alone, is written so."""
    if not value:
        return None
    if value.keys() == {"content"} and isinstance(value["content"], str):
        return value["content"]
    return value
