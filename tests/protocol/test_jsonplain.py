"""What is told without a parser is what the parser would have told, to the byte."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol import jsonface
from davserver.protocol.jsonface import JsonFace
from davserver.protocol.jsonplain import plain_response
from davserver.protocol.lockxml import SUPPORTEDLOCK
from davserver.protocol.multistatus import MultiStatusWriter, PropStat, whole
from tests.conftest import AppDav

PLAIN = [
    pytest.param(b"<D:a/>", id="empty"),
    pytest.param(b"<D:a></D:a>", id="empty, with an end"),
    pytest.param(b"<D:a>text</D:a><D:b-c.d>1</D:b-c.d>", id="texts"),
    pytest.param('<D:a>&lt;b/&gt; &amp;lt; &#13;\n"\\ é 😀 \u2028</D:a>'.encode(), id="escaped"),
    pytest.param(b"<D:resourcetype><D:collection/></D:resourcetype>", id="an element"),
    pytest.param(b"<D:x><D:a/><D:b/></D:x>", id="two elements"),
    pytest.param(SUPPORTEDLOCK, id="supportedlock"),
    pytest.param(b'<ns0:a xmlns:ns0="u:x"/><a xmlns="u">1</a><D:a/>', id="other namespaces"),
    pytest.param(b'<x:a xmlns:x="u">text</x:a><b xmlns="u"/>', id="a prefix"),
    pytest.param(b'<x:a xmlns:x="DAV:">1</x:a>', id="another prefix of DAV:"),
    pytest.param(b"", id="nothing"),
]
NOT_PLAIN = [
    pytest.param(b"<a/>", id="no namespace"),
    pytest.param(b"<D:a xml:lang='en'>x</D:a>", id="an attribute"),
    pytest.param(b'<a xmlns="u" b="c"/>', id="another attribute"),
    pytest.param(b'<x:a xmlns:x="u">x:b</x:a>', id="a qualified name"),
    pytest.param(b"<D:a>x<D:b/></D:a>", id="mixed"),
    pytest.param(b"<D:a><D:a><D:b/></D:a></D:a>", id="nested"),
    pytest.param(b'<a xmlns="u"><b/></a>', id="an element of another namespace"),
    pytest.param("<D:é>1</D:é>".encode(), id="a name beyond ASCII"),
    pytest.param(b"<D:a>&quot;&#x41;</D:a>", id="another entity"),
    pytest.param(b'<a xmlns="u&amp;v"/>', id="a namespace that is escaped"),
    pytest.param(
        b'<x xmlns:D="DAV:"><D:response><D:href>/</D:href></D:response></x>', id="a response"
    ),
]


def response(*elements: bytes, status: int = 200) -> bytes:
    writer = MultiStatusWriter()
    writer.take()
    writer.propstats(b"/a%20b&amp", [PropStat(status, one) for one in elements])
    return writer.take()


def by_the_parser(xml: bytes) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonface, "plain_response", lambda _: None)
        return JsonFace(207).finish(xml)


@pytest.mark.parametrize("element", PLAIN)
def test_plain(element: bytes) -> None:
    one = response(element, b"<D:none/>")

    assert plain_response(one) is not None
    assert JsonFace(207).finish(whole(one)) == by_the_parser(whole(one))


@pytest.mark.parametrize("element", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_the_parser(element: bytes) -> None:
    one = response(element)
    xml = whole(one + response(b"<D:plain/>") + one)

    told = JsonFace(207).finish(xml)
    assert b"xmlns:D=" in one or plain_response(one) is None
    assert told == by_the_parser(xml)
    face = JsonFace(207)
    assert told == b"".join([face.feed(xml[i : i + 1]) for i in range(len(xml))]) + face.finish()


def test_statuses_and_conditions_are_left_to_the_parser() -> None:
    writer = MultiStatusWriter()
    writer.status(b"/a", 423, condition=b"lock-token-submitted", hrefs=[b"/a"])
    writer.propstats(b"/b", [PropStat(403, b"<D:a/>", b"cannot-modify-protected-property")])
    writer.propstats(b"/c", [PropStat(403, b"<D:a/>", None, "why")])
    writer.propstats(b"/d", [PropStat(403, b"<D:a/>")])
    xml = writer.finish("token")

    assert JsonFace(207).finish(xml) == by_the_parser(xml)


SAMPLES = st.sampled_from([case.values[0] for case in (*PLAIN, *NOT_PLAIN)])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(SAMPLES, min_size=1, max_size=3), max_size=4), st.integers(1, 200))
def test_any_mixture_is_told_as_the_parser_does(propstats: list[list[bytes]], step: int) -> None:
    xml = whole(b"".join([response(*each) for each in propstats]))
    face = JsonFace(207)
    pieces = [face.feed(xml[at : at + step]) for at in range(0, len(xml), step)]

    assert by_the_parser(xml) == b"".join(pieces) + face.finish()


def test_a_listing_is_plain(dav: AppDav, monkeypatch: pytest.MonkeyPatch) -> None:
    dav.mkcol("/c/")
    dav.mkcol("/c/d/")
    dav.put("/c/a & b", b"x")
    asked = '<propfind xmlns="DAV:"><prop><getetag/><none/><x xmlns="u"/></prop></propfind>'
    for body in (b"", asked.encode()):
        xml = dav.request("PROPFIND", "/c/", {"Depth": "1"}, body).body
        found: list[str | None] = []

        def note(one: bytes, found: list[str | None] = found) -> str | None:
            found.append(plain_response(one))
            return found[-1]

        monkeypatch.setattr(jsonface, "plain_response", note)
        JsonFace(207).finish(xml)

        assert len(found) == 3
        assert None not in found


@pytest.mark.security("S-08")
@pytest.mark.parametrize(
    "element",
    [
        pytest.param(b"<D:a/>" * 20_000, id="elements"),
        pytest.param(b"<D:a>" + b"&amp;" * 20_000 + b"</D:a>", id="entities"),
        pytest.param(b"<D:a>" + b"<D:b/>" * 20_000 + b"</D:x>", id="inner elements"),
        pytest.param(b"<D:" + b"a" * 100_000 + b"/>", id="a long name"),
        pytest.param(b'<a xmlns="' + b"u" * 100_000 + b'"/>', id="a long namespace"),
        pytest.param(b"<D:a" * 20_000, id="no end"),
    ],
)
def test_it_takes_linear_time(element: bytes) -> None:
    begun = time.process_time()
    plain_response(response(element))

    assert time.process_time() - begun < 1
