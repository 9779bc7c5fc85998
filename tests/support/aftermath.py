"""What another worker finds after a server died: every resource with all that belongs to it.

Looking is a listing of everything, so it recovers and sweeps as any request does. What must hold
whatever happened is asserted here: no hidden name is left on disk, no journalled change, no row or
lock without its resource.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.conftest import AppDav, make_app_dav
from tests.support.multistatus import MultiStatus

TOPIC = "{http://example.org/ns}topic"
_ASKED = [
    TOPIC,
    "{DAV:}creationdate",
    "{DAV:}getlastmodified",
    "{DAV:}lockdiscovery",
    "{http://apache.org/dav/props/}executable",
]
_OLD, _MODIFIED = "200", " 1998 "
"""The creation dates that the tests set begin so, and their modification dates are of that year;
others are of the run itself."""


@dataclass(frozen=True)
class Found:
    """One resource.

    Attributes:
        content: None for a collection.
        created, modified: the dates when a test set them.
        locks: the locks whose root it is: the known ones by name, others as "new".
    """

    content: bytes | None
    topic: str | None
    created: str | None
    modified: str | None
    executable: str | None
    locks: tuple[str, ...]

    def relocked(self, locks: tuple[str, ...]) -> Found:
        return replace(self, locks=locks)


World = dict[str, Found]


def on_disk(root: Path) -> dict[str, bytes | None]:
    """Returns everything below the root, hidden names too."""
    found: dict[str, bytes | None] = {}
    for path in root.rglob("*"):
        name = f"/{path.relative_to(root)}"
        found |= {f"{name}/": None} if path.is_dir() else {name: path.read_bytes()}
    return found


def hidden(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob(".davserver.*"))


def look(base: Path, tokens: dict[str, str], *, fallbacks: tuple[str, ...] = ()) -> World:
    """Returns what a fresh worker serves from `base`, after checking what must always hold.

    Args:
        tokens: name to token of the locks that were there before.
    """
    dav = make_app_dav(base, "filesystem", durability="none", fallbacks=fallbacks)
    try:
        answer = dav.propfind("/", props=_ASKED, depth="infinity")
        disk = on_disk(base / "root")
        assert not hidden(base / "root")
        assert {"/", *disk} == set(answer.hrefs)
        names = {token: name for name, token in tokens.items()}
        world = {path: _found(answer, path, disk[path], names) for path in disk}
        _check_state(dav, world)
    finally:
        dav.close()
    return world


def _found(answer: MultiStatus, href: str, content: bytes | None, names: dict[str, str]) -> Found:
    properties = answer.ok(href)
    texts = {name: properties[name].text if name in properties else None for name in _ASKED}
    created, modified = texts["{DAV:}creationdate"], texts["{DAV:}getlastmodified"]
    locks = []
    for lock in properties["{DAV:}lockdiscovery"].findall("{DAV:}activelock"):
        if lock.findtext("{DAV:}lockroot/{DAV:}href") == href:
            token = lock.findtext("{DAV:}locktoken/{DAV:}href")
            locks.append(names.get(token, "new"))
    return Found(
        content,
        texts[TOPIC],
        created if created is not None and created.startswith(_OLD) else None,
        modified if modified is not None and _MODIFIED in modified else None,
        texts["{http://apache.org/dav/props/}executable"],
        tuple(sorted(locks)),
    )


def _check_state(dav: AppDav, world: World) -> None:
    app: Any = dav.app
    state = app.services.state
    keys = {"/" + key.path.decode() for key in state.keys_with_rows()}
    orphans = keys - {path.rstrip("/") for path in world} - {"/"}
    assert not orphans, f"rows or locks without a resource: {orphans}"
    with state.hold([], wait_s=1) as view:
        assert view.changes() == ()
