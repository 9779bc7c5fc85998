"""Access lines: one a request, whatever it holds; whole lines, soon."""

from __future__ import annotations

import asyncio
import io

from davserver.accesslog import ATOMIC, BUFFER_LIMIT, AccessLog
from davserver.jsonlog import Access


def written(*arguments: object) -> bytes:
    stream = io.BytesIO()
    log = AccessLog(stream, clock=lambda: 0.5)
    log.line(Access(*arguments))  # type: ignore[arg-type]
    log.close()
    return stream.getvalue()


def test_a_line_has_time_peer_who_method_href_status_size_and_milliseconds() -> None:
    line = written("PUT", b"/a%20b", 201, 7, 0.00314, "ann", "192.0.2.7")

    assert line == b"1970-01-01T00:00:00Z 192.0.2.7 ann PUT /a%20b 201 7 3.1ms\n"


def test_the_anonymous_principal_is_a_dash_and_the_litmus_test_is_quoted() -> None:
    line = written("GET", b"/", 200, 0, 0.0, "", "-", b"basic: 5 (put_get)")

    assert line.endswith(b' - - GET / 200 0 0.0ms "basic: 5 (put_get)"\n')


def test_nothing_that_a_client_sends_begins_a_line_or_a_field_of_its_own() -> None:
    line = written("G\nT", b"/\r\n\x1b[31m \xff\\", 400, 0, 0.0, 'a "b', "p", b'x"\ny')

    assert line.count(b"\n") == 1
    assert line.split(b" ")[2:5] == [
        rb"a\x20\x22b",
        rb"G\x0aT",
        rb"/\x0d\x0a\x1b[31m\x20\xff\x5c",
    ]
    assert line.endswith(b'"x\\x22\\x0ay"\n')


def test_lines_wait_in_the_buffer_until_it_is_full() -> None:
    stream = io.BytesIO()
    log = AccessLog(stream)
    log.line(Access("GET", b"/", 200, 0, 0.0, "", "p"))
    waiting = stream.getvalue()
    for _ in range(BUFFER_LIMIT // 40):
        log.line(Access("GET", b"/", 200, 0, 0.0, "", "p"))

    assert waiting == b""
    assert stream.getvalue().endswith(b"\n")


def test_lines_are_written_soon_where_a_loop_runs() -> None:
    stream = io.BytesIO()

    async def serve() -> None:
        AccessLog(stream).line(Access("GET", b"/", 200, 0, 0.0, "", "p"))
        for _ in range(100):
            await asyncio.sleep(0.02)
            if stream.getvalue():
                return

    asyncio.run(serve())

    assert stream.getvalue().endswith(b"0.0ms\n")


def test_a_line_tells_when_the_request_was_and_not_when_it_was_written() -> None:
    stream = io.BytesIO()
    times = iter([1.0, 2.5, 3_600.0])
    log = AccessLog(stream, clock=lambda: next(times))
    for _ in range(3):
        log.line(Access("GET", b"/", 200, 0, 0.0, "", "p"))
    log.close()

    assert [line[11:20] for line in stream.getvalue().splitlines()] == [
        b"00:00:01Z",
        b"00:00:02Z",
        b"01:00:00Z",
    ]


class Pieces(io.BytesIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.sizes.append(len(data))
        assert data.endswith(b"\n")
        return super().write(data)


def test_whole_lines_are_written_in_pieces_that_a_pipe_takes_at_once() -> None:
    stream = Pieces()
    log = AccessLog(stream)
    for _ in range(300):
        log.line(Access("GET", b"/", 200, 0, 0.0, "", "p"))
    log.flush()

    assert len(stream.sizes) > 1
    assert max(stream.sizes) <= ATOMIC


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    stream = io.BytesIO()
    log = AccessLog(stream)
    log.line(Access("GET", b"/", 200, 0, 0.0, "", "p"))
    stream.close()

    log.flush()
