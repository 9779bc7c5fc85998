"""What the kill tests do: every method that changes something, what stands there before, and which
states a death may leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.conftest import AppDav, make_app_dav
from tests.support.aftermath import TOPIC, World
from tests.support.crashing import Request
from tests.support.dav import LOCKINFO

Tree = dict[str, bytes | None]
Legal = Callable[[World, World, World], bool]

FILE: Tree = {"/a": b"new"}
TREE: Tree = {"/a/": None, "/a/f": b"new", "/a/d/": None, "/a/d/g": b"deep"}
OLD_FILE: Tree = {"/b": b"old"}
OLD_TREE: Tree = {"/b/": None, "/b/f": b"old", "/b/h": b"old"}
BYSTANDER: Tree = {"/c": b"nobody touches this"}
BOTH = ("renameat2", "tmpfile", "reflink", "copy_file_range")
PATCH = (
    '<D:propertyupdate xmlns:D="DAV:" xmlns:x="http://example.org/ns"><D:set><D:prop>'
    "<x:topic>patched</x:topic>{live}</D:prop></D:set></D:propertyupdate>"
)
MAKE = (
    '<D:mkcol xmlns:D="DAV:" xmlns:x="http://example.org/ns"><D:set><D:prop>'
    "<D:resourcetype><D:collection/></D:resourcetype><x:topic>made so</x:topic>{live}"
    "</D:prop></D:set></D:mkcol>"
)
TIME = (
    "<D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified>"
    "<D:creationdate>2009-02-03T04:05:06Z</D:creationdate>"
)
LIVE = (
    "<D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified>"
    '<e:executable xmlns:e="http://apache.org/dav/props/">T</e:executable>'
)


def either(before: World, after: World, found: World) -> bool:
    return found in (before, after)


def some_are_gone(before: World, after: World, found: World) -> bool:
    """Every member is as it was or gone, and what is there has its parents."""
    return all(before.get(path) == what for path, what in found.items()) and after.keys() <= (
        found.keys()
    )


@dataclass(frozen=True)
class Scenario:
    """Attributes:
    tree: what is there before, each with a topic and a creation date of its own.
    locked: roots of locks whose tokens the request submits.
    """

    status: int
    method: str
    target: str
    tree: Tree
    locked: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    legal: Legal = either
    across: bool = False
    straight: bool = False
    durability: str = "none"
    fallbacks: tuple[str, ...] = ()


def transfers() -> Iterator[tuple[str, Scenario]]:
    """COPY and MOVE of everything onto everything."""
    sources = {"file": (FILE, "/a"), "tree": (TREE, "/a/f")}
    targets = {"nothing": ({}, ()), "file": (OLD_FILE, ("/b",)), "tree": (OLD_TREE, ("/b/h",))}
    for method in ("COPY", "MOVE"):
        for of, (source, lock) in sources.items():
            for onto, (old, locks) in targets.items():
                locked = (lock, *locks)
                for how, fallbacks in {"": (), ", without renameat2": BOTH}.items():
                    yield (
                        f"{method} {of} onto {onto}{how}",
                        Scenario(
                            204 if old else 201,
                            method,
                            "/a",
                            source | old,
                            locked,
                            {"Destination": "/b"},
                            fallbacks=fallbacks,
                        ),
                    )
    for of, (source, lock) in sources.items():
        for onto in ("nothing", "file", "tree"):
            old, locks = targets[onto]
            yield (
                f"MOVE {of} onto {onto} across file systems",
                Scenario(
                    204 if old else 201,
                    "MOVE",
                    "/a",
                    source | old,
                    (lock, *locks),
                    {"Destination": "/b"},
                    across=True,
                ),
            )


def lock_body() -> bytes:
    return LOCKINFO.format(scope="exclusive", owner="<D:owner>tests</D:owner>").encode()


def batch(tree: Tree, operations: list[dict[str, object]]) -> Scenario:
    """An atomic one."""
    body = json.dumps({"atomic": True, "operations": operations}).encode()
    headers = {"Content-Type": "application/json"}
    return Scenario(200, "POST", "/.davserver/batch", tree, headers=headers, body=body)


def batches() -> Iterator[tuple[str, Scenario]]:
    """One atomic batch of everything, over what is there and what it makes itself."""
    patch = PATCH.format(live=LIVE)
    operations: list[dict[str, object]] = [
        {"op": "mkcol", "href": "/n"},
        {"op": "put", "href": "/n/f", "content": "text"},
        {"op": "put", "href": "/b/f", "content": "other"},
        {"op": "move", "href": "/a", "destination": "/n/a"},
        {"op": "copy", "href": "/n", "destination": "/b"},
        {"op": "move", "href": "/n/a/f", "destination": "/n/f"},
        {"op": "delete", "href": "/n/a"},
        {"op": "proppatch", "href": "/b/a/f", "xml": patch},
        {"op": "lock", "href": "/m"},
        {"op": "delete", "href": "/b/f"},
    ]
    scenario = batch(TREE | OLD_TREE, operations)
    yield "BATCH", scenario
    small: list[dict[str, object]] = [
        {"op": "put", "href": "/n", "content": "text"},
        # Onto something newer, so that it always gets another time.
        {"op": "move", "href": "/a", "destination": "/n"},
    ]
    yield "BATCH of two", batch(FILE, small)
    yield "BATCH, durable", replace(scenario, durability="full")
    yield "BATCH, without renameat2", replace(scenario, fallbacks=BOTH)
    yield "BATCH across file systems", replace(scenario, across=True)


LONG = bytes(range(256)) * 12_000
XML = {"Content-Type": "application/xml"}
APPEND = {
    "Content-Type": "application/x-sabredav-partialupdate",
    "X-Update-Range": "append",
}
SCENARIOS: dict[str, Scenario] = {
    "PUT new": Scenario(201, "PUT", "/n", {}, body=b"content"),
    "PUT new, durable": Scenario(201, "PUT", "/n", {}, body=b"content", durability="full"),
    "PUT new, long": Scenario(201, "PUT", "/n", {}, body=LONG),
    "PUT new, with hidden name": Scenario(201, "PUT", "/n", {}, body=LONG, fallbacks=BOTH),
    "PUT over": Scenario(204, "PUT", "/a", FILE, ("/a",), body=b"content"),
    "PUT over, durable": Scenario(
        204, "PUT", "/a", FILE, ("/a",), body=b"content", durability="full"
    ),
    "PUT over, long": Scenario(204, "PUT", "/a", FILE, ("/a",), body=LONG),
    "PUT over, with hidden name": Scenario(
        204, "PUT", "/a", FILE, ("/a",), body=LONG, fallbacks=BOTH
    ),
    "PATCH": Scenario(204, "PATCH", "/a", FILE, ("/a",), APPEND, b" and more"),
    "PATCH, durable": Scenario(
        204, "PATCH", "/a", FILE, ("/a",), APPEND, b" and more", durability="full"
    ),
    "PATCH, long": Scenario(204, "PATCH", "/a", FILE, ("/a",), APPEND, LONG),
    "PATCH, with hidden name": Scenario(
        204, "PATCH", "/a", FILE, ("/a",), APPEND, b" and more", fallbacks=BOTH
    ),
    "MKCOL": Scenario(201, "MKCOL", "/n", {}),
    "MKCOL with properties": Scenario(
        201, "MKCOL", "/n", {}, (), XML, MAKE.format(live="").encode()
    ),
    "MKCOL with properties and a time": Scenario(
        201, "MKCOL", "/n", {}, (), XML, MAKE.format(live=TIME).encode()
    ),
    "DELETE file": Scenario(204, "DELETE", "/a", FILE, ("/a",)),
    "DELETE locked file without properties": Scenario(204, "DELETE", "/p", {"/p": b""}, ("/p",)),
    "DELETE tree": Scenario(204, "DELETE", "/a", TREE, ("/a/f",), legal=some_are_gone),
    "PROPPATCH dead": Scenario(
        207, "PROPPATCH", "/a", FILE, ("/a",), XML, PATCH.format(live="").encode()
    ),
    "PROPPATCH live": Scenario(
        207, "PROPPATCH", "/a", FILE, ("/a",), XML, PATCH.format(live=LIVE).encode()
    ),
    "LOCK file": Scenario(200, "LOCK", "/a", FILE, (), XML, lock_body()),
    "LOCK tree": Scenario(200, "LOCK", "/a", TREE, (), XML, lock_body()),
    "LOCK unmapped": Scenario(201, "LOCK", "/n", {}, (), XML, lock_body()),
    "LOCK unmapped, with hidden name": Scenario(
        201, "LOCK", "/n", {}, (), XML, lock_body(), fallbacks=BOTH
    ),
    "UNLOCK": Scenario(204, "UNLOCK", "/a", FILE, ("/a",)),
    "MOVE locked file without properties": Scenario(
        201, "MOVE", "/p", {"/p": b"p"}, ("/p",), {"Destination": "/q"}
    ),
    "MOVE file without properties, without renameat2": Scenario(
        201, "MOVE", "/p", {"/p": b"p"}, (), {"Destination": "/q"}, fallbacks=BOTH
    ),
    "MOVE onto locked file without properties": Scenario(
        204, "MOVE", "/p", {"/p": b"p", "/q": b"q"}, ("/q",), {"Destination": "/q"}
    ),
    **dict(transfers()),
    **dict(batches()),
}
STRAIGHT: dict[str, Scenario] = {
    f"{name}, straight": replace(SCENARIOS[name], straight=True)
    for name in (
        *("PUT new", "PUT over", "PROPPATCH dead", "PROPPATCH live", "LOCK file"),
        *("LOCK unmapped", "UNLOCK", "MKCOL", "DELETE file", "MOVE file onto nothing"),
        *("MOVE file onto file", "MOVE file onto nothing, without renameat2"),
        *("MOVE locked file without properties", "MOVE onto locked file without properties"),
    )
}


class Template:
    """A root and a state, filled once and copied for each run to one and the same place: a state
    belongs to the folder that it was made for.

    Attributes:
        base: holds what `fresh` copied last.
    """

    def __init__(self, folder: Path) -> None:
        self.base = folder / "run"
        self._copied = folder / "template"

    @contextmanager
    def filling(self) -> Iterator[AppDav]:
        """Yields a client that fills it."""
        self.base.mkdir()
        dav = make_app_dav(self.base, "filesystem", durability="none")
        yield dav
        dav.close()
        self.base.rename(self._copied)

    def fresh(self) -> Path:
        if self.base.exists():
            shutil.rmtree(self.base)
        shutil.copytree(self._copied, self.base, symlinks=True)
        return self.base


def fill(dav: AppDav, scenario: Scenario, place: str = "") -> dict[str, str]:
    """Creates what is there before, below `place`, each resource with a topic and a creation date
    of its own but for those named p or q. Returns the locks: path below `place` to token."""
    for number, (path, content) in enumerate((scenario.tree | BYSTANDER).items()):
        where = place + path
        reply = dav.mkcol(where) if content is None else dav.put(where, content)
        assert reply.status == 201, reply
        if path[1] not in "pq":
            created = f"200{number}-02-03T04:05:06Z"
            properties = {TOPIC: f"of {path}", "{DAV:}creationdate": created}
            assert dav.proppatch(where, set=properties).status == 207
    return {path: dav.lock(place + path).token for path in (*scenario.locked, "/c")}


def request_of(scenario: Scenario, tokens: dict[str, str], place: str = "") -> Request:
    """Returns the request of a scenario, with the tokens that it needs."""
    headers = dict(scenario.headers)
    if "Destination" in headers:
        headers["Destination"] = place + headers["Destination"]
    if scenario.method == "UNLOCK":
        headers["Lock-Token"] = f"<{tokens[scenario.target]}>"
    elif scenario.locked:
        lists = [f"<{place}{path}> (<{tokens[path]}>)" for path in scenario.locked]
        headers["If"] = " ".join(lists)
    return Request(scenario.method, place + scenario.target, headers, scenario.body)
