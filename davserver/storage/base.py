"""The Storage seam: synchronous, blocking, raises StorageError only.

Implementers: every path is a DavPath whose segments are decoded names (surrogateescape for bytes
that are not UTF-8). A path's last segment may be a hidden name made by `hidden`; the pipeline
keeps clients from ever naming one. Nothing here knows HTTP, locks or properties.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from davserver.errors import StorageError
from davserver.protocol.etag import ETag
from davserver.protocol.path import DavPath, Key

Bytes = bytes | bytearray | memoryview
Told = Callable[[int], None] | None
"""Told of so many more bytes, if somebody wants to know. May raise: then nothing is left of what
was begun."""


class Kind(enum.Enum):
    """What is mapped to a path."""

    FILE = "file"
    COLLECTION = "collection"
    OTHER = "other"
    """FIFO, socket, device, a link that leads nowhere or out of the root: never opened. A
    listing shows the former alone."""

    __hash__ = object.__hash__  # Enum's own is a call into Python, at each look into a set


class Capability(enum.Enum):
    """What a backend can do beyond the required calls."""

    TREE_RENAME = "tree-rename"
    EXCHANGE = "exchange"
    BIRTH_TIME = "birth-time"
    EXECUTABLE = "executable"
    LINKS = "links"
    """Links that stay inside the root can be made, and are followed."""


TAG_FORM = b"%x-%x-%x"
"""What the entity-tag of a file says: inode, size, nanoseconds of its time."""
_TAG = TAG_FORM.decode("ascii")


class Stat(NamedTuple):
    """What is known of a resource.

    Attributes:
        size: bytes; 0 for a collection.
        mtime_ns: nanoseconds since the epoch.
        birth_ns: creation time, None where the backend cannot tell.
        device, inode: identity while it lives; with birth_ns what an intent checks.
        executable: the owner's execute bit of a file.
    """

    kind: Kind
    size: int
    mtime_ns: int
    birth_ns: int | None
    device: int
    inode: int
    executable: bool = False

    @property
    def identity(self) -> tuple[int, int, int | None]:
        """What tells a resource from another one that comes to stand at the same path."""
        return self.device, self.inode, self.birth_ns

    @property
    def etag(self) -> ETag | None:
        """A strong entity-tag of inode, size and mtime_ns; None for what is no file."""
        return ETag(self.tag) if self.kind is Kind.FILE else None

    @property
    def tag(self) -> str:
        """What the entity-tag of a file says."""
        return _TAG % (self.inode, self.size, self.mtime_ns)


class Entry(NamedTuple):
    """One member of a collection. `name` is the segment as stored."""

    name: str
    stat: Stat


class LinkedEntry(Entry):
    """A member whose canonical key is not its parent's key and its name: a link inside the root,
    or any member where names are folded. `Storage.canonical` has to be asked."""

    __slots__ = ()


class Located(NamedTuple):
    """A path looked up once: its canonical key, and what is there (None: unmapped).

    `link_to` is the canonical path when the last segment itself is a link inside the root: the
    key and the stat are then those of what it leads to, while delete and rename act on the link.
    """

    key: Key
    stat: Stat | None
    link_to: DavPath | None = None


class Named(NamedTuple):
    """What the last segment of a path itself names: `key` and `stat` are those of a link, not of
    what it leads to."""

    key: Key
    stat: Stat | None
    is_link: bool


class Quota(NamedTuple):
    """Bytes (RFC 4331 section 3)."""

    available: int
    used: int


class Reader(Protocol):
    """An open file. Its content is one version, whatever is published meanwhile."""

    @property
    def stat(self) -> Stat: ...
    @property
    def fd(self) -> int | None:
        """A descriptor to read from, None where there is none."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Returns up to `size` bytes; fewer only at the end of the file."""

    def try_read_at(self, offset: int, size: int) -> bytes | None:
        """As read_at, but None where it would block (a page cache miss)."""

    def is_cached(self, offset: int, size: int) -> bool:
        """False where sending these bytes from `fd` might wait for the disk."""

    def close(self) -> None: ...


