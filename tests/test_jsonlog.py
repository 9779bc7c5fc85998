"""Logs as JSON: one object a line, whatever is in it; requests and log records alike."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from davserver.accesslog import ATOMIC, AccessLog
from davserver.jsonlog import Access, JsonFormatter
from tests.conftest import AppDav
from tests.support.server import Server

PLAIN = Access("GET", b"/a", 200, 4, 0.00314, "ann", "192.0.2.7")


def written(*entries: Access) -> bytes:
    stream = io.BytesIO()
    log = AccessLog(stream, form="json", clock=lambda: 0.25)
    for entry in entries:
        log.line(entry)
    log.close()
    return stream.getvalue()


def read_one(entry: Access) -> dict[str, Any]:
    line = written(entry)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.isascii()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def formatted(record: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def record(message: str, *arguments: object, **keys: Any) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "davserver.app", "levelname": "ERROR", "msg": message, "args": arguments} | keys
    )


def test_a_request_is_an_object_with_all_that_the_text_has() -> None:
    assert read_one(PLAIN) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "davserver.access",
        "client": "192.0.2.7",
        "principal": "ann",
        "method": "GET",
        "target": "/a",
        "status": 200,
        "bytes": 4,
        "ms": 3.1,
    }


def test_the_anonymous_principal_is_null() -> None:
    assert read_one(PLAIN._replace(principal=""))["principal"] is None


def test_request_id_user_agent_and_litmus_are_there_when_they_were_sent() -> None:
    entry = read_one(PLAIN._replace(litmus=b"basic: 5", request_id=b"f0-1", agent=b"cadaver/0.24"))

    assert entry["x_litmus"] == "basic: 5"
    assert entry["request_id"] == "f0-1"
    assert entry["user_agent"] == "cadaver/0.24"


def test_bytes_of_no_utf8_and_surrogates_are_written_out() -> None:
    entry = read_one(PLAIN._replace(href=b"/\xff\xc3\xa9", principal="a\udc80"))

    assert entry["target"] == "/\\xffé"
    assert entry["principal"] == "a\\udc80"


@settings(max_examples=200, deadline=None)
@given(href=st.binary(max_size=60), agent=st.binary(max_size=60), who=st.text(max_size=20))
@example(href=b'"}\n{"status": 200', agent=b"\r\n\x00\x7f\x1b[31m", who="\u2028\u0085")
@example(href=b"\\" * 60, agent=b'\\"', who='"')
def test_nothing_that_a_client_sends_ends_a_line_or_a_string(
    href: bytes, agent: bytes, who: str
) -> None:
    entry = read_one(PLAIN._replace(href=href, agent=agent, principal=who))

    assert entry["target"] == href.decode("utf-8", "backslashreplace")
    assert entry["user_agent"] == agent.decode("utf-8", "backslashreplace")
    assert entry["status"] == 200


@pytest.mark.parametrize("byte", [b"a", b"\xff", b"\\", b"\x00", "é".encode()])
def test_the_longest_line_goes_to_a_pipe_in_one_piece(byte: bytes) -> None:
    long = byte * 70_000
    hostile = PLAIN._replace(
        href=long,
        agent=long,
        request_id=long,
        litmus=long,
        principal=long.decode("latin-1"),
        method=long.decode("latin-1"),
    )
    entry = read_one(hostile)

    assert len(written(hostile)) <= ATOMIC
    assert entry["target"].endswith("...")


def test_many_lines_are_many_objects() -> None:
    lines = written(*[PLAIN] * 1_000).splitlines()

    assert [json.loads(line)["status"] for line in lines] == [200] * 1_000


def test_a_record_has_time_level_logger_and_message() -> None:
    entry = formatted(record("%s failed:\n%r", "PUT", "\x1b", created=0.5))

    assert entry == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "error",
        "logger": "davserver.app",
        "message": "PUT failed:\n'\\x1b'",
    }


def test_a_traceback_is_one_string_of_the_object() -> None:
    try:
        raise ValueError("a\udc80\nb")
    except ValueError as error:
        entry = formatted(record("failed", exc_info=(type(error), error, error.__traceback__)))

    assert entry["exception"].startswith("Traceback")
    assert "a\\udc80\nb" in entry["exception"]


def test_every_request_of_the_application_is_one_object(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("memory")
    stream = io.BytesIO()
    dav.app._log = AccessLog(stream, form="json")
    sent: list[str] = []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=30), st.binary(max_size=30))
    def check(path: bytes, field: bytes) -> None:
        sent.append("/" + path.decode("latin-1").replace("?", ""))
        text = field.decode("latin-1")
        headers = {"X-Litmus": text, "User-Agent": text, "X-Request-ID": text}
        dav.request("GET", sent[-1], headers)

    check()
    dav.app._log.flush()
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert len(entries) == len(sent)
    assert [entry["method"] for entry in entries] == ["GET"] * len(sent)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_server_writes_nothing_but_objects(tmp_path: Path, workers: int) -> None:
    options = ["--log-level", "debug"]
    environment = {"DAVSERVER_LOG_FORMAT": "json"}
    count = 40
    with Server(tmp_path, workers=workers, arguments=options, environment=environment) as server:
        for number in range(count):
            with server.connect() as http:
                http.get(
                    f"/missing-{number}", headers={"User-Agent": 'a"\\\t b', "X-Request-ID": "7"}
                )
        with server.connect() as http:
            http.send_raw(b'BREW /\xff" HTTP/1.1\r\nHost: x\r\n\r\n')
            assert http.read_reply("BREW").status == 501
    entries = [json.loads(line) for line in server.log.read_bytes().splitlines()]
    requests = [entry for entry in entries if entry["logger"] == "davserver.access"]
    missing = [entry for entry in requests if "missing" in entry["target"]]

    assert entries[0]["message"].startswith("davserver ")
    assert sorted(entry["target"] for entry in missing) == sorted(
        f"/missing-{number}" for number in range(count)
    )
    assert {entry["user_agent"] for entry in missing} == {'a"\\\t b'}
    assert [entry["status"] for entry in requests if entry["method"] == "BREW"] == [501]
    for entry in entries:
        assert datetime.fromisoformat(entry["time"]).utcoffset() is not None
        assert {"level", "logger"} <= entry.keys()
