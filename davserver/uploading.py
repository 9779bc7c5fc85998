"""Uploads in pieces (draft-ietf-httpbis-resumable-upload): where the pieces are kept until all of
them are here, who may keep how much, and when they go.

A part stands high in the tree, on the file system of its target: whoever deletes or moves a
collection on the way meets none. A row in the state says what it is for and how many bytes of it
are there for good; the part's owner lives as long as that row. The row is written before the part
is made and removed before the part is, so that a part without a row is nobody's; bytes are in the
part before the row tells of them. All of this blocks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace

from davserver.context import RequestContext, Services, Target
from davserver.errors import (
    AccessDenied,
    ContentTooLarge,
    Forbidden,
    InsufficientStorage,
    NameTooLong,
    NotFound,
    ResourceNotFound,
    StateError,
    StorageError,
)
from davserver.protocol.headers import DavHeaders
from davserver.protocol.path import DavPath
from davserver.protocol.uploads import limit_field
from davserver.state.base import GateView, Phase, StateReader, Upload
from davserver.storage.base import Part, Stat
from davserver.storage.names import NAME_MAX, encode, hidden_name
from davserver.usage import require_room

SWEEP_EVERY_S = 600.0
_NAME = "uploads"
OBEYED = frozenset(
    {
        *(b"content-encoding", b"content-type", b"prefer", b"oc-checksum", b"repr-digest"),
        *(b"want-repr-digest", b"x-oc-ctime", b"x-oc-mtime"),
    }
)
"""Fields of the request that begins an upload which its publication obeys."""
CONDITIONS = frozenset(
    {
        *(b"if", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"),
        b"lock-token",
    }
)
"""As well, unless the request that completes it has any of them: then its own count."""


@dataclass(slots=True)
class Held:
    """An upload that nobody else is at.

    Attributes:
        part: None once it is complete.
    """

    upload: Upload
    part: Part | None

    @property
    def open_part(self) -> Part:
        """The part of what is not complete."""
        assert self.part is not None
        return self.part

    def close(self) -> None:
        """Lets others at it. Harmless twice."""
        if self.part is not None:
            self.part.close()


def limit_of(services: Services, upload: Upload | None = None) -> tuple[bytes, bytes]:
    """Returns the field that tells the limits of an upload, of one to come without one."""
    settings = services.settings
    age_s = settings.upload_lifetime_s
    if upload is not None:
        age_s = max(0, int(upload.expires_at - services.clock()))
    return limit_field(size=settings.put_limit, age_s=age_s)


def begin(rc: RequestContext, target: Target, length: int | None) -> Held:
    """Makes a part for what is to become `target`.

    Args:
        length: bytes of the whole, None while nobody tells.

    Raises Forbidden (403), ContentTooLarge (413), InsufficientStorage (507) past a limit, and as
    the storage does.
    """
    services = rc.services
    _require_creatable(services, target, length)
    keep_swept(services)
    sweep(services)
    upload = Upload(
        id=secrets.token_hex(16),
        principal=rc.principal.name,
        owner=f"u{secrets.token_hex(8)}",
        target=DavPath(target.path.segments),
        key=target.key,
        part=target.path,
        request=_request(rc.headers),
        expires_at=services.clock() + services.settings.upload_lifetime_s,
        length=length,
    )
    refused: StorageError | None = None
    try:
        for place in _places(services, target.path):
            upload = replace(upload, part=place.child(hidden_name(upload.owner)))
            with _inside(services) as view:
                _require_allowed(services, view, upload, target.stat)
                view.keep_upload(upload)
            try:
                return Held(upload, services.storage.open_part(upload.part, create=True))
            except AccessDenied as error:
                refused = error
        raise refused or AccessDenied("there is no place for the parts of an upload")
    except BaseException:
        with suppress(StateError), _inside(services) as view:
            view.remove_upload(upload.id)
        raise


def _require_creatable(services: Services, target: Target, length: int | None) -> None:
    """What can be told now need not be found out when all of it is here."""
    if target.stat is None and len(encode(target.path.name)) > NAME_MAX:
        raise NameTooLong(f"{target.path.name[:40]!r}...: too long")
    services.storage.create(target.path, size_hint=length).discard()


def _inside(services: Services) -> AbstractContextManager[GateView]:
    return services.state.hold((), wait_s=services.settings.gate_wait_s)


def _request(headers: DavHeaders) -> tuple[tuple[bytes, bytes], ...]:
    kept = OBEYED | CONDITIONS
    return tuple(field for field in headers.items if field[0] in kept)


def _places(services: Services, path: DavPath) -> Iterator[DavPath]:
    """Yields the collections above a path that are on the device of its parent, the highest
    first."""
    locate = services.storage.locate
    above = [DavPath(path.segments[:count]) for count in range(len(path.segments))]
    parent = locate(above[-1]).stat
    for place in above:
        stat = locate(place).stat
        if parent is not None and stat is not None and stat.device == parent.device:
            yield place


def _require_allowed(
    services: Services, view: GateView, upload: Upload, replaced: Stat | None
) -> None:
    others = [one for one in _unfinished(view) if one.principal == upload.principal]
    limit = services.settings.uploads_per_principal
    if sum(one.id != upload.id for one in others) >= limit:
        raise Forbidden(f"{limit} uploads are unfinished: complete or cancel one")
    size = upload.length or 0
    require_space(services, view, upload, size, replaced)
    parent = upload.target.parent
    assert parent is not None
    disk = services.storage.quota(parent)
    if disk is not None and size > disk.available:
        raise InsufficientStorage(f"{size} bytes do not fit, {disk.available} are free")


def _unfinished(reader: StateReader) -> Iterator[Upload]:
    """Yields the uploads that have a part."""
    return (one for one in reader.uploads() if one.phase is not Phase.COMPLETE)


def require_space(
    services: Services, reader: StateReader, upload: Upload, size: int, replaced: Stat | None
) -> None:
    """Raises ContentTooLarge (413), InsufficientStorage, QuotaExceeded (507) when an upload may
    not come to `size` bytes: alone, with the other uploads of its principal, or with those that
    will count in the same quota.

    Args:
        replaced: what gives way to it.
    """
    settings = services.settings
    if settings.put_limit is not None and size > settings.put_limit:
        raise too_large(services)
    limit = settings.upload_bytes_per_principal
    if limit is None and not services.quotas:
        return
    others = [one for one in _unfinished(reader) if one.id != upload.id]
    size_of_all = size + sum(one.size for one in others if one.principal == upload.principal)
    if limit is not None and size_of_all > limit:
        raise InsufficientStorage(
            f"unfinished uploads would come to {size_of_all} bytes, {limit} are allowed",
            condition=b"quota-not-exceeded",
        )
    scopes = services.quotas.scopes(upload.key)
    beside = sum(one.size for one in others if any(s.key.covers(one.key) for s in scopes))
    require_room(services, reader, upload.key, size + beside, replaced)


def too_large(services: Services) -> ContentTooLarge:
    """Returns the 413 that tells the limits, as the draft wants it (its section 4.1.4)."""
    limit = services.settings.put_limit
    return ContentTooLarge(f"{limit} bytes are allowed", headers=(limit_of(services),))


def find(services: Services, id: str, principal: str) -> Upload:
    """Returns the upload of this id. Raises NotFound (404) where there is none, or none for this
    principal to know of."""
    upload = services.state.upload(id)
    if upload is None or upload.principal != principal:
        raise NotFound("no such upload")
    if upload.expires_at <= services.clock():
        raise NotFound("the upload has expired")
    return upload


def hold(services: Services, upload: Upload) -> Held | None:
    """Returns the upload as it is now, None while somebody else is at it: call again. What a
    death left undecided is decided. Raises NotFound (404) when there is nothing to go on with."""
    found = find(services, upload.id, upload.principal)
    if found.phase is Phase.COMPLETE:
        return Held(found, None)
    try:
        part = services.storage.open_part(found.part)
    except ResourceNotFound:
        return Held(_without_part(services, found), None)
    if part is None:
        return None
    try:
        now = _with_part(services, found, part)
    except BaseException:
        part.close()
        raise
    if now.phase is Phase.COMPLETE:
        part.close()
        return Held(now, None)
    return Held(now, part)


def _without_part(services: Services, upload: Upload) -> Upload:
    """Nothing takes a part away before its row but its publication."""
    with _inside(services) as view:
        now = view.upload(upload.id)
        if now is not None and now.phase is not Phase.OPEN:
            now = replace(now, phase=Phase.COMPLETE, length=now.size)
            view.keep_upload(now)
            return now
        view.remove_upload(upload.id)
    raise NotFound("the upload is gone")


def _with_part(services: Services, upload: Upload, part: Part) -> Upload:
    with _inside(services) as view:
        before = view.upload(upload.id)
        now = None if before is None else _decided(services, before, part)
        if now is None:
            view.remove_upload(upload.id)
        elif now != before:
            view.keep_upload(now)
    if now is None or now.phase is Phase.COMPLETE:
        part.remove()
    elif part.size > now.size:
        # What came in before a death, and never was told of.
        part.cut(now.size)
    if now is None:
        raise NotFound("the upload is gone")
    return now


def _decided(services: Services, upload: Upload, part: Part) -> Upload | None:
    """Returns what an upload is whose part is still there, None when that is of no use."""
    if part.size < upload.size:
        return None
    if upload.phase is not Phase.PUBLISHING:
        return upload
    try:
        stat = services.storage.locate(upload.target).stat
    except StorageError:
        stat = None
    is_published = part.stands_for(stat)
    if is_published is None:
        # Under which name it is in use nobody knows: nothing may be appended to it.
        return None
    if is_published:
        return replace(upload, phase=Phase.COMPLETE, length=upload.size)
    return replace(upload, phase=Phase.OPEN)


def call(services: Services, upload: Upload) -> None:
    """Has whoever appends to the upload let go of it."""
    with _inside(services) as view:
        now = view.upload(upload.id)
        if now is not None:
            view.keep_upload(replace(now, calls=now.calls + 1))


def is_called(services: Services, upload: Upload) -> bool:
    """True when somebody else wants the upload, or it was cancelled."""
    now = services.state.upload(upload.id)
    return now is None or now.calls != upload.calls


def keep(services: Services, held: Held, *, length: int | None) -> None:
    """Makes what is in the part so far count, and the upload live on. Raises NotFound (404) when
    it was cancelled meanwhile.

    Args:
        length: bytes of the whole, None while nobody tells.
    """
    part = held.open_part
    part.sync()
    with _inside(services) as view:
        now = view.upload(held.upload.id)
        if now is None:
            raise NotFound("the upload was cancelled")
        expires_at = services.clock() + services.settings.upload_lifetime_s
        now = replace(now, size=part.size, length=length, expires_at=expires_at)
        view.keep_upload(now)
    held.upload = now


def enter(services: Services, held: Held, phase: Phase) -> None:
    """Writes down how far an upload is; a part that is not needed any more goes."""
    with _inside(services) as view:
        now = replace(view.upload(held.upload.id) or held.upload, phase=phase)
        if phase is Phase.COMPLETE:
            now = replace(now, length=now.size)
        view.keep_upload(now)
    held.upload = now
    if phase is Phase.COMPLETE and held.part is not None:
        held.part.remove()


def cancel(services: Services, held: Held) -> None:
    """Removes an upload with all that came of it."""
    with _inside(services) as view:
        view.remove_upload(held.upload.id)
    if held.part is not None:
        held.part.remove()


def keep_swept(services: Services) -> None:
    """Has uploads that expire removed in the background, from now on for as long as the services
    are open."""
    if _NAME not in services.repeated:
        services.repeated.add(_NAME)
        services.runner.repeat(lambda is_stopping: sweep(services), every_s=SWEEP_EVERY_S)


def sweep(services: Services) -> None:
    """Removes the uploads that have expired, but for one that somebody is at. Raises nothing."""
    now = services.clock()
    with suppress(StateError, StorageError):
        for upload in services.state.uploads():
            if upload.expires_at > now:
                break
            _remove_expired(services, upload)


def _remove_expired(services: Services, upload: Upload) -> None:
    part = None
    with suppress(ResourceNotFound):
        if upload.phase is not Phase.COMPLETE:
            part = services.storage.open_part(upload.part)
            if part is None:
                return
    held = Held(upload, part)
    try:
        now = services.state.upload(upload.id)
        if now is not None and now.expires_at <= services.clock():
            cancel(services, held)
    finally:
        held.close()