class Writer(Protocol):
    """A new version of a file, invisible until `commit`. Order: write*, seal, commit, settle."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    def write(self, *pieces: Bytes) -> None:
        """Appends all of the pieces. Raises NoSpace, QuotaExceeded, StorageFailure."""

    def copy(self, reader: Reader, offset: int, size: int) -> None:
        """Appends a stretch of an open file; blocks are shared where the file system can and the
        stretch stays at its offset. Raises as write does, StorageFailure where the file ends."""

    def seal(self, *, mtime_ns: int | None = None) -> None:
        """Sets mode and times and makes the data durable (as the policy says). Outside the gate.

        `mtime_ns` None means now; a whole second, as clients give it, gets random nanoseconds,
        so that no entity-tag comes back. Who gives nanoseconds has seen to that.
        """

    def commit(self, *, replace: bool, expect: ETag | None = None) -> Stat:
        """Publishes, inside the gate. Raises ResourceExists (not `replace`), ParentChanged,
        EtagMismatch (`expect` is not what stands there), IsACollection, NoSpace."""

    def stage(self, hidden: DavPath) -> Stat:
        """Instead of `commit`: gives the version a hidden name beside its target
        (`Storage.hidden`), from which a rename publishes it. Raises as commit does."""

    def settle(self) -> None:
        """Makes the publication durable (as the policy says). After the gate."""

    def discard(self) -> None:
        """Leaves nothing behind. Harmless after commit, and twice."""


class Part(Protocol):
    """What has arrived so far of a new version, under a hidden name that outlives its worker. It
    is held: nobody else can open it meanwhile, in any process. Close it."""

    @property
    def size(self) -> int:
        """Bytes in it."""

    def stands_for(self, stat: Stat | None) -> bool | None:
        """True when the resource of this stat is what is in it, under another name: it was
        published, and nobody lived to take its own name away. None: under another one, perhaps."""

    def cut(self, size: int) -> None:
        """Leaves the first `size` bytes. Raises StorageFailure when there are not so many."""

    def write(self, *pieces: Bytes) -> None:
        """Appends. Raises NoSpace, QuotaExceeded, StorageFailure; `size` tells what came in."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Returns up to `size` bytes; fewer only at the end."""

    def sync(self) -> None:
        """Makes what was written durable (as the policy says). Raises StorageFailure, and from
        then on again."""

    def remove(self) -> None:
        """Takes the name away, if it still has one."""

    def close(self) -> None:
        """Lets others open it. Harmless twice."""


class Deleted(NamedTuple):
    """What became of members that were to be deleted.

    Attributes:
        tried: how many, from the first on.
        failures: those that could not be deleted, with the reason; ResourceNotFound is one.
    """

    tried: int
    failures: Sequence[tuple[str, StorageError]]


class Members(Protocol):
    """The members of one collection, for a walk that changes many of them. Close it."""

    def delete_each(self, names: Sequence[str], *, until: float = math.inf) -> Deleted:
        """As Storage.delete of each member that is stored by one of these names, as long as it is
        not later than `until` (monotonic seconds), and of one at least."""

    def delete_collection(self, name: str, *, limit: int, until: float = math.inf) -> int | None:
        """Deletes a collection with its members, if those are no more than `limit`, and none of
        them is a collection. Returns how many resources are gone; None: not all of them, and
        somebody has to enter it. May do nothing, and raises nothing."""

    def copy(self, name: str, *, mtime_ns: int | None = None, told: Told = None) -> int:
        """As Storage.copy of a file, to the same name in the other collection. Returns the bytes
        of the copy."""

    def copy_collection(self, name: str, *, limit: int, told: Told = None) -> Sequence[int] | None:
        """Copies a collection with its members, if those are no more than `limit`, and plain files
        all. Returns the bytes of each; None, with nothing left of the copy: somebody has to enter
        it. May do nothing. Raises what `told` raises."""

    def close(self) -> None: ...


