"""What RFC 4918 says a server does, in the smallest form: resources, dead properties, locks.

Written from the RFC (sections 6, 7, 9 and 10.4), not from the server. Where the RFC leaves a
choice, the comment says which one is taken. Paths are tuples of segments, () is the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

Path = tuple[str, ...]


@dataclass
class Resource:
    """`content` None: a collection. `etag` is what the server has told of this version."""

    content: bytes | None = None
    properties: dict[str, str] = field(default_factory=dict)
    etag: str | None = None

    @property
    def is_collection(self) -> bool:
        return self.content is None


@dataclass(frozen=True)
class Lock:
    token: str
    root: Path
    exclusive: bool
    infinite: bool
    principal: str
    timeout_s: int
    expires_at: float

    def covers(self, path: Path) -> bool:
        return path == self.root or (self.infinite and path[: len(self.root)] == self.root)


@dataclass(frozen=True)
class Condition:
    """One of `token` and `etag`."""

    negated: bool = False
    token: str | None = None
    etag: str | None = None

    def __str__(self) -> str:
        text = f"<{self.token}>" if self.token is not None else f"[{self.etag}]"
        return f"Not {text}" if self.negated else text


@dataclass(frozen=True)
class List:
    conditions: tuple[Condition, ...]
    tag: Path | None = None


@dataclass(frozen=True)
class Request:
    """One request; `depth` None: no header."""

    method: str
    path: Path
    principal: str
    destination: Path = ()
    depth: str | None = None
    overwrite: str | None = None
    lists: tuple[List, ...] = ()
    if_match: str | None = None
    if_none_match: str | None = None
    body: bytes = b""
    token: str | None = None
    exclusive: bool = True
    timeout_s: int = 3600
    changes: tuple[tuple[str, str | None], ...] = ()

    @property
    def submitted(self) -> set[str]:
        """Section 10.4.1: a token is submitted by standing in the header, anywhere."""
        conditions = [one for each in self.lists for one in each.conditions]
        return {one.token for one in conditions if one.token is not None}


class Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Model:
    """`answer` returns the status and changes the resources and locks as the server must."""

    def __init__(self) -> None:
        self.resources: dict[Path, Resource] = {(): Resource()}
        self.locks: list[Lock] = []
        self.now = 0.0

    # -- what there is -----------------------------------------------------------------------

    def pass_s(self, seconds: float) -> None:
        """Section 6.6: a lock whose time is over is removed as by UNLOCK."""
        self.now += seconds
        self.locks = [lock for lock in self.locks if lock.expires_at > self.now]

    def covering(self, path: Path) -> list[Lock]:
        return [lock for lock in self.locks if lock.covers(path)]

    def beneath(self, path: Path) -> list[Lock]:
        return [lock for lock in self.locks if is_below(lock.root, path)]

    def tree(self, path: Path) -> list[Path]:
        return [one for one in self.resources if one == path or is_below(one, path)]

    def members(self, path: Path) -> list[Path]:
        return [one for one in self.resources if one and one[:-1] == path]

    def is_collection(self, path: Path) -> bool:
        found = self.resources.get(path)
        return found is not None and found.is_collection

    # -- the checks --------------------------------------------------------------------------

    def answer(self, request: Request) -> int:
        try:
            return _METHODS[request.method](self, request)
        except Refused as refused:
            return refused.status

    def _find(self, request: Request) -> Resource:
        found = self.resources.get(request.path)
        if found is None:
            raise Refused(404)
        return found

    def _require_parent(self, path: Path) -> None:
        if not self.is_collection(path[:-1]):
            raise Refused(409)

    def check_if(self, request: Request) -> None:
        """Section 10.4.3: one list must be true, and all of its conditions."""
        if not request.lists or any(self._is_true(request, one) for one in request.lists):
            return
        if not self._is_excused(request):
            raise Refused(412)

    def _is_true(self, request: Request, one: List) -> bool:
        path = request.path if one.tag is None else one.tag
        found = self.resources.get(path)
        # Section 10.4.4: an unmapped URL has neither entity-tag nor lock.
        tokens = {lock.token for lock in self.covering(path)} if found else set()
        etag = found.etag if found else None

        def matches(condition: Condition) -> bool:
            if condition.token is not None:
                return condition.token in tokens
            return etag is not None and condition.etag == etag

        return all(matches(condition) != condition.negated for condition in one.conditions)

    def _is_excused(self, request: Request) -> bool:
        """Finder names only the lock of a member when it moves or deletes the collection."""
        if request.method not in ("MOVE", "DELETE") or not self.is_collection(request.path):
            return False
        inner = {lock.token for lock in self.beneath(request.path)}
        conditions = [one for each in request.lists for one in each.conditions]
        return all(each.tag is None for each in request.lists) and all(
            one.token in inner and not one.negated for one in conditions
        )

    def is_free(self, request: Request, path: Path) -> bool:
        """Section 7.5, 6.4: the token of a lock on it, submitted by who created that."""
        covering = self.covering(path)
        mine = [lock for lock in covering if lock.principal == request.principal]
        return not covering or any(lock.token in request.submitted for lock in mine)

    def require_free(self, request: Request, *paths: Path) -> None:
        if not all(self.is_free(request, path) for path in paths):
            raise Refused(423)

    def require_free_below(self, request: Request, path: Path) -> None:
        """Every lock rooted in the tree; holders of one root's shared locks count as one."""
        for root in {lock.root for lock in self.beneath(path)}:
            here = [lock for lock in self.locks if lock.root == root]
            mine = [lock for lock in here if lock.principal == request.principal]
            if not any(lock.token in request.submitted for lock in mine):
                raise Refused(423)

    def check_http(self, request: Request, found: Resource | None) -> None:
        """RFC 9110 section 13.2.2."""
        etag = found.etag if found else None
        if request.if_match is not None:
            is_any = request.if_match == "*" and found is not None
            if not is_any and (etag is None or request.if_match != etag):
                raise Refused(412)
        if request.if_none_match == "*" and found is not None:
            raise Refused(412)

    # -- the methods -------------------------------------------------------------------------

    def get(self, request: Request) -> int:
        found = self._find(request)
        if not all(one.token for each in request.lists for one in each.conditions):
            self.check_if(request)  # of tokens alone it hinders no read: a client's quirk
        self.check_http(request, found)
        return 200

    def put(self, request: Request) -> int:
        found = self.resources.get(request.path)
        if found is not None and found.is_collection:
            raise Refused(405)
        if found is None:
            self._require_parent(request.path)
        self.check_if(request)
        self.require_free(request, request.path if found else request.path[:-1])
        self.check_http(request, found)
        kept = found.properties if found else {}
        self.resources[request.path] = Resource(request.body, kept)
        return 204 if found else 201

    def mkcol(self, request: Request) -> int:
        if request.path in self.resources:
            raise Refused(405)
        self._require_parent(request.path)
        self.check_if(request)
        self.require_free(request, request.path[:-1])
        self.check_http(request, None)
        self.resources[request.path] = Resource()
        return 201

    def delete(self, request: Request) -> int:
        found = self._find(request)
        self.check_if(request)
        self.require_free(request, request.path, request.path[:-1])
        self.check_http(request, found)
        return 204 if self._remove(request, request.path) else 207

    def _remove(self, request: Request, path: Path) -> bool:
        """Section 9.6.1: what can be deleted is; what cannot stays with its ancestors. A locked
        collection stays with everything in it: the whole of it is one cause."""
        gone = True
        for member in self.members(path):
            gone &= self.is_free(request, member) and self._remove(request, member)
        if gone:
            del self.resources[path]
            self.locks = [lock for lock in self.locks if lock.root != path]
        return gone

    def copy(self, request: Request) -> int:
        source = self._find(request)
        goal = self.resources.get(request.destination)
        self._check_transfer(request)
        is_update = goal is not None and not goal.is_collection and not source.is_collection
        self._require_goal_free(request, with_parent=not is_update)
        self.check_http(request, source)
        self._check_overwrite(request)
        paths = self.tree(request.path)
        if request.depth == "0":
            paths = [request.path]
        self._put_in_place(request, paths)
        # Sections 7.6, 9.8.4: a lock on the Destination itself stays, those in it go with it.
        self.locks = [lock for lock in self.locks if not is_below(lock.root, request.destination)]
        return 204 if goal else 201

    def move(self, request: Request) -> int:
        source = self._find(request)
        goal = self.resources.get(request.destination)
        self._check_transfer(request)
        self.require_free(request, request.path, request.path[:-1])
        self.require_free_below(request, request.path)
        self._require_goal_free(request, with_parent=True)
        self.check_http(request, source)
        self._check_overwrite(request)
        gone = {*self.tree(request.path), *self.tree(request.destination)}
        paths = self.tree(request.path)
        self._put_in_place(request, paths)
        for path in paths:
            del self.resources[path]
        # Section 7.6: locks do not move; 9.9.3: the Destination is deleted first.
        self.locks = [lock for lock in self.locks if lock.root not in gone]
        return 204 if goal else 201

    def _check_transfer(self, request: Request) -> None:
        source, goal = request.path, request.destination
        if source == goal or is_below(source, goal):
            raise Refused(403)
        if is_below(goal, source) and request.depth != "0":
            raise Refused(403)
        if goal not in self.resources:
            self._require_parent(goal)
        self.check_if(request)

    def _require_goal_free(self, request: Request, *, with_parent: bool) -> None:
        if request.destination in self.resources:
            self.require_free(request, request.destination)
            self.require_free_below(request, request.destination)
        if with_parent or request.destination not in self.resources:
            self.require_free(request, request.destination[:-1])

    def _check_overwrite(self, request: Request) -> None:
        if request.overwrite == "F" and request.destination in self.resources:
            raise Refused(412)

    def _put_in_place(self, request: Request, paths: Iterable[Path]) -> None:
        """Section 9.8.4: the Destination is replaced, never merged."""
        new = {
            request.destination + path[len(request.path) :]: Resource(
                self.resources[path].content, dict(self.resources[path].properties)
            )
            for path in paths
        }
        for path in self.tree(request.destination):
            del self.resources[path]
        self.resources |= new

    def lock(self, request: Request) -> int:
        """The token of the new lock is the request's: the server makes it."""
        found = self.resources.get(request.path)
        if found is None:
            self._require_parent(request.path)
        self.check_if(request)
        if found is None:
            self.require_free(request, request.path[:-1])
        self.check_http(request, found)
        if any(self._conflicts(request, lock) for lock in self.covering(request.path)):
            raise Refused(423)
        if request.depth != "0" and any(
            self._conflicts(request, lock) for lock in self.beneath(request.path)
        ):
            raise Refused(207)
        if found is None:
            self.resources[request.path] = Resource(b"")
        self.locks.append(
            Lock(
                request.token or "",
                request.path,
                request.exclusive,
                request.depth != "0",
                request.principal,
                request.timeout_s,
                self.now + request.timeout_s,
            )
        )
        return 200 if found else 201

    def _conflicts(self, request: Request, lock: Lock) -> bool:
        return request.exclusive or lock.exclusive

    def refresh(self, request: Request) -> int:
        if request.path not in self.resources:
            self._require_parent(request.path)
        self.check_if(request)
        number = next(n for n, lock in enumerate(self.locks) if lock.token == request.token)
        lock = self.locks[number]
        if lock.principal != request.principal:
            raise Refused(403)
        self.locks[number] = replace(lock, expires_at=self.now + lock.timeout_s)
        return 200

    def unlock(self, request: Request) -> int:
        """Any URL in the scope will do, a mapped one or not."""
        held = [lock for lock in self.covering(request.path) if lock.token == request.token]
        if not held:
            raise Refused(409)
        if held[0].principal != request.principal:
            raise Refused(403)
        self.locks.remove(held[0])
        return 204

    def proppatch(self, request: Request) -> int:
        found = self._find(request)
        self.check_if(request)
        self.require_free(request, request.path)
        for name, value in request.changes:
            if value is None:
                found.properties.pop(name, None)
            else:
                found.properties[name] = value
        return 207


def is_below(path: Path, above: Path) -> bool:
    return len(path) > len(above) and path[: len(above)] == above


_METHODS: dict[str, Callable[[Model, Request], int]] = {
    "GET": Model.get,
    "PUT": Model.put,
    "MKCOL": Model.mkcol,
    "DELETE": Model.delete,
    "COPY": Model.copy,
    "MOVE": Model.move,
    "LOCK": Model.lock,
    "REFRESH": Model.refresh,
    "UNLOCK": Model.unlock,
    "PROPPATCH": Model.proppatch,
}
