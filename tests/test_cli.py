"""The command: what it tells, how it refuses, how it starts and ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

import davserver
from davserver.auth.accounts import Roster
from davserver.config import Settings
from davserver.configtables import Share
from davserver.serving.announcing import announcement

COMMAND = (sys.executable, "-m", "davserver")
PRELOADED = (
    # For another user than root, who may not be let into the folder of the interpreter.
    *(sys.executable, "-c"),
    "import davserver.serving.announcing, davserver.config, davserver.serving.container;"
    "import davserver.signing;"
    "from davserver.cli.main import main; main()",
)

NOBODY = Roster({}, is_open=True)


def environment(home: Path, **more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DAVSERVER_")}
    return {**inherited, "XDG_STATE_HOME": str(home / "state"), **more}


def refused(
    tmp_path: Path, *arguments: str, command: tuple[str, ...] = COMMAND, **more: str
) -> str:
    """Runs `davserver serve`, which is to refuse; returns the one line that it says."""
    done = subprocess.run(
        [*command, "serve", *arguments],
        env=environment(tmp_path, **more),
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("davserver: ").rstrip("\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def started(
    root: Path, *arguments: str, **more: str
) -> AbstractContextManager[tuple[subprocess.Popen[str], int]]:
    """Runs `davserver serve` over a folder on a free port; yields the process and the port."""
    return running(str(root), *arguments, home=root.parent, **more)


@contextmanager
def running(
    *arguments: str, home: Path, **more: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments, "--port", "0"],
        env=environment(home, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r":(\d+)/", line)
        assert found is not None, process.stderr and process.stderr.read()
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def options(port: int, path: str = "/") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("OPTIONS", path)
        return connection.getresponse().status


def test_the_version_is_told() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"davserver {davserver.__version__}\n"


# --- refusals -----------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"

    assert refused(tmp_path, str(missing)) == f"{missing} does not exist"


def test_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    assert refused(tmp_path, str(file)) == f"{file} is not a folder"


def test_no_folder_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path) == "no folder is named: davserver serve DIR"


def test_a_port_in_use_is_refused(tmp_path: Path, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(tmp_path, str(root), "--port", str(port))

    assert message == f"cannot listen on 127.0.0.1 port {port}: Address already in use"


def test_an_address_of_another_machine_is_refused(tmp_path: Path, root: Path) -> None:
    message = refused(
        tmp_path, str(root), "--host", "192.0.2.1", "--port", "0", "--anonymous", "read"
    )

    assert message == "cannot listen on 192.0.2.1 port 0: Cannot assign requested address"


@pytest.mark.parametrize("where", ["files/state", "files", "."])
def test_state_and_root_within_each_other_are_refused(
    tmp_path: Path, root: Path, where: str
) -> None:
    message = refused(tmp_path, str(root), "--state", str(tmp_path / where))

    assert "must not lie within each other" in message


def test_a_state_folder_that_a_link_leads_into_the_root_is_refused(
    tmp_path: Path, root: Path
) -> None:
    (tmp_path / "link").symlink_to(root)

    assert "must not lie within" in refused(tmp_path, str(root), "--state", f"{tmp_path}/link/s")


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path, root: Path) -> None:
    (tmp_path / "file").touch()

    assert "cannot be made: Not a directory" in refused(
        tmp_path, str(root), "--state", f"{tmp_path}/file/state"
    )


@pytest.mark.parametrize("level", [(), ("--anonymous", "none")], ids=["unsaid", "none"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_reach_needs_to_be_asked_for(
    tmp_path: Path, root: Path, host: str, level: tuple[str, ...]
) -> None:
    message = refused(tmp_path, str(root), "--host", host, *level)

    assert message == (
        f"nobody has an account, and {host} can be reached from other machines:"
        " `davserver user add NAME` makes one; --anonymous read or --anonymous write lets"
        " everybody do that"
    )


def test_the_container_is_told_the_variable(tmp_path: Path, root: Path) -> None:
    message = refused(
        tmp_path, str(root), "--host", "0.0.0.0", DAVSERVER_CONTAINER="1", PUID="0", PGID="0"
    )

    assert "set DAVSERVER_ANONYMOUS=read or DAVSERVER_ANONYMOUS=write" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "many"), "--port: input should be a valid integer"),
        (("--workers", "0"), "--workers: input should be greater than or equal to 1"),
        (("--anonymous", "all"), "--anonymous: input should be 'none', 'read' or 'write'"),
        (("--prefix", "dav"), "--prefix: must look like /dav"),
        (("--config", "/missing.toml"), "/missing.toml: No such file or directory"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_bad_settings_are_refused(
    tmp_path: Path, root: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert refused(tmp_path, str(root), *arguments).startswith(message)


def let_in(folder: Path) -> None:
    """Lets other users come to one of pytest's folders: it has more of them in a worker."""
    top = Path(tempfile.gettempdir()).resolve()
    for each in (folder, *folder.parents):
        if top in each.parents:
            each.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("mode", "message"), [(0o700, "cannot be read by"), (0o755, "cannot be written by")]
)
def test_a_folder_without_permission_is_refused(root: Path, mode: int, message: str) -> None:
    let_in(root.parent)
    root.chmod(mode)
    state = root.parent / "mine"
    state.mkdir()

    assert message in refused(
        root.parent,
        str(root),
        "--state",
        str(state),
        command=PRELOADED,
        PUID="65534",
        PGID="65534",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_in_the_container_a_folder_of_somebody_else_names_puid(tmp_path: Path, root: Path) -> None:
    let_in(root.parent)
    told = refused(
        root.parent,
        str(root),
        "--anonymous",
        "write",
        "--state",
        str(root.parent / "mine"),
        command=PRELOADED,
        DAVSERVER_CONTAINER="1",
    )

    assert "cannot be written by user 1000:1000 (give it to that user, or let PUID" in told


# --- serving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_serves_and_ends_with_0(root: Path, workers: str, number: signal.Signals) -> None:
    with started(root, "--workers", workers) as (process, port):
        assert options(port) == 200

        process.send_signal(signal.SIGHUP)
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert "Z 127.0.0.1 - OPTIONS / 200 " in process.stdout.read()


def test_a_worker_that_dies_is_replaced(root: Path) -> None:
    with started(root, "--workers", "2") as (process, port):
        assert options(port) == 200
        before = children(process.pid)
        os.kill(before[0], signal.SIGKILL)
        deadline = time.monotonic() + 10
        while (len(children(process.pid)) < 2 or before[0] in children(process.pid)) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.02)

        assert len(children(process.pid)) == 2
        assert before[0] not in children(process.pid)
        assert options(port) == 200
        process.terminate()
        assert process.wait(10) == 0


