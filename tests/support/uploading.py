"""What the tests of uploads in pieces say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.dav import Dav
from tests.support.reply import Reply

PARTIAL = "application/partial-upload"
PROBLEMS = "https://iana.org/assignments/http-problem-types#"
MIB = 1 << 20
LARGE = bytes(range(251)) * 12_532  # 3 MiB and a bit, of no period that buffers have


def fields(offset: int, *, last: bool = False, **more: str) -> dict[str, str]:
    """Returns the header fields of a piece; `If_Match="x"` for further ones."""
    return {
        "Content-Type": PARTIAL,
        "Upload-Offset": str(offset),
        "Upload-Complete": "?1" if last else "?0",
    } | named(more)


def named(more: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in more.items()}


def begin(dav: Dav, target: str, body: bytes = b"", **more: str) -> str:
    """Begins an upload and returns where it is."""
    reply = dav.put(target, body, {"Upload-Complete": "?0"} | named(more))
    assert reply.status == 201, reply
    return reply.headers["location"]


def append(
    dav: Dav, upload: str, offset: int, body: Any = b"", *, last: bool = False, **more: str
) -> Reply:
    return dav.request("PATCH", upload, fields(offset, last=last, **more), body)


def offset_of(dav: Dav, upload: str) -> int:
    return int(dav.head(upload).headers["upload-offset"])


def parts(folder: Path | None) -> list[Path]:
    """Returns the hidden files below a folder."""
    assert folder is not None
    return sorted(path for path in folder.rglob(".davserver.*") if path.is_file())
