"""Where a key stands in the text of a settings file: tomllib doesn't tell, so it is searched; and
where the paths in it lead."""

from __future__ import annotations

import re
from pathlib import Path


def line_of(text: str, name: str) -> int:
    """Returns the line that sets a key, 1 where none does."""
    key = re.compile(rf"""\s*["']?{re.escape(name)}["']?\s*=""")
    table = re.compile(rf"\s*\[+\s*{re.escape(name)}\s*\]")
    lines = text.splitlines()
    for pattern in (key, table):
        for number, line in enumerate(lines, start=1):
            if pattern.match(line):
                return number
    return 1


def line_in_table(text: str, table: str, number: int, name: str) -> int:
    """Returns the line of a key in the number-th of a repeated table, of its head without it."""
    head = re.compile(rf"\s*\[\[\s*{re.escape(table)}\s*\]\]")
    key = re.compile(rf"""\s*["']?{re.escape(name)}["']?\s*=""")
    seen, found = -1, 1
    for line, content in enumerate(text.splitlines(), start=1):
        if head.match(content):
            seen += 1
            if seen == number:
                found = line
        elif seen == number:
            if key.match(content):
                return line
            if content.lstrip().startswith("["):
                break
    return found


def beside(config: Path, value: object) -> object:
    """Returns a path of a settings file, which is relative to that, as it is from anywhere."""
    if isinstance(value, str) and not value.startswith("~"):
        return config.absolute().parent / value
    return value


def table_beside(config: Path, entry: object) -> object:
    """As `beside`, of the path in a table."""
    if not isinstance(entry, dict):
        return entry
    return {
        name: beside(config, value) if name == "path" else value for name, value in entry.items()
    }