class Storage(Protocol):
    """A tree of resources."""

    @property
    def inline(self) -> bool:
        """True while bounded calls may run on the event loop (local disk, memory)."""

    @property
    def durable(self) -> bool:
        """True when publishing waits for the disk, so that it belongs off the event loop."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...
    def canonical(self, path: DavPath) -> Key:
        """Returns the identity that locks, properties and the gate use (decisions: links inside
        the root, NFC/NFD spellings and case folding meet in one key). Defined for unmapped paths
        too: what exists is resolved, the rest kept. Raises EscapesRoot."""

    def locate(self, path: DavPath) -> Located:
        """As canonical and stat in one call. A missing resource is no error (stat None); a path
        through a link out of the root raises EscapesRoot; through a file: stat None. A link that
        leads out of the root, or nowhere, is of kind OTHER itself."""

    def named(self, path: DavPath) -> Named:
        """As locate, of the last segment itself: a link there is not followed. Raises
        EscapesRoot for a link before it."""

    def child_key(self, key: Key, name: bytes) -> Key:
        """Returns the key of the member of a collection that is stored by this name (folded
        where the storage folds case)."""

    def path_of(self, key: Key) -> DavPath:
        """Returns the path that a key of this storage stands for: the inverse of canonical."""

    def is_writable(self, path: DavPath) -> bool:
        """False where nothing changes, whoever asks. Looks at no disk."""

    def is_fixed(self, key: Key) -> bool:
        """True for what can be neither removed, moved nor replaced: a root. Looks at no disk."""

    def stat(self, path: DavPath) -> Stat:
        """Raises ResourceNotFound, EscapesRoot, AccessDenied."""

    def scan(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        """Yields the members one by one; a FIFO, socket or device as kind OTHER; never hidden
        names, links out of the root or what cannot be read. Raises ResourceNotFound,
        NotACollection, AccessDenied."""

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        """As scan, and what scan leaves out too (unreadable members, and every link as a
        LinkedEntry of kind OTHER): for deleting or copying a tree."""

    def open(self, path: DavPath) -> Reader:
        """Raises ResourceNotFound, IsACollection, UnsupportedKind, AccessDenied, EscapesRoot."""

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        """Begins a new version. Raises ParentMissing, IsACollection, InvalidName, NoSpace,
        AccessDenied. `size_hint` is bytes: too many raise NoSpace before the first is sent."""

    def open_part(self, hidden: DavPath, *, create: bool = False) -> Part | None:
        """Opens what has a hidden name, of an owner of its own, to be written further; with
        `create` it is new. None while somebody else holds it. Raises ResourceNotFound,
        ResourceExists, AccessDenied, NoSpace."""

    def take_up(self, part: Part, path: DavPath, *, copies: bool = False) -> Writer:
        """As `create`, of a version whose content is that of the part: `commit` gives that its
        new name, and raises CrossDevice where it cannot; with `copies` it is a copy. `discard`
        leaves the part as it is. May block."""

    def make_collection(self, path: DavPath) -> None:
        """Raises ResourceExists, ParentMissing, InvalidName, NoSpace, AccessDenied."""

    def make_link(self, path: DavPath, target: DavPath, *, replace: bool = False) -> None:
        """Makes a relative link at an unmapped path to the canonical path of a resource of the
        same root. With `replace` it may take the place of a link, in one step. Needs
        Capability.LINKS. Raises as make_collection does; CrossDevice."""

    def delete(self, path: DavPath) -> None:
        """Removes one file, link, special file or empty collection: never what a link names.
        Raises ResourceNotFound, CollectionNotEmpty, AccessDenied."""

    def copy(
        self, source: DavPath, target: DavPath, *, mtime_ns: int | None = None, told: Told = None
    ) -> Stat:
        """Copies one file to an unmapped target (usually a hidden name), whole or not at all;
        reflink or copy_file_range where possible. mtime None means now. `told` is told of bytes
        as they are copied, where that takes long, and may end it. Raises as open and create do,
        and what `told` raises."""

    def members(self, path: DavPath, *, copy_to: DavPath | None = None) -> Members:
        """Returns the members of a collection, to be deleted, or to be copied to another: one
        that has a hidden name, or is in one that has. Raises nothing: its calls do."""

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        """One atomic step, for a file or a whole tree. With `replace` a file may take the place
        of a file. Raises ResourceExists, ResourceNotFound, ParentMissing, CrossDevice."""

    def exchange(self, a: DavPath, b: DavPath) -> None:
        """Swaps two mapped paths in one step (two renames where the system cannot). Raises
        CrossDevice, ResourceNotFound."""

    def set_attributes(
        self, path: DavPath, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat:
        """Sets what is not None; a time of a whole second gets random nanoseconds (see seal)."""

    def attributes(self, path: DavPath) -> Mapping[str, int]:
        """Returns what `restore` needs to take back what `set_attributes` is going to do. Raises
        as stat does."""

    def restore(self, path: DavPath, attributes: Mapping[str, int]) -> None:
        """Makes them what they were, to the nanosecond. Raises as set_attributes does."""

    def quota(self, path: DavPath) -> Quota | None:
        """None where unknown."""

    def sync(self, path: DavPath) -> None:
        """Makes the membership of a collection durable (as the policy says). After the gate.
        Raises ResourceNotFound, NotACollection."""

    def hidden(self, path: DavPath) -> DavPath:
        """Returns a fresh name beside `path`: `.davserver.<owner>.<random>`."""

    def abandon(self, hidden: DavPath) -> None:
        """Nobody needs any more what has this hidden name and could not be removed: whoever
        lists its collection tries again."""

    def following(self, hidden: DavPath) -> AbstractContextManager[None]:
        """Remembers the collection that a hidden name is in, wherever it is moved meanwhile;
        leaving removes what then has that name there. Raises ParentMissing, AccessDenied."""

    def close(self) -> None: ...
