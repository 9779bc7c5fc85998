"""Every request that a client can make, with a path in each place where one can stand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.dav import LOCKINFO, XML, Dav
from tests.support.reply import Reply

PROPFIND = b'<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'
PROPPATCH = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="x:">1</x></D:prop></D:set>'
    b"</D:propertyupdate>"
)
LOCK = LOCKINFO.format(scope="exclusive", owner="").encode()
PATCH = {
    "Content-Type": "application/x-sabredav-partialupdate",
    "Content-Length": "7",
    "X-Update-Range": "append",
}
TOKEN = "urn:uuid:00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def send(self, dav: Dav) -> Reply:
        return dav.request(self.method, self.target, self.headers, self.body)


def asks_at(path: str, *, free: str = "/free") -> dict[str, Ask]:
    """Returns the requests whose Request-URI is `path`; COPY and MOVE go to the unmapped `free`.
    DELETE comes last."""
    xml = {"Content-Type": XML}
    return {
        "OPTIONS": Ask("OPTIONS", path),
        "GET": Ask("GET", path),
        "HEAD": Ask("HEAD", path),
        "GET a range": Ask("GET", path, {"Range": "bytes=0-99"}),
        "PROPFIND 0": Ask("PROPFIND", path, xml | {"Depth": "0"}, PROPFIND),
        "PROPFIND 1": Ask("PROPFIND", path, {"Depth": "1"}),
        "PROPFIND infinity": Ask("PROPFIND", path, xml | {"Depth": "infinity"}, PROPFIND),
        "PUT": Ask("PUT", path, {}, b"written"),
        "MKCOL": Ask("MKCOL", path),
        "PROPPATCH": Ask("PROPPATCH", path, xml, PROPPATCH),
        "LOCK": Ask("LOCK", path, xml, LOCK),
        "LOCK depth 0": Ask("LOCK", path, xml | {"Depth": "0"}, LOCK),
        "refresh": Ask("LOCK", path, {"If": f"(<{TOKEN}>)"}),
        "UNLOCK": Ask("UNLOCK", path, {"Lock-Token": f"<{TOKEN}>"}),
        "COPY": Ask("COPY", path, {"Destination": free}),
        "COPY depth 0": Ask("COPY", path, {"Destination": free, "Depth": "0"}),
        "MOVE": Ask("MOVE", path, {"Destination": free}),
        "POST": Ask("POST", path, {}, b"posted"),
        "PATCH": Ask("PATCH", path, PATCH, b"patched"),
        "PUT a piece": Ask("PUT", path, {"Upload-Complete": "?0"}, b"piece"),
        "DELETE": Ask("DELETE", path),
    }


def asks_to(path: str, *sources: str) -> dict[str, Ask]:
    """Returns the requests that have `path` as their Destination."""
    return {
        f"{method} {source} overwrite {overwrite}": Ask(
            method, source, {"Destination": path, "Overwrite": overwrite}
        )
        for method in ("COPY", "MOVE")
        for source in sources
        for overwrite in "TF"
    }


def asks_if(path: str, target: str) -> dict[str, Ask]:
    """Returns requests to `target` whose If field names `path`: each is refused unless something
    is mapped there, and then changes nothing but a dead property."""
    return {
        "If": Ask("PROPPATCH", target, {"Content-Type": XML, "If": f'<{path}> (["x"])'}, PROPPATCH),
        "If token": Ask(
            "PROPPATCH", target, {"Content-Type": XML, "If": f"<{path}> (<{TOKEN}>)"}, PROPPATCH
        ),
    }


Snapshot = dict[str, tuple[int, int, int, bytes]]


def snapshot(folder: Path) -> Snapshot:
    """Returns everything at and below a folder, no link followed: mode, number of names, time of
    change, and content or what a link says."""
    found: Snapshot = {}
    for parent, names, files in os.walk(folder):
        for name in [".", *names, *files]:
            path = os.path.join(parent, name)
            stat = os.lstat(path)
            content = b""
            if os.path.islink(path):
                content = os.fsencode(os.readlink(path))
            elif os.path.isfile(path):
                content = Path(path).read_bytes()
            found[os.path.relpath(path, folder)] = (
                stat.st_mode,
                stat.st_nlink,
                stat.st_mtime_ns,
                content,
            )
    return found
