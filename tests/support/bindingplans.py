"""What is done to bindings (RFC 5842) in tests of deaths and faults, what stands there before, and
which states may be left. That a resource and a link to it have changed places shows nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from davserver.binding import is_binding
from tests.conftest import AppDav, make_app_dav
from tests.support.aftermath import hidden
from tests.support.binding import HREF, PARENT_SET, RESOURCE_ID, SEGMENT, bind

TOPIC = "{http://example.org/ns}topic"


@dataclass(frozen=True)
class Found:
    """One URL: what it leads to, and by which names in which collections."""

    content: bytes | None
    topic: str
    identity: str
    parents: frozenset[tuple[str, str]]


World = dict[str, Found]


def unbound(world: World) -> dict[str, tuple[object, ...]]:
    """What is where, whatever other names it has."""
    return {href: (one.content, one.topic, one.identity) for href, one in world.items()}


def either(before: World, after: World, found: World) -> bool:
    return found in (before, after)


def some_are_gone(before: World, after: World, found: World) -> bool:
    old, new, now = unbound(before), unbound(after), unbound(found)
    return new.items() <= now.items() <= old.items()


@dataclass(frozen=True)
class Scenario:
    """Attributes:
    tree: what is there: content, or None for a collection.
    bound: (collection, segment, href) of each binding.
    """

    status: int
    method: str
    target: str
    tree: dict[str, bytes | None]
    bound: tuple[tuple[str, str, str], ...]
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    legal: Callable[[World, World, World], bool] = either


def body(local: str, segment: str, href: str = "") -> bytes:
    inner = f"<D:segment>{segment}</D:segment>" + (f"<D:href>{href}</D:href>" if href else "")
    return f'<D:{local} xmlns:D="DAV:">{inner}</D:{local}>'.encode()


FILE: dict[str, bytes | None] = {"/a/": None, "/b/": None, "/a/x": b"file"}
TREE: dict[str, bytes | None] = {"/a/": None, "/b/": None, "/a/x/": None, "/a/x/f": b"deep"}
TWO = (("/b/", "y", "/a/x"),)
THREE = (*TWO, ("/b/", "z", "/a/x"))
INNER = (*TWO, ("/a/", "i", "/a/x"), ("/a/", "o", "/b/f"))
XML = {"Content-Type": "application/xml"}
SCENARIOS = {
    "BIND": Scenario(201, "BIND", "/b/", FILE, (), XML, body("bind", "y", "/a/x")),
    "BIND over a file": Scenario(
        204, "BIND", "/b/", FILE | {"/b/y": b"old"}, (), XML, body("bind", "y", "/a/x")
    ),
    "BIND over a tree": Scenario(
        204, "BIND", "/b/", TREE | {"/b/y/": None}, (), XML, body("bind", "y", "/a/x")
    ),
    "BIND over what is bound elsewhere": Scenario(
        204, "BIND", "/a/", FILE | {"/n": b"new"}, TWO, XML, body("bind", "x", "/n")
    ),
    "UNBIND the first": Scenario(204, "UNBIND", "/a/", TREE, THREE, XML, body("unbind", "x")),
    "UNBIND the second": Scenario(204, "UNBIND", "/b/", TREE, THREE, XML, body("unbind", "y")),
    "UNBIND the last": Scenario(204, "UNBIND", "/a/", TREE, (), XML, body("unbind", "x")),
    "REBIND the first": Scenario(201, "REBIND", "/b/", FILE, TWO, XML, body("rebind", "n", "/a/x")),
    "REBIND the second": Scenario(
        201, "REBIND", "/a/", FILE, TWO, XML, body("rebind", "n", "/b/y")
    ),
    "REBIND the second over a file": Scenario(
        204, "REBIND", "/a/", FILE | {"/a/n": b"old"}, TWO, XML, body("rebind", "n", "/b/y")
    ),
    "DELETE the first, a file": Scenario(204, "DELETE", "/a/x", FILE, THREE),
    "DELETE the first, a tree": Scenario(204, "DELETE", "/a/x", TREE, THREE),
    "DELETE the second": Scenario(204, "DELETE", "/b/y", FILE, THREE),
    "DELETE what is around the first": Scenario(
        204, "DELETE", "/a/", TREE, INNER[:2], legal=some_are_gone
    ),
    "MOVE the first": Scenario(201, "MOVE", "/a/x", TREE, THREE, {"Destination": "/n"}),
    "MOVE the second": Scenario(201, "MOVE", "/b/y", TREE, THREE, {"Destination": "/n"}),
    "MOVE what is around the first": Scenario(
        201, "MOVE", "/a/", FILE | {"/b/f": b"f"}, INNER, {"Destination": "/b/n"}
    ),
    "MOVE over the first": Scenario(
        204, "MOVE", "/n", FILE | {"/n": b"new"}, THREE, {"Destination": "/a/x"}
    ),
    "MOVE over the second": Scenario(
        204, "MOVE", "/n", FILE | {"/n": b"new"}, THREE, {"Destination": "/b/y"}
    ),
    "COPY over what is around the first": Scenario(
        204, "COPY", "/b/", TREE, (("/", "y", "/a/x"),), {"Destination": "/a/"}
    ),
}


def fill(dav: AppDav, scenario: Scenario) -> None:
    for path, content in scenario.tree.items():
        reply = dav.mkcol(path) if content is None else dav.put(path, content)
        assert reply.status == 201, reply
        assert dav.proppatch(path, set={TOPIC: f"of {path}"}).status == 207
    for collection, segment, href in scenario.bound:
        assert bind(dav, collection, segment, href).status == 201
    dav.propfind("/", props=[RESOURCE_ID], depth="infinity")


def look(base: Path, fallbacks: tuple[str, ...]) -> World:
    """Returns what a fresh worker serves, after checking what must always hold."""
    dav = make_app_dav(base, "filesystem", durability="none", fallbacks=fallbacks)
    try:
        props = [TOPIC, RESOURCE_ID, PARENT_SET, "{DAV:}resourcetype"]
        answer = dav.propfind("/", props=props, depth="infinity")
        ids = {href: answer.ok(href)[RESOURCE_ID].findtext(HREF) for href in answer}
        world = {href: _found(dav, href, answer.ok(href), ids) for href in answer if href != "/"}
        app: Any = dav.app
        services = app.services
        with services.state.hold([], wait_s=1) as view:
            assert view.changes() == ()
            for link, target in view.bindings:
                assert is_binding(services.storage, link, target), (link, target)
        keys = {"/" + key.path.decode() for key in services.state.keys_with_rows()} - {"/"}
    finally:
        dav.close()
    links = {f"/{one.relative_to(base / 'root')}" for one in _links(base / "root")}
    assert not hidden(base / "root")
    assert keys <= {href.rstrip("/") for href in world} - links
    return world


def _links(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_symlink():
            assert path.exists(), f"{path} leads nowhere"
            yield path


def _found(dav: AppDav, href: str, found: dict[str, Any], ids: dict[str, str]) -> Found:
    is_collection = len(found["{DAV:}resourcetype"]) > 0
    # A collection with several URLs is named by any of them.
    parents = [(ids[one.findtext(HREF)], one.findtext(SEGMENT)) for one in found[PARENT_SET]]
    return Found(
        None if is_collection else dav.get(href).body,
        found[TOPIC].text,
        found[RESOURCE_ID].findtext(HREF),
        frozenset(parents),
    )
