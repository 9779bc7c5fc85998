"""Bindings beyond the first (RFC 5842): which links are names of which resources.

A row says that the link at one key is a binding to the resource at another. The links on the disk
are what clients reach the resource by; a row whose link is gone, or leads elsewhere, means nothing.
There are few, so every worker knows all: who asks for a resource without any asks no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from davserver.protocol.path import Key
from davserver.state.lockindex import KeyTree
from davserver.state.rows import Executor

BINDING = "binding"
"""In the table `changes`: the binding at this key was made, changed or removed."""
Changes = Mapping[Key, Key | None]
"""What links are bound to from now on; None: they are no bindings any more."""


class Bindings:
    """All bindings at one moment; never changes. Link and resource are of one root."""

    __slots__ = ("_by_target", "_links", "_targets", "_tree")

    def __init__(self, links: Mapping[Key, Key] | None = None) -> None:
        self._links: dict[Key, Key] = {} if links is None else dict(links)
        self._by_target: dict[Key, list[Key]] = {}
        for link in sorted(self._links):
            self._by_target.setdefault(self._links[link], []).append(link)
        self._tree = KeyTree(self._links)
        self._targets = KeyTree(self._by_target)

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[tuple[Key, Key]]:
        """Yields every link with what it is bound to."""
        return iter(self._links.items())

    def target(self, link: Key) -> Key | None:
        """Returns what a link is bound to; None where it is no binding of ours."""
        return self._links.get(link)

    def links(self, target: Key) -> Sequence[Key]:
        """Returns the bindings of a resource beyond its first, in order."""
        return self._by_target.get(target, ())

    def within(self, key: Key) -> list[Key]:
        """Returns the links at `key` and below."""
        below = self._tree.beneath(key) if self._links else []
        return [key, *below] if key in self._links else below

    def bound(self, key: Key) -> list[Key]:
        """Returns the resources at `key` and below that have links, outer ones first."""
        below = self._targets.beneath(key) if self._links else []
        return [key, *below] if key in self._by_target else below

    def touches(self, key: Key) -> bool:
        """True when a binding leads to, or from, `key` or anything below."""
        return bool(self._links) and bool(self.within(key) or self.bound(key))

    def collections(self, key: Key) -> Iterator[Key]:
        """Yields every resource that has `key` in its tree by any way: itself, what is above it,
        and what is above each binding of those; each once, however they go round."""
        pending, seen = [key], {key}
        while pending:
            here = pending.pop()
            yield here
            above = [here.parent, *(link.parent for link in self.links(here))]
            for each in above:
                if each is not None and each not in seen:
                    seen.add(each)
                    pending.append(each)

    def above(self, key: Key) -> Iterable[Key] | None:
        """Returns `collections`; None where a path tells all of them."""
        return self.collections(key) if self._links else None

    def changed(self, changes: Changes) -> Bindings:
        """Returns the bindings after these changes."""
        links: dict[Key, Key | None] = {**self._links, **changes}
        return Bindings({link: target for link, target in links.items() if target is not None})

    def moved(self, source: Key, target: Key) -> Changes:
        """Returns what changes when the tree at `source` comes to stand at `target`, where the
        links that there were have gone."""
        changes: dict[Key, Key | None] = dict.fromkeys(self.within(target), None)
        onto = [link for each in self.bound(source) for link in self.links(each)]
        for link in (*self.within(source), *onto):
            if link in changes:
                continue
            bound = self._links[link]
            new = moved_key(link, source, target)
            if new != link:
                changes[link] = None
            changes[new] = moved_key(bound, source, target)
        return changes


def moved_key(key: Key, source: Key, target: Key) -> Key:
    """Returns where `key` comes to lie; where it is when it is not at or below `source`."""
    if not source.covers(key):
        return key
    rest = key.path[len(source.path) :].removeprefix(b"/")
    return target.child(rest) if rest else target


def load_bindings(db: Executor) -> Bindings:
    """Reads all of them."""
    rows = db.query("SELECT root, path, target FROM bindings")
    return Bindings({Key(root, path): Key(root, target) for root, path, target in rows})


def load_some_bindings(db: Executor, keys: Iterable[Key]) -> Changes:
    """Reads those at some keys."""
    changes: dict[Key, Key | None] = {}
    for key in keys:
        rows = db.query("SELECT target FROM bindings WHERE root = ? AND path = ?", key)
        changes[key] = Key(key.root, rows[0][0]) if rows else None
    return changes


def store_bindings(db: Executor, changes: Changes) -> None:
    """Writes what has changed."""
    for link, target in changes.items():
        if target is None:
            db.query("DELETE FROM bindings WHERE root = ? AND path = ?", link)
        else:
            db.query("INSERT OR REPLACE INTO bindings VALUES(?,?,?)", (*link, target.path))
