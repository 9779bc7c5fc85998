"""A local process that changes the folder while requests run: each is answered, nothing breaks."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from contextlib import suppress

import pytest

from tests.support.crowd import at_once, hidden_files
from tests.support.http import Connection
from tests.support.server import Server

NS = "{http://example.org/ns}"
PATHS = ["/x", "/x/y", "/x/y/z", "/w"]


def _meddle(server: Server, stop: threading.Event) -> None:
    """rm -rf, a file in the place of a folder and a folder in that of a file, chmod."""
    chance = random.Random(1)
    while not stop.is_set():
        path = server.root / chance.choice(PATHS)[1:]
        with suppress(OSError):
            act = chance.randrange(5)
            if act == 0:
                shutil.rmtree(path, ignore_errors=True)
            elif act == 1:
                path.unlink()
            elif act == 2:
                path.mkdir(parents=True)
            elif act == 3:
                spare = server.folder / "spare"
                spare.write_bytes(b"local")
                spare.replace(path)
            else:
                os.chmod(path, chance.choice([0o755, 0o500]))
        stop.wait(0.0005)


@pytest.mark.security("P-15")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("server", [{"workers": 4}], ids=["4 workers"], indirect=True)
def test_folder_that_changes_by_itself_breaks_no_request(server: Server) -> None:
    end = time.monotonic() + 3
    stop = threading.Event()

    def ask(connection: Connection) -> set[tuple[str, int]]:
        seen = set()
        chance = random.Random(threading.get_ident())
        while time.monotonic() < end:
            path, other = chance.sample(PATHS, 2)
            method = chance.choice(
                ["GET", "PUT", "MKCOL", "DELETE", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK"]
            )
            if method == "LOCK":
                reply = connection.lock_request(path)
                if reply.status in (200, 201):
                    connection.request("UNLOCK", path, {"Lock-Token": reply.headers["lock-token"]})
            elif method == "PROPPATCH":
                reply = connection.proppatch(path, set={f"{NS}p": "1"})
            elif method == "PUT":
                reply = connection.put(path, b"through the server")
            elif method in ("COPY", "MOVE"):
                reply = connection.request(method, path, {"Destination": other})
            else:
                reply = connection.request(method, path)
            seen.add((method, reply.status))
        return seen

    meddler = threading.Thread(target=_meddle, args=(server, stop))
    meddler.start()
    try:
        answers = set().union(*at_once(server, *[ask] * 6))
    finally:
        stop.set()
        meddler.join(10)

    failed = {(method, status) for method, status in answers if status >= 500}
    assert failed <= {("COPY", 503), ("DELETE", 503)}
    for path in PATHS:
        with suppress(OSError):
            os.chmod(server.root / path[1:], 0o755)
    assert hidden_files(server) == []


@pytest.mark.security("P-15")
@pytest.mark.rfc("DP-10")
@pytest.mark.parametrize("server", [{"workers": 4}], ids=["4 workers"], indirect=True)
def test_properties_and_locks_of_what_was_removed_behind_are_not_served_for_a_new_upload(
    server: Server,
) -> None:
    with server.connect() as connection:
        connection.put("/gone", b"old")
        connection.proppatch("/gone", set={f"{NS}p": "old"})
        connection.lock("/gone")
        (server.root / "gone").unlink()

        assert connection.put("/gone", b"new").status == 201
        assert connection.prop("/gone", f"{NS}p") is None
        assert connection.locks("/gone") == []
