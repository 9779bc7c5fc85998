"""The tables of the store, and dead properties in them (RFC 4918 section 4).

The resource `a/b/c` is stored as parent `a/b`, member `c`; the root itself has both empty. So the
members of a collection are one query, and a subtree is three ranges of the primary key.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from davserver.protocol.names import QName
from davserver.protocol.path import Key

logger = logging.getLogger(__name__)

_FIRST = """
CREATE TABLE properties(
    root TEXT NOT NULL, parent BLOB NOT NULL, member BLOB NOT NULL,
    name TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY(root, parent, member, name)
) WITHOUT ROWID;
CREATE TABLE locks(
    token TEXT PRIMARY KEY, root TEXT NOT NULL, path BLOB NOT NULL, href BLOB NOT NULL,
    scope TEXT NOT NULL, depth TEXT NOT NULL, owner_xml BLOB NOT NULL, principal TEXT NOT NULL,
    timeout_s INTEGER NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX locks_by_path ON locks(root, path);
CREATE TABLE changes(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, root TEXT NOT NULL, path BLOB NOT NULL,
    kind TEXT NOT NULL
);
CREATE TABLE intents(
    id TEXT PRIMARY KEY, root TEXT NOT NULL, owner TEXT NOT NULL, steps TEXT NOT NULL,
    created REAL NOT NULL
) WITHOUT ROWID;
"""
_SECOND = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
ALTER TABLE properties ADD COLUMN sum INTEGER;
"""
_THIRD = """
CREATE TABLE uploads(
    id TEXT PRIMARY KEY, principal TEXT NOT NULL, owner TEXT NOT NULL UNIQUE,
    expires_at REAL NOT NULL, fields TEXT NOT NULL
) WITHOUT ROWID;
"""
_FOURTH = """
CREATE TABLE answers(
    principal TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, owner TEXT NOT NULL,
    expires_at REAL NOT NULL, status INTEGER, body BLOB NOT NULL, PRIMARY KEY(principal, key)
) WITHOUT ROWID;
CREATE INDEX answers_by_end ON answers(expires_at);
"""
_FIFTH = """
CREATE TABLE bindings(
    root TEXT NOT NULL, path BLOB NOT NULL, target BLOB NOT NULL, PRIMARY KEY(root, path)
) WITHOUT ROWID;
"""
# One page for a lock, and one for telling of it: an index of its own and a counter of numbers were
# written with each. The newest change always stays, so that no number comes again.
_SIXTH = """
ALTER TABLE locks RENAME TO older_locks;
DROP INDEX locks_by_path;
CREATE TABLE locks(
    token TEXT NOT NULL, root TEXT NOT NULL, path BLOB NOT NULL, href BLOB NOT NULL,
    scope TEXT NOT NULL, depth TEXT NOT NULL, owner_xml BLOB NOT NULL, principal TEXT NOT NULL,
    timeout_s INTEGER NOT NULL, expires_at REAL NOT NULL, PRIMARY KEY(root, path, token)
) WITHOUT ROWID;
INSERT INTO locks SELECT * FROM older_locks;
DROP TABLE older_locks;
ALTER TABLE changes RENAME TO older_changes;
CREATE TABLE changes(
    seq INTEGER PRIMARY KEY, root TEXT NOT NULL, path BLOB NOT NULL, kind TEXT NOT NULL
);
INSERT INTO changes SELECT * FROM older_changes;
DROP TABLE older_changes;
"""
SCHEMAS = (_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH, _SIXTH)
"""What makes each version of the schema out of the one before."""
SCHEMA_VERSION = len(SCHEMAS)
# Properties of our own, which never follow a copy.
PRIVATE = "{davserver:}"

_MEMBERS_PER_QUERY = 256
_KEYS_PER_QUERY = 500
_ROWS_PER_INSERT = 8
"""As many statements are kept compiled."""
_INSERTS = [
    "INSERT OR REPLACE INTO properties VALUES" + ",".join(["(?,?,?,?,?,?)"] * count)
    for count in range(_ROWS_PER_INSERT + 1)
]
_ITSELF = "root = ? AND parent = ? AND member = ?"
_CHILDREN = "root = ? AND parent = ? AND member > x''"
_DEEPER = "root = ? AND parent >= ? AND parent < ?"
_HAS_ROWS = (
    f"SELECT EXISTS(SELECT 1 FROM properties WHERE {_ITSELF})"
    f" OR EXISTS(SELECT 1 FROM properties WHERE {_CHILDREN})"
    f" OR EXISTS(SELECT 1 FROM properties WHERE {_DEEPER})"
)

Value = str | bytes | int | float | None
# Any: columns are what the schema says.
Row = tuple[Any, ...]


class Executor(Protocol):
    """What runs SQL. Raises GateBusy, StateFull or StateFailure."""

    def query(self, sql: str, bindings: Sequence[Value] = ()) -> list[Row]:
        """Returns all rows."""


class Writer(Executor, Protocol):
    """A connection that may write."""

    @property
    def in_transaction(self) -> bool:
        """False again when a failure undid everything (SQLite does so when the disk is full)."""

    def last_row_id(self) -> int:
        """Number of the row that was inserted last, into a table that numbers its rows."""


class Reader(Executor, Protocol):
    """A connection that never writes."""

    def data_version(self) -> int:
        """A number that moves whenever another connection commits."""


def split(key: Key) -> tuple[str, bytes, bytes]:
    """Returns (root, parent, member)."""
    parent, _, member = key.path.rpartition(b"/")
    return key.root, parent, member


def join(root: str, parent: bytes, member: bytes) -> Key:
    """The inverse of `split`."""
    return Key(root, parent + b"/" + member if parent else member)


def _deeper(key: Key) -> tuple[str, bytes, bytes]:
    """Bounds of `parent` for what lies two and more levels below."""
    if not key.path:
        # Every parent but b"": no name holds a NUL or is longer than 255 bytes.
        return key.root, b"\x01", b"\xff" * 256
    return key.root, key.path + b"/", key.path + b"0"


def _sum(name: bytes, value: bytes) -> int:
    """What SQLite has no eye for: a bit that has flipped in a value would spoil every listing
    that the value is in."""
    return zlib.crc32(value, zlib.crc32(name))


def _is_whole(name: bytes, value: bytes, stored: int | None) -> bool:
    if stored is None or stored == _sum(name, value):  # None: of the schema's first version
        return True
    logger.error("a property is damaged, and passed over: %r", name)
    return False


def read(db: Executor, key: Key) -> dict[QName, bytes]:
    where = f"FROM properties WHERE {_ITSELF}"
    rows = db.query(f"SELECT CAST(name AS BLOB), value, sum {where}", split(key))
    return {QName(row[0].decode()): row[1] for row in rows if _is_whole(*row)}


def read_members(
    db: Executor, parent: Key, names: Sequence[bytes]
) -> dict[bytes, dict[QName, bytes]]:
    found: dict[bytes, dict[QName, bytes]] = {}
    seen: dict[bytes, tuple[QName, int]] = {}
    where = (parent.root, parent.path)
    # Most collections have no member with properties: one cheap look instead of one a member.
    if not names or not db.query(f"SELECT 1 FROM properties WHERE {_CHILDREN} LIMIT 1", where):
        return found
    for begin in range(0, len(names), _MEMBERS_PER_QUERY):
        part = list(names[begin : begin + _MEMBERS_PER_QUERY])
        # Few sizes of statement, so that compiled ones are found again.
        size = 1 << (len(part) - 1).bit_length()
        part += part[-1:] * (size - len(part))
        marks = ",".join("?" * size)
        rows = db.query(
            "SELECT member, CAST(name AS BLOB), value, sum FROM properties"
            f" WHERE root = ? AND parent = ? AND member IN ({marks})",
            (*where, *part),
        )
        for member, name, value, stored in rows:
            known = seen.get(name)
            if known is None:
                known = seen[name] = QName(name.decode()), zlib.crc32(name)
            # Most are whole: what is not, is looked at (and told) by `_is_whole`.
            if stored == zlib.crc32(value, known[1]) or _is_whole(name, value, stored):
                properties = found.get(member)
                if properties is None:
                    properties = found[member] = {}
                properties[known[0]] = value
    return found


def write(
    db: Executor, key: Key, before: Mapping[QName, bytes], after: Mapping[QName, bytes]
) -> None:
    """Stores the difference."""
    where = split(key)
    for name in before.keys() - after.keys():
        db.query(f"DELETE FROM properties WHERE {_ITSELF} AND name = ?", (*where, name))
    changed = [name for name, value in after.items() if before.get(name) != value]
    for begin in range(0, len(changed), _ROWS_PER_INSERT):
        part = changed[begin : begin + _ROWS_PER_INSERT]
        bindings: list[Value] = []
        for name in part:
            bindings += (*where, name, after[name], _sum(name.encode(), after[name]))
        db.query(_INSERTS[len(part)], bindings)


def has_rows(db: Executor, key: Key) -> bool:
    bindings = (*split(key), key.root, key.path, *_deeper(key))
    return bool(db.query(_HAS_ROWS, bindings)[0][0])


def keys_at(db: Executor, key: Key) -> list[Key]:
    """Returns what has properties, at `key` and below."""
    found: list[Row] = []
    for where, bindings in (
        (_ITSELF, split(key)),
        (_CHILDREN, (key.root, key.path)),
        (_DEEPER, _deeper(key)),
    ):
        query = f"SELECT DISTINCT root, parent, member FROM properties WHERE {where}"
        found += db.query(query, bindings)
    return [join(*row) for row in found]


def delete(db: Executor, key: Key) -> None:
    db.query(f"DELETE FROM properties WHERE {_ITSELF}", split(key))


def delete_tree(db: Executor, key: Key) -> None:
    delete(db, key)
    db.query(f"DELETE FROM properties WHERE {_CHILDREN}", (key.root, key.path))
    db.query(f"DELETE FROM properties WHERE {_DEEPER}", _deeper(key))


def _reparent(source: Key, target: Key) -> tuple[bytes, int]:
    """What a deeper parent gets in front, and where its rest begins (from 1, in bytes)."""
    prefix = target.path + b"/" if target.path else b""
    return prefix, len(source.path) + 2 if source.path else 1


# `||` makes text of blobs without looking at the bytes; the cast gives them back.
_REST = "CAST(? || substr(parent, ?) AS BLOB)"


def move_tree(db: Executor, source: Key, target: Key) -> None:
    """Nothing may be stored at or below `target`."""
    db.query(
        f"UPDATE properties SET root = ?, parent = ?, member = ? WHERE {_ITSELF}",
        (*split(target), *split(source)),
    )
    db.query(
        f"UPDATE properties SET root = ?, parent = ? WHERE {_CHILDREN}",
        (target.root, target.path, source.root, source.path),
    )
    db.query(
        f"UPDATE properties SET root = ?, parent = {_REST} WHERE {_DEEPER}",
        (target.root, *_reparent(source, target), *_deeper(source)),
    )


def copy(db: Executor, source: Key, target: Key) -> None:
    """Copies what is not private, of one resource."""
    db.query(
        "INSERT INTO properties SELECT ?, ?, ?, name, value, sum FROM properties"
        f" WHERE {_ITSELF} AND substr(name, 1, ?) != ?",
        (*split(target), *split(source), len(PRIVATE), PRIVATE),
    )


def copy_tree(db: Executor, source: Key, target: Key) -> None:
    """As copy, and everything below."""
    copy(db, source, target)
    private = (len(PRIVATE), PRIVATE)
    db.query(
        "INSERT INTO properties SELECT ?, ?, member, name, value, sum FROM properties"
        f" WHERE {_CHILDREN} AND substr(name, 1, ?) != ?",
        (target.root, target.path, source.root, source.path, *private),
    )
    db.query(
        f"INSERT INTO properties SELECT ?, {_REST}, member, name, value, sum FROM properties"
        f" WHERE {_DEEPER} AND substr(name, 1, ?) != ?",
        (target.root, *_reparent(source, target), *_deeper(source), *private),
    )


def keys(db: Executor) -> Iterator[Key]:
    """Yields every resource that has properties, in order, without one long read."""
    last: tuple[str, bytes, bytes] = ("", b"", b"")
    comparison = ">="
    while True:
        rows = db.query(
            "SELECT DISTINCT root, parent, member FROM properties"
            f" WHERE (root, parent, member) {comparison} (?, ?, ?)"
            " ORDER BY root, parent, member LIMIT ?",
            (*last, _KEYS_PER_QUERY),
        )
        if not rows:
            return
        yield from (join(*row) for row in rows)
        last, comparison = (rows[-1][0], rows[-1][1], rows[-1][2]), ">"


def refuse_overlap(source: Key, target: Key) -> None:
    """Raises ValueError: the checks of COPY and MOVE forbid it, and here it would delete what is
    to be moved."""
    if source.covers(target) or target.covers(source):
        raise ValueError(f"{source!r} and {target!r} overlap")
