"""How an archive is made, piece by piece: a walk, and a GET for each file. For a thread."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from davserver.auth.base import Privilege
from davserver.context import FileBody, RequestContext
from davserver.errors import DavError, NotFound, StateError, StorageError
from davserver.inthread import finished
from davserver.protocol.batch import Operation
from davserver.protocol.path import DavPath, Key
from davserver.refusing import as_dav_error
from davserver.service._operations import request_within, services_within
from davserver.service.base import Perform
from davserver.storage.base import Entry, Kind

_PIECE = 1 << 18
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that the format knows."""
_REPORT = "NOT IN THIS ARCHIVE.txt"
_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Member:
    """What goes into an archive, by its name there."""

    path: DavPath
    name: str
    is_collection: bool
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to begin with; `members` is how many there are in all, None for too many."""

    tops: Sequence[_Member]
    members: int | None


@dataclass(slots=True)
class _Sink:
    """What zipfile writes to: it cannot go back, so sizes and sums follow each file."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def write(self, data: bytes, /) -> int:
        self.parts.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        data = b"".join(self.parts)
        self.parts.clear()
        self.size = 0
        return data


class Archive:
    """One archive of the asker's.

    Args:
        limit: members of all collections together.
    """

    def __init__(self, rc: RequestContext, perform: Perform, limit: int) -> None:
        self._rc = rc
        self._perform = perform
        self._limit = limit
        self._services = services_within(rc)
        self._failed: list[str] = []

    def choose(self, path: DavPath, names: Sequence[str]) -> Chosen:
        """Looks for what is asked for, and counts it. Raises what a GET of it raises, 404 for what
        is no collection."""
        tops = [self._top(path.child(name)) for name in names]
        if not names:
            top = self._top(path)
            if not top.is_collection:
                raise NotFound("an archive is made of a collection")
            tops = [top]
        members = 0
        for _ in self._walk(tops):
            members += 1
            if members > self._limit:
                return Chosen(tops, None)
        return Chosen(tops, members)

    def pieces(self, chosen: Chosen) -> Generator[bytes, None, None]:
        """Yields the archive."""
        sink = _Sink()
        self._failed.clear()
        with zipfile.ZipFile(sink, "w") as archive:
            for member in self._walk(chosen.tops):
                if member.is_collection:
                    archive.writestr(_info(member), b"")
                else:
                    yield from self._file(archive, sink, member)
                if sink.size >= _PIECE:
                    yield sink.take()
            if self._failed:
                told = "".join(f"{line}\n" for line in self._failed)
                report = zipfile.ZipInfo(_REPORT, time.gmtime(self._services.clock())[:6])
                archive.writestr(report, told.encode("utf-8", "replace"))
        yield sink.take()

    def _top(self, path: DavPath) -> _Member:
        """Raises what GET does."""
        reader = self._get(path)
        if reader is not None:
            reader.reader.close()
        stat = self._services.storage.stat(path)
        is_collection = stat.kind is Kind.COLLECTION
        return _Member(path, _named(path.name), is_collection, stat.mtime_ns)

    def _get(self, path: DavPath) -> FileBody | None:
        """Answers a GET; None where it has no file to send."""
        operation = Operation("get", self._rc.href(path, collection=path.slash), ())
        response = finished(self._perform(request_within(self._rc, operation, self._services)))
        body = response.body
        if isinstance(body, FileBody):
            return body
        close = getattr(body, "aclose", None)
        if close is not None:
            finished(close())
        return None

    def _walk(self, tops: Sequence[_Member]) -> Iterator[_Member]:
        """Yields collections before their members. A link that leads back is not followed."""
        waiting: list[tuple[_Member, tuple[_Identity, ...]]] = [(top, ()) for top in reversed(tops)]
        while waiting:
            member, above = waiting.pop()
            if member.name:
                yield member
            if not member.is_collection:
                continue
            inner = []
            for below in self._members(member):
                if below.is_collection:
                    inner.append(below)
                else:
                    yield below
            if not inner:
                continue
            identity = self._identity(member)
            if identity is not None and identity not in above:
                waiting += [(each, (*above, identity)) for each in reversed(inner)]

    def _identity(self, member: _Member) -> _Identity | None:
        try:
            stat = self._services.storage.stat(member.path)
        except StorageError:
            return None  # gone by now
        return stat.device, stat.inode

    def _members(self, member: _Member) -> Sequence[_Member]:
        try:
            key = self._services.storage.canonical(member.path)
            if not self._may_still_read(member.path, key):
                return ()
            with self._rc.listing(member.path, key) as listing:
                few = islice(listing, self._limit + 1)
                return [_below(member, entry) for entry in few if entry.stat.kind is not Kind.OTHER]
        except StorageError as error:
            self._fail(member, error)
            return ()

    def _may_still_read(self, path: DavPath, key: Key) -> bool:
        """What was listed as a collection may lead elsewhere by now."""
        rc = self._rc
        return rc.services.path_rights is None or rc.may(Privilege.READ, path, key)

    def _file(
        self, archive: zipfile.ZipFile, sink: _Sink, member: _Member
    ) -> Generator[bytes, None, None]:
        try:
            body = self._get(member.path)
        except (DavError, StorageError, StateError) as error:
            self._fail(member, error)
            return
        if body is None:
            return  # a collection has come to stand there
        try:
            info = _info(member)
            info.file_size = body.length
            with archive.open(info, "w", force_zip64=body.length >= zipfile.ZIP64_LIMIT) as file:
                offset, end = body.offset, body.offset + body.length
                while offset < end:
                    data = body.reader.read_at(offset, min(_PIECE, end - offset))
                    if not data:
                        self._failed.append(f"{member.name}: it got shorter while it was read")
                        break
                    offset += len(data)
                    file.write(data)
                    if sink.size >= _PIECE:
                        yield sink.take()
        except StorageError as error:
            self._fail(member, error)
        finally:
            body.reader.close()

    def _fail(self, member: _Member, error: DavError | StorageError | StateError) -> None:
        told = as_dav_error(self._rc, error)
        self._failed.append(f"{member.name}: {told.status} {told.detail}")


def _below(member: _Member, entry: Entry) -> _Member:
    is_collection = entry.stat.kind is Kind.COLLECTION
    name = f"{member.name}/{_named(entry.name)}" if member.name else _named(entry.name)
    return _Member(member.path.child(entry.name), name, is_collection, entry.stat.mtime_ns)


def _named(name: str) -> str:
    """Returns a name that leads nowhere else, where "\\" parts names too."""
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return shown.replace("\\", "_")


def _info(member: _Member) -> zipfile.ZipInfo:
    when = time.gmtime(member.mtime_ns // 1_000_000_000)[:6]
    name = member.name + "/" if member.is_collection else member.name
    info = zipfile.ZipInfo(name, max(_EPOCH, when))
    info.external_attr = (0o40755 << 16 | 0x10) if member.is_collection else 0o100644 << 16
    return info
