"""Uploads in pieces as rows of the table `uploads`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence

from davserver.protocol.path import DavPath, Key
from davserver.state.base import Phase, Upload
from davserver.state.journal import dump_path, load_path
from davserver.state.rows import Executor, Row

logger = logging.getLogger(__name__)

_COLUMNS = "id, principal, owner, expires_at, fields FROM uploads"


def put(db: Executor, upload: Upload) -> None:
    """Stores an upload in the place of what was there. Raises StateFull."""
    fields = {
        "target": dump_path(upload.target),
        "key": [upload.key.root, upload.key.path.hex()],
        "part": dump_path(upload.part),
        "request": [[part.decode("latin-1") for part in field] for field in upload.request],
        "length": upload.length,
        "size": upload.size,
        "phase": upload.phase.value,
        "calls": upload.calls,
    }
    row = (upload.id, upload.principal, upload.owner, upload.expires_at, json.dumps(fields))
    db.query("INSERT OR REPLACE INTO uploads VALUES(?,?,?,?,?)", row)


def remove(db: Executor, id: str) -> None:
    db.query("DELETE FROM uploads WHERE id = ?", (id,))


def find(db: Executor, id: str) -> Upload | None:
    found = _uploads(db.query(f"SELECT {_COLUMNS} WHERE id = ?", (id,)))
    return next(found, None)


def find_all(db: Executor) -> Sequence[Upload]:
    return list(_uploads(db.query(f"SELECT {_COLUMNS} ORDER BY expires_at, id")))


def is_owner(db: Executor, owner: str, *, now: float) -> bool:
    """True for the owner of a part whose upload has not expired."""
    query = "SELECT 1 FROM uploads WHERE owner = ? AND expires_at > ?"
    return bool(db.query(query, (owner, now)))


def _uploads(rows: Sequence[Row]) -> Iterator[Upload]:
    for row in rows:
        try:
            yield _upload(row)
        except (ValueError, KeyError, TypeError) as error:
            logger.error("an upload is damaged, and passed over: %s", error)


def _upload(row: Row) -> Upload:
    id, principal, owner, expires_at, text = row
    fields = json.loads(text)
    root, path = fields["key"]
    return Upload(
        id=id,
        principal=principal,
        owner=owner,
        target=_path(fields["target"]),
        key=Key(root, bytes.fromhex(path)),
        part=_path(fields["part"]),
        request=tuple((n.encode("latin-1"), v.encode("latin-1")) for n, v in fields["request"]),
        expires_at=expires_at,
        length=fields["length"],
        size=fields["size"],
        phase=Phase(fields["phase"]),
        calls=fields["calls"],
    )


def _path(value: dict[str, object]) -> DavPath:
    path = load_path(value)
    if path is None:
        raise ValueError("no path")
    return path
