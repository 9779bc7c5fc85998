"""The State seam: dead properties, locks, the gate, the journal. Raises StateError only.

One store holds all, so that a MOVE changes properties and locks in one transaction. Rows are
keyed by the canonical Key of a resource, never by what a client called it.

The gate (`State.hold`) is the one place where conditions and locks are evaluated for the last
time and a change is published; it holds across threads and worker processes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from davserver.protocol.locks import Lock
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import DavPath, Key
from davserver.state.bindings import Bindings, Changes


class StepKind(enum.Enum):
    """What one step of a change does; its inverse is what recovery may have to do."""

    PUBLISH = "publish"
    """What stands at `source` becomes `target` with its rows; an old target is set aside."""
    CREATE = "create"
    """What comes to stand at `target` has its rows and locks before it stands there."""
    REMOVE = "remove"
    """What stands at `source` goes, with its rows: the resource of this `identity`, which stays
    when it is still there; without one whatever tree is there."""
    LEAVE = "leave"
    """What stands at `source` goes, now that a copy of it has become `target`: a file that is the
    version of `identity` and `values`; of a collection what has not been written since. Nothing
    that is locked by others than those of `tokens`."""
    HAND_OVER = "hand-over"
    """What stands at `source`, of this `identity`, and the link to it at `target` change places."""
    APPLY = "apply"
    """The live values in `values` are put on `target`."""
    ATOMIC = "atomic"
    """Everything that is in the change's undo log is one: while this is journalled, all of it is to
    be undone."""
    RENAME = "rename"
    """In an undo log: what stands at `source`, of this `identity`, is renamed to `target`."""
    EXCHANGE = "exchange"
    """In an undo log: `source`, of this `identity`, and `target` swap places."""
    RESTORE = "restore"
    """In an undo log: `target`, of this `identity`, has `values` as attributes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One journalled step.

    Attributes:
        source, target: paths in the storage (hidden names allowed).
        aside: hidden path that the old target goes to, when there is one.
        identity: (device, inode, birth_ns) of what stands at `source` before the step, so that
            recovery can tell whether the step was done. None where not needed.
        values: for APPLY, attribute name to integer (`mtime_ns`, `executable`).
        tokens: of locks that were submitted.
    """

    kind: StepKind
    source: DavPath | None = None
    target: DavPath | None = None
    aside: DavPath | None = None
    identity: tuple[int, int, int | None] | None = None
    values: Mapping[str, int] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """An ordered list of steps, journalled before the first and settled after the last.

    `owner` is the worker that makes it: dead when its lock file can be taken.
    """

    id: str
    root: str
    owner: str
    steps: tuple[Step, ...]


class Phase(enum.Enum):
    """How far an upload is."""

    OPEN = "open"
    """More can be appended."""
    PUBLISHING = "publishing"
    """All of it is here. When its part has gone, it was published."""
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in pieces.

    Attributes:
        id: what its URL ends in; nobody can guess it.
        principal: who began it, and alone sees it.
        owner: of the hidden name `part`: alive until the upload is removed or has expired.
        target, key: what it is to become.
        request: header fields of the request that began it, which its publication obeys.
        size: bytes that are in the part for good.
        length: bytes of the whole, None while nobody has told.
        expires_at: seconds since the epoch.
        calls: counts those who came for it while somebody appended, and should let go.
    """

    id: str
    principal: str
    owner: str
    target: DavPath
    key: Key
    part: DavPath
    request: tuple[tuple[bytes, bytes], ...]
    expires_at: float
    length: int | None = None
    size: int = 0
    phase: Phase = Phase.OPEN
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request with a key was answered, so that it is answered again, and not done again.

    Attributes:
        principal: who sent it; the key is that one's.
        digest: of its body.
        owner: who is at it, until there is an answer; dead when it never came to one.
        expires_at: seconds since the epoch.
        status, body: of the answer; None and empty while there is none.
    """

    principal: str
    key: str
    digest: bytes
    owner: str
    expires_at: float
    status: int | None = None
    body: bytes = b""


class Answers(Protocol):
    """The answers that are kept, seen from inside the gate; changed in its transaction."""

    def find(self, principal: str, key: str, *, now: float) -> Answer | None:
        """Never one that has expired."""

    def keep(self, answer: Answer) -> None:
        """In the place of what is kept for this key. Raises StateFull."""

    def remove(self, principal: str, key: str) -> None: ...
    def tidy(self, principal: str, *, now: float, most: int) -> None:
        """Removes those that have expired, and of a principal's the oldest past `most`."""


