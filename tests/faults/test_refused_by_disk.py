"""A real server on what it may not write, or read (F-04): 403, per member where members are meant,
and all the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.confined import on_own_mount, remount, without_privileges
from tests.support.trees import TOPIC

OLD = b"old content"


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


@pytest.mark.security("F-04")
def test_a_read_only_disk_is_served_and_refuses_every_change(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "c").mkdir(parents=True)
    for name in ("f", "c/g"):
        (root / name).write_bytes(OLD)
    before = tree(root)
    with on_own_mount(tmp_path) as server, server.connect() as dav:
        remount(server, server.root, "ro,bind")
        changes = [
            dav.put("/f", b"new"),
            dav.put("/n", b"new"),
            dav.put("/n", [b"x" * 65_536] * 10),
            dav.mkcol("/d/"),
            dav.delete("/f"),
            dav.copy("/f", "/n"),
            dav.copy("/c/", "/d/"),
            dav.copy("/c/", "/f"),
            dav.move("/f", "/n"),
            dav.move("/c/", "/d/"),
            dav.lock_request("/n"),
        ]
        deleted = dav.delete("/c/").multistatus
        patched = dav.proppatch(
            "/f", set={"{DAV:}getlastmodified": "Mon, 12 Jan 1998 09:25:56 GMT"}
        )

        assert [reply.status for reply in changes] == [403] * len(changes)
        assert deleted.statuses == {"/c/g": 403}
        assert list(patched.multistatus["/f"]) == [403]
        # The state is elsewhere, and writable.
        assert dav.proppatch("/f", set={TOPIC: "x"}).multistatus.status_of("/f", TOPIC) == 200
        assert dav.get("/f").body == OLD
        assert dav.members("/") == ["/c/", "/f"]
        assert dav.lock("/f").reply.status == 200
    assert tree(root) == before


@pytest.mark.security("F-04")
def test_modes_are_kept_to(tmp_path: Path) -> None:
    """Folders that may not be written or read, files that may not be read."""
    root = tmp_path / "root"
    for name in ("closed", "locked", "open"):
        (root / name).mkdir(parents=True)
        (root / name / "f").write_bytes(OLD)
    (root / "open" / "secret").write_bytes(OLD)
    (root / "open" / "shut").mkdir()
    (root / "open" / "shut" / "g").write_bytes(OLD)
    before = tree(root)
    modes = {"closed": 0o500, "locked": 0o000, "open/secret": 0o000, "open/shut": 0o500}
    for name, mode in modes.items():
        (root / name).chmod(mode)
    try:
        with without_privileges(tmp_path) as server, server.connect() as dav:
            refused = [
                dav.put("/closed/f", b"new"),
                dav.put("/closed/n", b"new"),
                dav.mkcol("/closed/d/"),
                dav.delete("/closed/f"),
                dav.move("/closed/f", "/n"),
                dav.move("/open/f", "/closed/n"),
                dav.copy("/open/f", "/closed/n"),
                dav.lock_request("/closed/n"),
                dav.get("/locked/f"),
                dav.get("/open/secret"),
                dav.put("/open/secret", b"new"),
                dav.copy("/open/secret", "/n"),
                dav.request("PROPFIND", "/locked/", {"Depth": "1"}),
                dav.copy("/locked/", "/n/"),
            ]
            copied = dav.copy("/open/", "/copy/").multistatus
            kept = dav.copy("/open/", "/closed/").status
            deleted = dav.delete("/open/").multistatus

            assert [reply.status for reply in refused] == [403] * len(refused)
            assert copied.statuses == {"/open/secret": 403}
            assert dav.members("/copy/") == ["/copy/f", "/copy/shut/"]
            assert kept == 207, "what was there stays when not all can be copied"
            assert deleted.statuses == {"/open/shut/g": 403}
            assert dav.get("/closed/f").body == OLD
            assert dav.put("/open/again", OLD).status == 201
            assert dav.delete("/copy/").status in (204, 207)
        for name in modes:
            if (root / name).exists():
                (root / name).chmod(0o700)
        left = tree(root)
        assert {name: left.get(name) for name in ("closed/f", "locked/f", "open/shut/g")} == {
            name: before[name] for name in ("closed/f", "locked/f", "open/shut/g")
        }
        assert not [name for name in left if ".davserver" in name]
    finally:
        for name in modes:
            if (root / name).exists():
                (root / name).chmod(0o700)