def test_workers_end_when_their_parent_was_killed(root: Path) -> None:
    with started(root, "--workers", "2") as (process, port):
        assert options(port) == 200
        workers = children(process.pid)
        process.kill()
        deadline = time.monotonic() + 10
        while any(map(is_running, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)

        assert not any(map(is_running, workers))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_refusal(port: int) -> None:
    """Waits until nobody listens any more: the server has begun to stop."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)
    raise AssertionError("it still listens")


def begin_upload(connection: socket.socket) -> None:
    """Sends half of a PUT, once the server asks for it."""
    head = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"
    connection.sendall(head)
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    connection.sendall(b"abc")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_running_request_is_finished_at_the_end(root: Path, workers: str) -> None:
    with started(root, "--workers", workers) as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            begin_upload(connection)
            process.send_signal(signal.SIGINT)
            await_refusal(port)
            connection.sendall(b"def")
            received = connection.recv(65_536)

        assert received.startswith(b"HTTP/1.1 201 ")
        assert process.wait(10) == 0
    assert (root / "a").read_bytes() == b"abcdef"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_ends_at_once(root: Path, workers: str) -> None:
    with started(root, "--workers", workers) as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            begin_upload(connection)
            process.send_signal(signal.SIGINT)
            await_refusal(port)
            process.send_signal(signal.SIGINT)

            assert process.wait(15) == 130
    assert not (root / "a").exists()


def test_read_only_and_prefix_are_heeded(root: Path) -> None:
    with started(root, "--read-only", "--prefix", "/dav") as (_, port):
        assert options(port, "/dav/") == 200
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("PUT", "/dav/a", b"x")
            assert connection.getresponse().status in (401, 403, 405)
    assert list(root.iterdir()) == []


# --- what is told -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param(
            {},
            [
                "http://127.0.0.1:8080/",
                "net use Z: http://127.0.0.1:8080/",
                "\\\\127.0.0.1@8080\\DavWWWRoot",
                "gio mount dav://127.0.0.1:8080/",
                "mount -t davfs http://127.0.0.1:8080/ /mnt",
                "cadaver http://127.0.0.1:8080/",
                "url='http://127.0.0.1:8080/'",
                "read and write",
            ],
            id="plain",
        ),
        pytest.param(
            {"prefix": "/a b/c", "host": "::1", "read_only": True},
            [
                "http://[::1]:8080/a%20b/c/",
                "gio mount dav://[::1]:8080/a%20b/c/",
                "\\DavWWWRoot\\a b\\c",
                "may read.",
            ],
            id="prefix, IPv6, read only",
        ),
        pytest.param(
            {"tls_cert": "/c.pem"},
            ["https://127.0.0.1:8080/", "\\\\127.0.0.1@SSL@8080\\DavWWWRoot", "mount davs://"],
            id="TLS",
        ),
        pytest.param(
            {"public_url": ("https://files.example.org/dav",)},
            [
                "net use Z: https://files.example.org/dav/",
                "\\\\files.example.org@SSL\\DavWWWRoot\\dav",
                "gio mount davs://files.example.org/dav/",
            ],
            id="behind a proxy",
        ),
    ],
)
def test_the_thing_to_type_is_told_for_each_client(
    tmp_path: Path, keys: dict[str, object], expected: list[str]
) -> None:
    told = announcement(Settings(root=tmp_path, **keys), NOBODY, 8080)  # type: ignore[arg-type]

    assert [text for text in expected if text not in told] == []


def test_where_there_are_users_what_is_told_signs_in(tmp_path: Path) -> None:
    users = Roster({}, is_open=False, names=("alice",))
    told = announcement(Settings(root=tmp_path), users, 8080)

    assert "net use Z: http://127.0.0.1:8080/ /user:NAME\n" in told
    assert "url http://127.0.0.1:8080/ vendor other user NAME pass PASSWORD\n" in told


def test_every_address_is_told_as_one_that_can_be_typed(tmp_path: Path) -> None:
    told = announcement(Settings(root=tmp_path, host="0.0.0.0", anonymous="read"), NOBODY, 8080)

    assert "0.0.0.0" not in told


# --- several shares -----------------------------------------------------------------------------


def shares_file(folder: Path, *lines: str) -> Path:
    """Writes a settings file with the shares `photos` and `music`, `lines` being music's."""
    for name in ("photos", "music"):
        (folder / name).mkdir()
    file = folder / "davserver.toml"
    tables = (f"[[share]]\nname = {name!r}\npath = {name!r}" for name in ("photos", "music"))
    file.write_text("\n".join(["state = 'state'", *tables, *lines]))
    return file


def test_the_shares_of_the_file_are_served_without_a_folder_being_named(tmp_path: Path) -> None:
    file = shares_file(tmp_path, "read_only = true")
    with running("--config", str(file), home=tmp_path) as (process, port):
        assert options(port, "/photos/") == 200
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout is not None
        told = process.stdout.read()

    base = f"http://127.0.0.1:{port}/"
    assert f"  {base}photos/  {tmp_path}/photos\n" in told
    assert f"  {base}music/  {tmp_path}/music (read-only)\n" in told


def test_check_takes_the_shares_of_the_file(tmp_path: Path) -> None:
    file = shares_file(tmp_path)
    with running("--config", str(file), home=tmp_path) as (process, port):
        assert options(port, "/photos/") == 200
        process.terminate()
        assert process.wait(10) == 0
    (tmp_path / "music/.davserver.0123456789abcdef.00000000").touch()

    done = subprocess.run(
        [*COMMAND, "check", "--config", str(file)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert done.returncode == 1
    assert "/music/.davserver.0123456789abcdef.00000000" in done.stdout


def test_a_share_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    file = shares_file(tmp_path)
    (tmp_path / "music").rmdir()

    assert refused(tmp_path, "--config", str(file)) == f"{tmp_path}/music does not exist"


def test_a_folder_beside_shares_is_refused(tmp_path: Path, root: Path) -> None:
    file = shares_file(tmp_path)

    message = refused(tmp_path, str(root), "--config", str(file))

    assert "root and share exclude each other" in message


def test_the_addresses_of_shares_can_be_typed(tmp_path: Path) -> None:
    for name in ("a b", "home"):
        (tmp_path / name).mkdir()
    shares = (
        Share(name="a b", path=tmp_path / "a b", read_only=True),
        Share(name="home", path=tmp_path / "home", homes=True),
    )

    told = announcement(Settings(share=shares, state=tmp_path / "s", prefix="/dav"), NOBODY, 8080)

    lines = told.splitlines()
    assert lines[0].endswith(" serves 2 shares at http://127.0.0.1:8080/dav/")
    assert lines[1:3] == [
        f"  http://127.0.0.1:8080/dav/a%20b/  {tmp_path}/a b (read-only)",
        f"  http://127.0.0.1:8080/dav/home/  {tmp_path}/home (a folder for each user)",
    ]