class UndoLog(Protocol):
    """What an atomic change has done to the disk, step by step, to be undone from its end. For who
    is in the gate. Raises StateError."""

    def append(self, step: Step) -> None:
        """Before the step is done. Durable on return, as the policy says."""

    def last(self) -> Step | None:
        """Returns the step to undo next, None when there is none. Undoing one that was never done,
        or is undone, does nothing."""

    def pop(self) -> None:
        """The last one is undone. Needs no room."""

    def close(self) -> None:
        """Gives up the file; harmless twice. Later use opens it again."""

    def remove(self) -> None:
        """The change is settled. Raises nothing; harmless twice."""


class UndoLogs(Protocol):
    """The undo logs of all workers."""

    def log(self, id: str) -> UndoLog:
        """Returns the log of the change with this id, empty where there is none."""

    def keep(self, ids: Collection[str]) -> None:
        """Removes all others. Raises nothing."""


class Usage(NamedTuple):
    """What is known of a tree that has a quota.

    Attributes:
        used: bytes in its files, as counted once and changed since.
        is_known: False until it has been counted: then `used` is what was changed alone.
    """

    used: int
    is_known: bool


class Tally(NamedTuple):
    """How the numbers stood when a count began."""

    added: int
    removed: int
    moves: int
    dead: frozenset[str]


class Numbers(Protocol):
    """The numbers of one tree with a quota, the same for all workers. All but `read` and `counts`
    is for who is in the gate; none of it is undone with a transaction. Raises StateError."""

    def read(self) -> Usage: ...
    @property
    def counts(self) -> int:
        """How many counts have ended: what was entered before the last is perhaps in it."""

    def change(self, *, added: int = 0, removed: int = 0, moves: int = 0) -> None:
        """Enters bytes that are about to come, bytes that have gone, and trees that were moved
        within, whose bytes a count may have missed or seen twice."""

    def doubt(self) -> None:
        """Has it counted again, soon."""

    def begin(self, *, before: float) -> Tally | None:
        """Begins a count. None: there is no need, or a living worker is at it.

        Args:
            before: a count that is older (seconds since the epoch) is too old.
        """

    def end(self, tally: Tally, total: int, *, now: float, anyhow: bool = False) -> bool:
        """Takes what a walk has found; False when trees were moved meanwhile and it is worth
        nothing.

        Args:
            total: bytes of all files in the tree, those under hidden names apart.
            now: when the walk began, in seconds since the epoch.
            anyhow: takes it all the same, for want of anything better.
        """

    def give_up(self) -> None:
        """Lets somebody else count."""


class StateReader(Protocol):
    """What can be asked with and without the gate."""

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        """Locks in whose scope `key` is: on it, or of depth infinity above it. Never expired
        ones. Costs microseconds and no query when nothing changed."""

    def beneath(self, key: Key, *, now: float) -> Sequence[Lock]:
        """Locks rooted strictly below `key`."""

    def lock(self, token: str, *, now: float) -> Lock | None: ...
    def numbers(self, scope: Key) -> Numbers:
        """The numbers of the tree at a key."""

    @property
    def bindings(self) -> Bindings:
        """All bindings beyond the first of each resource. Costs no query when nothing changed."""

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        """Dead properties of one resource: name to canonical element."""

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        """Dead properties of members of one collection, by name (file system bytes), in one
        query; members without any are left out."""

    def upload(self, id: str) -> Upload | None: ...
    def uploads(self) -> Sequence[Upload]:
        """Every upload, those that have expired too."""


