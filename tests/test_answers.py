"""The answers that the README shows are those of this server.

Each block of the language `http` is a request and its answer. `...` in an answer stands for
anything; white space between the tags of XML, and that of JSON, is for the eye.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from davserver.protocol.status import reason
from tests.conftest import AppDav
from tests.support.faces import validator
from tests.support.reply import Reply
from tests.test_docs import section

TITLE = "When you meet 200, 202, 207 and 208"
BLOCK = re.compile(r"^```http\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FEWEST = 8


@dataclass(frozen=True)
class Shown:
    """One block."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int
    reason: str
    fields: dict[str, str]
    answer: str


def split_fields(lines: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines.splitlines())


def read(block: str) -> Shown:
    request, answer = re.split(r"^HTTP/1\.1 ", block, maxsplit=1, flags=re.MULTILINE)
    head, _, body = request.partition("\n\n")
    line, _, headers = head.partition("\n")
    method, target = line.split()
    answer_head, _, content = answer.partition("\n\n")
    status, _, fields = answer_head.partition("\n")
    code, _, reason = status.partition(" ")
    return Shown(
        method,
        target,
        split_fields(headers.strip()),
        body.strip().encode(),
        int(code),
        reason,
        split_fields(fields.strip()),
        content.strip(),
    )


def is_as_shown(shown: str, real: str) -> bool:
    """True when the texts are the same where the first is not `...`."""
    parts = [re.escape(part) for part in shown.split("...")]
    return re.fullmatch(".*?".join(parts), real, re.DOTALL) is not None


def is_same_json(shown: Any, real: Any) -> bool:
    if isinstance(shown, str):
        return isinstance(real, str) and is_as_shown(shown, real)
    if isinstance(shown, dict):
        return shown.keys() == real.keys() and all(is_same_json(shown[k], real[k]) for k in shown)
    if isinstance(shown, list):
        return len(shown) == len(real) and all(map(is_same_json, shown, real))
    return bool(shown == real)


def check(shown: Shown, reply: Reply) -> None:
    assert (reply.status, reason(reply.status)) == (shown.status, shown.reason), reply
    for name, value in shown.fields.items():
        assert is_as_shown(value, reply.headers[name]), (name, reply)
    real = reply.body.decode()
    if reply.headers.get("content-type") == "application/json":
        assert is_same_json(json.loads(shown.answer), json.loads(real)), real
    else:
        answer = re.sub(r"\s*\.\.\.\s*", "...", shown.answer)
        flat = [re.sub(r">\s+<", "><", text).strip() for text in (answer, real)]
        assert is_as_shown(*flat), real


def blocks() -> list[Shown]:
    return [read(block) for block in BLOCK.findall(section(TITLE))]


@pytest.fixture
def notes(make_dav: Any) -> AppDav:
    """/notes/ with a.txt, b.txt and sub/."""
    dav: AppDav = make_dav()
    dav.mkcol("/notes/")
    dav.put("/notes/a.txt", b"abc")
    dav.put("/notes/b.txt", b"bcd")
    dav.mkcol("/notes/sub/")
    return dav


def test_the_answers_of_the_readme_are_those_of_this_server(notes: AppDav) -> None:
    """One after the other, as they are read."""
    for shown in blocks():
        fields = list(shown.headers.items())
        check(shown, notes.request(shown.method, shown.target, fields, shown.body))


def test_each_status_of_the_title_is_shown() -> None:
    found = blocks()
    inside = {int(code) for one in found for code in re.findall(r"HTTP/1\.1 (\d+)", one.answer)}

    assert len(found) >= FEWEST
    assert {one.status for one in found} >= {200, 201, 202, 204, 207, 422, 423, 508}
    assert inside >= {200, 208, 403, 404, 423, 424}


def test_the_json_that_is_shown_keeps_to_the_schema() -> None:
    shown = [one for one in blocks() if one.fields.get("content-type") == "application/json"]

    assert shown
    for one in shown:
        validator().validate(json.loads(one.answer))


def test_the_schema_that_is_shown_is_the_one_that_is_served(dav: AppDav) -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```$", section(TITLE), re.MULTILINE | re.DOTALL)
    served = json.loads(dav.get("/.davserver/schema").body)["$defs"]
    shown = json.loads(block)

    assert {"multistatus", "result", "value"} <= shown.keys()
    assert shown == {name: served[name] for name in shown}


def test_a_difference_is_seen() -> None:
    assert is_as_shown("a...c", "abc")
    assert not is_as_shown("a...c", "abd")
    assert is_same_json({"a": ["x..."]}, {"a": ["xyz"]})
    assert not is_same_json({"a": ["x..."]}, {"a": ["yz"]})
    assert not is_same_json({"a": 1}, {"a": 1, "b": 2})
