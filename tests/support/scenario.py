"""Conversations in files (`*.http`), as they are written.

    # What it is, and where it comes from.
    client: Finder: mount list          cells of the README's table that it fills
    server: prefix=/dav                 options of the server
    reads: finder                       how it reads XML (readers.py)
    use: finder.parts                   named header fields and bodies, from a file beside it
    ! mkcol /dav/x/                     what is there before (player.py)
    >>> what the step is [option value, option, ...]
    the request
    <<<
    the answer
    ===
    what is so afterwards               (player.py)

Of these only `>>>`, the request, `<<<` and the answer must be there. A request has its line, its
header fields and, after an empty line, its body; without the line break at the end. In it a line
`+name` stands for the fields or the body that `use` has under this name, and a body
`@bytes SIZE [SEED]` for so many bytes. Parts are written:

    @headers name                       followed by the fields
    @body name [and a line break]       followed by the body
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_TITLE = re.compile(r">>> ?(.*?)(?: ?\[(.*)\])?")
_PART = re.compile(r"@(headers|body) (\S+)( and a line break)?")
_MARKERS = {"<<<": "answer", "===": "after"}


@dataclass
class Step:
    """One exchange.

    Attributes:
        line: where in the file it begins.
        answer: None where none is waited for.
        after: what is so afterwards, and what happens before the next step.
    """

    line: int
    title: str
    options: dict[str, str]
    request: str = ""
    answer: str | None = None
    after: list[str] = field(default_factory=list)


@dataclass
class Scenario:
    """One file.

    Attributes:
        clients: name to columns, each in the README's table.
        server: options, by name.
        reader: how the client reads XML, "" for as it is meant.
        given: what is there before, without the marks of exclamation.
        headers: named fields, as lines.
        bodies: named bodies.
    """

    path: Path
    comment: str = ""
    clients: dict[str, tuple[str, ...]] = field(default_factory=dict)
    server: dict[str, str] = field(default_factory=dict)
    reader: str = ""
    given: list[str] = field(default_factory=list)
    headers: dict[str, list[str]] = field(default_factory=dict)
    bodies: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Scenario:
        scenario = cls(path)
        head, *rest = re.split(r"^(?=>>>)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for line in head.splitlines():
            scenario._read_head(line)
        number = head.count("\n") + 1
        for text in rest:
            scenario.steps.append(read_step(text, number))
            number += text.count("\n")
        return scenario

    def _read_head(self, line: str) -> None:
        key, _, value = line.partition(" ")
        if key == "!":
            self.given.append(value)
        elif key == "#":
            self.comment += value + "\n"
        elif key == "client:":
            name, columns = value.rsplit(": ", 1)
            self.clients[name] = tuple(columns.split())
        elif key == "server:":
            self.server |= dict(word.split("=", 1) for word in value.split())
        elif key == "reads:":
            self.reader = value
        elif key == "use:":
            for name in value.split():
                self._read_parts(self.path.with_name(name))
        else:
            assert not line, f"{self.path}: {line!r}"

    def _read_parts(self, path: Path) -> None:
        for text in re.split(r"^(?=@)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            first, _, rest = text.partition("\n")
            part = _PART.fullmatch(first)
            assert part, f"{path}: {first!r}"
            if part[1] == "headers":
                self.headers[part[2]] = [line for line in rest.splitlines() if line]
            else:
                self.bodies[part[2]] = rest.rstrip("\n") + ("\n" if part[3] else "")

    def fields(self, lines: Sequence[str]) -> list[tuple[str, str]]:
        """Returns the header fields of a request, the named ones among them, in their order."""
        found: list[tuple[str, str]] = []
        for line in lines:
            if line.startswith("+"):
                found += self.fields(self.headers[line[1:]])
            else:
                name, _, value = line.partition(":")
                found.append((name, value.removeprefix(" ")))
        return found

    def body(self, text: str) -> str | bytes:
        """Returns a body; text where names may stand in it."""
        if text.startswith("@bytes "):
            return some_bytes(text)
        return self.bodies[text[1:]] if text.startswith("+") else text


def read_step(text: str, number: int) -> Step:
    first, *lines = text.splitlines()
    title = _TITLE.fullmatch(first)
    assert title, first
    options = [option.partition(" ") for option in (title[2] or "").split(", ") if option]
    parts: dict[str, list[str]] = {"request": []}
    part = "request"
    for line in lines:
        # A second "<<<" is no marker: an answer has one.
        part = _MARKERS.get(line, part)
        parts.setdefault(part, [])
        if line not in _MARKERS:
            parts[part].append(line)
    return Step(
        line=number,
        title=title[1],
        options={name: value for name, _, value in options},
        request="\n".join(parts["request"]).rstrip("\n"),
        answer="\n".join(parts["answer"]).rstrip("\n") if "answer" in parts else None,
        after=[line for line in parts.get("after", []) if line and not line.startswith("#")],
    )


@lru_cache(maxsize=8)
def some_bytes(text: str) -> bytes:
    """Returns what `@bytes SIZE [SEED]` stands for: the same bytes each time, no text."""
    _, size, *seed = text.split()
    return random.Random(seed[0] if seed else "").randbytes(int(size))