class GateView(StateReader, Protocol):
    """The state seen from inside the gate. Mutations are one transaction: `commit` or leaving
    the gate in peace makes them durable, an exception undoes what was not committed."""

    def add_lock(self, lock: Lock) -> None:
        """Raises TooManyLocks past the limits (locks of a principal, locks on a resource),
        StateFull when there is no room."""

    def refresh_lock(self, token: str, *, timeout_s: int, expires_at: float) -> Lock:
        """Raises KeyError when there is no such lock."""

    def remove_lock(self, token: str) -> None: ...
    def remove_locks(self, key: Key, *, itself: bool = True) -> None:
        """Removes locks rooted below `key`, and at it."""

    def patch(self, key: Key, changes: Sequence[PropertyChange]) -> None:
        """Applies in order. Raises StateFull past the limits on count and size."""

    def copy_properties(self, source: Key, target: Key, *, tree: bool) -> None:
        """Target's own properties (its tree's, with `tree`) go first. Names in the private
        namespace `{davserver:}` are not copied."""

    def move_rows(self, source: Key, target: Key) -> None:
        """The properties of the whole tree move, and its bindings; those that target had, and
        locks rooted at or below source, go. Locks at or below target stay (remove_locks is the
        caller's)."""

    def clear(self, key: Key, *, locks: bool = True) -> None:
        """Removes properties (and locks) of the resource and everything below, and what is known
        of links there."""

    def bind(self, changes: Changes) -> None:
        """Notes what links are bound to; None: to nothing any more."""

    @property
    def answers(self) -> Answers: ...
    def keep_upload(self, upload: Upload) -> None:
        """Stores it in the place of what was stored under its id. Raises StateFull."""

    def remove_upload(self, id: str) -> None: ...
    def has_rows(self, key: Key) -> bool:
        """True when any property is stored at or below `key`, private ones included."""

    def keys_with_rows(self, key: Key) -> Sequence[Key]:
        """Returns what has properties, at `key` and below."""

    def record(self, change: Change) -> None:
        """Journals a change. Durable only after `commit`."""

    def remember(self, change: Change) -> None:
        """As `record`, for what must be done though there is no room to journal it: at once, in
        memory only, and lost with this worker."""

    def settle(self, change: Change) -> None:
        """The change is done or undone: its row goes."""

    def changes(self) -> Sequence[Change]:
        """Every journalled change, of any owner."""

    def commit(self) -> None: ...

    def rollback(self) -> None:
        """Undoes what was not committed: after a StateError, to go on in the gate."""


class State(StateReader, Protocol):
    """The whole store, one object a worker."""

    @property
    def inline(self) -> bool: ...
    @property
    def owner(self) -> str:
        """This worker's id: part of hidden names and of journalled changes."""

    @property
    def undo(self) -> UndoLogs: ...
    def is_alive(self, owner: str) -> bool:
        """False once the worker's lock file can be taken; the owner of an upload's part lives
        until that has expired, or is no more."""

    def another_owner(self) -> AbstractContextManager[str]:
        """Yields an id that is alive as long as the block: for a change that is worked on outside
        the gate, where one of the worker's own is taken for left behind. Raises StateFailure."""

    def hold(
        self,
        exclusive: Sequence[Key],
        shared: Sequence[Key] = (),
        *,
        wait_s: float,
        narrow: bool = False,
    ) -> AbstractContextManager[GateView]:
        """Enters the gate. Raises GateBusy when the wait is over.

        Args:
            wait_s: 0 never blocks, or for less than a hop to a thread takes.
            narrow: on the disk the content of the one resource, which is no collection, is changed
                or nothing, and others may be in the gate for others meanwhile. Numbers of quotas
                must not be changed. Locks of the resource may be; the first change of any other row
                takes all of the gate, or raises GateBusy.
        """

    def keep_numbers(self, scopes: Callable[[], Collection[Key]]) -> None:
        """Makes the numbers of all other trees unknown: what is changed in one that has no quota
        now is not entered, and they would be wrong when it has one again. Raises StateError.

        Args:
            scopes: lists the trees that have one. Asked again in the gate where there are others,
                for one may have come since.
        """

    def has_changes(self) -> bool:
        """True when a change is journalled for somebody to recover: of a dead owner, or one that
        this worker could not settle (no query when nothing changed)."""

    def close(self) -> None: ...
