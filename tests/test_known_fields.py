"""Header fields that were read once are known by their bytes: what comes of it is the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.wire.edge import Edge
from davserver.wire.requesthead import without_usual, without_varying
from tests.support.edge import EdgeInProcess, Seen

HOST = b"Host: x\r\n"


@pytest.fixture(scope="module")
def edge() -> Iterator[EdgeInProcess]:
    edge = EdgeInProcess(header_count=10)
    yield edge
    edge.close()


def known(edge: EdgeInProcess) -> Edge:
    return edge._edge


def statuses(written: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", written)


def ask(edge: EdgeInProcess, *heads: bytes) -> tuple[list[Seen], list[bytes]]:
    seen, written = edge.exchange([head + b"\r\n" for head in heads])
    return seen, statuses(written)


def test_the_second_request_is_read_as_the_first(edge: EdgeInProcess) -> None:
    head = b"GET /%b HTTP/1.1\r\n" + HOST + b"X: 1\r\n"
    heads = [head % b"a", head % b"b", head % b"b?c", head.replace(b"GET", b"HEAD") % b"d"]
    seen, answers = ask(edge, *heads)

    assert [one[0] for one in seen] == ["GET", "GET", "GET", "HEAD"]
    assert [one[1] for one in seen] == [b"/a", b"/b", b"/b", b"/d"]
    assert answers == [b"200"] * 4


def test_bodies_of_known_requests_come_through(edge: EdgeInProcess) -> None:
    sized = b"PUT /a HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n%b"
    chunked = (
        b"PUT /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n%b\r\n0\r\n\r\n"
    )
    bodies = [b"abc", b"def", b"ghi"]
    seen, _ = edge.exchange([sized % body for body in bodies])
    short, _ = edge.exchange([chunked % body[:2] for body in bodies])

    assert [one[2] for one in seen] == bodies
    assert [one[2] for one in short] == [body[:2] for body in bodies]


def test_pipelined_requests_are_answered_in_order(edge: EdgeInProcess) -> None:
    heads = [b"GET /%d HTTP/1.1\r\n%b\r\n" % (number, HOST) for number in range(2000)]
    seen, written = edge.exchange([b"".join(heads)])

    assert [one[1] for one in seen] == [b"/%d" % number for number in range(2000)]
    assert statuses(written) == [b"200"] * 2000


def test_an_unknown_method_with_known_fields_is_501(edge: EdgeInProcess) -> None:
    plain = b"GET / HTTP/1.1\r\n" + HOST
    _, answers = ask(edge, plain, plain, b"BREW / HTTP/1.1\r\n" + HOST)

    assert answers == [b"200", b"200", b"501"]


@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION"])
def test_credentials_are_of_their_own_request_and_not_remembered(
    edge: EdgeInProcess, name: bytes
) -> None:
    got: list[bytes | None] = []
    application = edge._config.loaded_app

    async def noting(scope, receive, send):
        got.append(dict(scope["headers"]).get(b"authorization"))
        await application(scope, receive, send)

    edge._config.loaded_app = noting
    head = b"GET / HTTP/1.1\r\n" + HOST + name + b": Basic %b\r\nX: 2\r\n"
    try:
        plain = b"GET / HTTP/1.1\r\nHost: x\r\nX: 2\r\n"
        ask(edge, head % b"c2VjcmV0", head % b"YQ==", head % b"b3RoZXI=", plain)
    finally:
        edge._config.loaded_app = application

    assert got == [b"Basic c2VjcmV0", b"Basic YQ==", b"Basic b3RoZXI=", None]
    assert b"c2VjcmV0" not in repr(known(edge).known).encode()


def test_what_is_another_each_time_is_one_block(edge: EdgeInProcess) -> None:
    before = len(known(edge).known)
    for number in range(5):
        fields = b"Range: bytes=%d-\r\nIf: (<urn:uuid:%d>)\r\nLock-Token: <urn:uuid:%d>\r\n"
        ask(edge, b"GET / HTTP/1.1\r\n" + HOST + b"Y: 1\r\n" + fields % (number, number, number))
    blocks = list(known(edge).known)

    assert len(blocks) == before + 1
    assert b"Range" not in blocks[-1]


def test_what_is_sent_once_is_not_remembered(edge: EdgeInProcess) -> None:
    before = dict(known(edge).known)
    for number in range(100):
        ask(edge, b"GET / HTTP/1.1\r\n" + HOST + b"Once: %d\r\n" % number)

    assert known(edge).known == before


def test_two_fields_of_one_name_both_arrive_in_order(edge: EdgeInProcess) -> None:
    got: list[list[bytes]] = []
    application = edge._config.loaded_app

    async def noting(scope, receive, send):
        got.append([value for name, value in scope["headers"] if name == b"if"])
        await application(scope, receive, send)

    edge._config.loaded_app = noting
    head = b"GET / HTTP/1.1\r\n" + HOST + b"If: (<a:1>)\r\nZ: 1\r\nIf: (<b:2>)\r\n"
    try:
        ask(edge, head, head, head)
    finally:
        edge._config.loaded_app = application

    assert got == [[b"(<a:1>)", b"(<b:2>)"]] * 3


def test_credentials_count_among_the_fields(edge: EdgeInProcess) -> None:
    fields = HOST + b"".join(b"X-%d: 1\r\n" % number for number in range(9))
    head = b"GET / HTTP/1.1\r\n" + fields
    _, answers = ask(edge, head, head, head + b"Authorization: Basic YQ==\r\n")

    assert answers == [b"200", b"200", b"431"]


def test_what_is_remembered_has_a_limit(edge: EdgeInProcess) -> None:
    for number in range(1500):
        head = b"GET / HTTP/1.1\r\n" + HOST + b"X: %d\r\n" % number
        ask(edge, head, head)
    head = b"GET / HTTP/1.1\r\n" + HOST + b"X: %b\r\n" % (b"y" * 4000)
    ask(edge, head, head)
    sizes = [len(fields) for fields in known(edge).known]

    assert len(sizes) <= 512
    assert max(sizes) <= 2048


@given(
    line=st.sampled_from([b"GET / HTTP/1.1", b"PUT /a%20b?c HTTP/1.1", b"GET /\xe4 HTTP/1.1"]),
    fields=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *(b"X-A", b"Authorization", b"Range", b"Connection", b"Upgrade", b"Expect"),
                    *(b"Host", b"If", b"if", b"Lock-Token", b"If-Match", b"Range "),
                ]
            ),
            st.one_of(
                st.sampled_from([b"close", b"100-continue", b"h2c", b"Basic YQ==", b"keep-alive"]),
                st.binary(max_size=8),
            ),
        ),
        max_size=4,
    ),
)
def test_a_known_head_is_answered_as_an_unknown_one(
    line: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    head = line + b"\r\n" + HOST + b"".join(b"%b: %b\r\n" % field for field in fields)
    edge = EdgeInProcess()
    try:
        first, second, third = (edge.exchange([head + b"\r\n"]) for _ in range(3))
    finally:
        edge.close()

    assert first == second == third


@given(
    fields=st.lists(
        st.sampled_from(
            [
                *(b"Range: bytes=0-1", b"range: bytes=0-1", b"Range:bytes=0-1", b"Range: "),
                *(b"Range:  bytes=0-1", b"Range: bytes=0-1 ", b"Range: \xff", b"If: (<urn:x>)"),
                *(b"If: x\ty", b"Lock-Token: <urn:x>", b"lock-token: <urn:x>", b"X-If: 1", b"X: 1"),
                *(b"Authorization: Basic eDp5", b"Cookie: a=b", b"X: Range: 1", b" Range: 1"),
            ]
        ),
        max_size=6,
    )
)
def test_what_varies_is_cut_out_the_quick_way_or_not_at_all(fields: list[bytes]) -> None:
    block = b"".join(b"\r\n" + field for field in [b"Host: x", *fields]) + b"\r\n\r\n"
    usual, quick = without_varying(block), without_usual(block)

    if quick is None or without_varying(quick[0]) != (quick[0], []):
        return  # what is left is never known: it holds some yet
    assert usual is not None
    assert quick[0] == usual[0]
    assert sorted(quick[1]) == sorted(usual[1])


def forget(edge: EdgeInProcess) -> None:
    known(edge).known.clear()
    known(edge)._seen_once.clear()


def test_bodies_of_any_length_have_one_block(edge: EdgeInProcess) -> None:
    forget(edge)
    heads = [
        b"PUT /%d HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (size, HOST, size, b"x" * size)
        for size in (5, 0, 70_000, 1, 3)
    ]
    seen, written = edge.exchange(heads)

    assert [len(one[2]) for one in seen] == [5, 0, 70_000, 1, 3]
    assert all(one[3] for one in seen)
    assert statuses(written) == [b"200"] * 5
    assert [b"ength" in block for block in known(edge).known] == [False]


@given(
    messages=st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(
                    [
                        *(b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: 4"),
                        *(b"content-length: 3", b"Content-Length:3", b"Content-Length: +3"),
                        *(b"Content-Length: 3, 3", b"Content-Length: 03", b"Content-Length : 3"),
                        *(b"X: a\nContent-Length: 3", b"X: a\rContent-Length: 3", b"X: 1"),
                        *(b" Content-Length: 3", b"Content-Length: 99999999999999999999"),
                        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
                        *(b"Connection: close", b"Content-Length: 3 ", b"Content-Length: 35"),
                    ]
                ),
                max_size=2,
            ),
            st.sampled_from(
                [
                    *(b"", b"abc", b"abcd", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
                    b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
                ]
            ),
        ),
        min_size=1,
        max_size=5,
    ),
    has_quick_way=st.booleans(),
    cut=st.integers(0, 80),
)
def test_where_a_message_ends_does_not_depend_on_what_is_known(
    edge: EdgeInProcess,
    messages: list[tuple[list[bytes], bytes]],
    has_quick_way: bool,
    cut: int,
) -> None:
    pieces = [
        b"\r\n".join([b"PUT /f HTTP/1.1", b"Host: x", *fields, b"", body])
        for fields, body in messages
    ]
    forget(edge)
    known(edge).at_once = (lambda *_: None) if has_quick_way else None
    remembering = [
        edge.exchange([part for part in (piece[:-cut], piece[-cut:]) if part])
        for piece in pieces * 3
    ]
    known(edge).at_once = None
    anew = []
    for piece in pieces * 3:
        forget(edge)
        anew.append(edge.exchange([piece]))

    assert [(seen, statuses(written)) for seen, written in remembering] == [
        (seen, statuses(written)) for seen, written in anew
    ]
