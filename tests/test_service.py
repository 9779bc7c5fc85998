"""The systemd unit of config/: it is well formed, and the server works within what it allows.

systemd itself runs in few containers: each restriction that could hurt is put on by other means.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from davserver.cli.main import main
from davserver.config import Settings
from davserver.serving.supervisor import PATIENCE_S
from tests.conftest import lack
from tests.support.processes import await_true
from tests.support.server import Server

UNIT = Path(__file__).resolve().parent.parent / "config" / "davserver.service"
DENY_WRITE_EXECUTE = (
    "import ctypes, os, sys;"
    # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN (Linux 6.3)
    "refused = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0);"
    "sys.exit(77) if refused else os.execv(sys.argv[1], sys.argv[1:])"
)
ENCLOSE = (
    # All of the file system but the one folder is read-only; root without capabilities is a
    # user like any other.
    'mount --bind "$0" "$0" && mount -o remount,ro,bind / &&'
    ' exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"'
)


def values(key: str) -> list[str]:
    """Returns the values of a key in the unit, one for each line that gives it."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def test_systemd_takes_the_unit_without_a_word(
    client: Callable[[str], str], tmp_path: Path
) -> None:
    unit = tmp_path / "davserver.service"
    # Where the programs are that it names, it looks.
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/davserver/bin/davserver", "/bin/true"))
    verified = subprocess.run(
        [client("systemd-analyze"), "verify", unit],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    rated = subprocess.run(
        [client("systemd-analyze"), "security", "--offline=yes", "--threshold=20", unit],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert rated.returncode == 0, rated.stdout[-200:]


def test_its_command_is_one_that_the_command_line_takes() -> None:
    program, command, *arguments = shlex.split(values("ExecStart")[0])
    context = main.commands[command].make_context(command, arguments)

    assert program == "/opt/davserver/bin/davserver"
    assert context.params["config"] == "/etc/davserver/davserver.toml"


def test_systemd_is_told_when_the_server_listens_and_understands_a_hangup(tmp_path: Path) -> None:
    assert values("Type") == ["notify"]
    assert values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # A path in a folder of pytest's may be too long for a socket; and so is this tested.
        manager.bind("\0davserver-tests-" + str(os.getpid()))
        manager.settimeout(10)
        environment = {"NOTIFY_SOCKET": f"@davserver-tests-{os.getpid()}"}
        with Server(tmp_path, environment=environment, workers=2) as server:
            told = manager.recv(100)
            server.hang_up()
            with server.connect() as http:
                status = http.options("/").status

    assert (told, status) == (b"READY=1", 200)


def work(server: Server) -> list[int]:
    """Has a server do what clients ask for; returns the statuses."""
    with server.connect() as http:
        lock = http.lock("/locked")
        done = [
            http.put("/f", b"x"),
            http.put("/f", b"y", {"X-OC-Mtime": "1700000000"}),
            http.put("/large", [bytes(1 << 20)] * 4),
            http.get("/large", {"Range": "bytes=1-2"}),
            http.get("/large"),
            http.mkcol("/c"),
            http.copy("/large", "/c/copy"),
            http.copy("/c", "/d"),
            http.move("/d", "/e"),
            http.move("/f", "/large"),
            http.proppatch("/c", set={"{urn:x}p": "v"}),
            http.request("PROPFIND", "/", {"Depth": "infinity"}),
            http.unlock("/locked", lock.token),
            http.delete("/e"),
        ]
        server.hang_up()
        done.append(http.delete("/c"))
    return [reply.status for reply in done]


WORKED = [201, 204, 201, 206, 200, 201, 201, 201, 201, 204, 207, 207, 204, 204, 204]


def restricted(folder: Path, launcher: Sequence[str]) -> list[int]:
    server = Server(
        folder,
        workers=2,
        scheme="https",
        arguments=["--tls", "self-signed"],
        launcher=launcher,
    )
    with server:
        return work(server)


def expand(client: Callable[[str], str], name: str) -> set[str]:
    """Returns the system calls of a set of systemd's."""
    done = subprocess.run(
        [client("systemd-analyze"), "syscall-filter", name],
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    found: set[str] = set()
    for line in done.stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= expand(client, word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


@pytest.mark.timeout(90)
def test_the_system_calls_that_it_makes_are_allowed(
    client: Callable[[str], str], tmp_path: Path
) -> None:
    allowed: set[str] = set()
    for value in values("SystemCallFilter"):
        named: set[str] = set()
        for word in value.removeprefix("~").split():
            named |= expand(client, word) if word.startswith("@") else {word}
        allowed = allowed - named if value.startswith("~") else allowed | named
    counts = tmp_path / "counts"
    statuses = restricted(tmp_path, [client("strace"), "-D", "-f", "-qq", "-c", "-o", str(counts)])
    # It is a grandchild, so that signals are the server's; it writes when that is gone.
    assert await_true(lambda: counts.exists() and "total" in counts.read_text())
    lines = re.findall(r"^ *\d.* ([a-z_0-9]+)$", counts.read_text(), re.MULTILINE)
    used = set(lines) - {"total"}

    assert statuses == WORKED
    assert {"openat2", "renameat2", "fsync"} <= used, "it was traced"
    # What starts the program comes before the filter does.
    assert used - allowed == set()


def test_no_memory_needs_to_be_writable_and_executable(tmp_path: Path) -> None:
    probe = [sys.executable, "-c", DENY_WRITE_EXECUTE, "/bin/true"]
    if subprocess.run(probe, check=False).returncode == 77:
        pytest.skip("this kernel cannot forbid it")

    assert values("MemoryDenyWriteExecute") == ["yes"]
    assert restricted(tmp_path, probe[:3]) == WORKED


def test_nothing_is_written_outside_of_its_folders_and_no_capability_needed(tmp_path: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        lack("only root can make a mount namespace")

    launcher = ["unshare", "-m", "sh", "-c", ENCLOSE, str(tmp_path)]

    assert values("ProtectSystem") == ["strict"]
    assert values("CapabilityBoundingSet") == [""]
    assert restricted(tmp_path, launcher) == WORKED


def test_the_grace_of_the_unit_is_longer_than_the_servers() -> None:
    grace_s = Settings(root=Path("/srv")).grace_s

    assert float(values("TimeoutStopSec")[0]) > grace_s + PATIENCE_S
    assert values("KillMode") == ["mixed"], "the supervisor ends its workers itself"
