"""Whole trees: filled, read back over WebDAV, and looked at behind the server."""

from __future__ import annotations

from typing import Any

from davserver.protocol.path import DavPath
from tests.support.dav import Dav

TOPIC = "{http://example.org/ns}topic"


def at(path: str) -> DavPath:
    """The storage's path of a plain ASCII one."""
    return DavPath(tuple(part for part in path.split("/") if part))


def fill(dav: Dav, *paths: str) -> None:
    """Creates each path: a collection when it ends in a slash, else a file that holds its name."""
    for path in paths:
        reply = dav.mkcol(path) if path.endswith("/") else dav.put(path, path.encode())
        assert reply.status == 201, reply


def tree(dav: Dav, root: str = "/") -> dict[str, bytes | None]:
    """Returns every resource below the root, by href, with the content of the files."""
    hrefs = dav.propfind(root, props=["{DAV:}resourcetype"], depth="infinity").hrefs
    return {
        href: None if href.endswith("/") else dav.get(href).body for href in hrefs if href != root
    }


def hidden_names(dav: Any) -> list[str]:
    """Returns what an application in memory has left behind under hidden names."""
    if dav.root is not None:
        return [path.name for path in dav.root.rglob(".davserver*")]
    storage = dav.app.services.storage
    found: list[str] = []
    nodes = [storage.find(DavPath(())).node]
    while nodes:
        for name, node in nodes.pop().members.items():
            found += [name.decode()] if name.startswith(b".davserver") else []
            nodes += [node] if node.members is not None else []
    return found


def locked_roots(dav: Any) -> set[str]:
    """Returns the lock roots that the state knows, whether or not something is mapped there."""
    services = dav.app.services
    root = services.storage.canonical(DavPath(()))
    found = services.state.beneath(root, now=dav.clock.now)
    return {"/" + lock.key.path.decode() for lock in found}
