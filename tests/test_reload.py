"""Settings read again while the server runs: no request is dropped, nothing is half new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from davserver.auth.usersfile import changing_users
from davserver.config import Settings, SettingsError
from davserver.configtables import parse_user
from davserver.errors import StateFailure
from davserver.serving.reload import Change, Watch, keep_fixed
from davserver.state.memory import MemoryState
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.support.asgi import drive
from tests.support.certificates import make_pair
from tests.support.credentials import add_users, entry
from tests.support.processes import await_true, below, serving
from tests.support.server import Server

# --- the application ------------------------------------------------------------------------------


def changed(dav: AppDav, **keys: Any) -> Settings:
    settings: Settings = dav.app.services.settings  # type: ignore[attr-defined]
    return settings.model_copy(update=keys)


def reload(dav: AppDav, **keys: Any) -> None:
    dav.app.reload(changed(dav, **keys))  # type: ignore[attr-defined]


def test_requests_after_it_have_the_new_settings(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav()
    dav.put("/f", b"x")
    reload(dav, read_only=True)
    refused = dav.put("/f", b"y").status
    reload(dav, read_only=False, prefix="/dav")

    assert refused == 403
    assert dav.get("/dav/f").body == b"x"
    assert dav.get("/f").status == 404


def test_a_running_upload_goes_on_with_what_it_began_with(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav()
    owner = dav.app.services.state.owner  # type: ignore[attr-defined]

    async def between(number: int) -> None:
        if number == 1:
            reload(dav, read_only=True, put_limit=1)

    body = [b"first ", b"second"]
    exchange = dav.run(drive(dav.app, dav.scope("PUT", "/f"), body, before=between))
    alive = [path.name for path in (state_folder(dav) / "owners").iterdir()]

    assert exchange.reply.status == 201
    assert dav.get("/f").body == b"first second"
    assert dav.put("/f", b"x").status == 403
    assert owner not in alive, "the services of before are given up with their last request"


def state_folder(dav: AppDav) -> Path:
    folder: Path = dav.app.services.settings.state_folder  # type: ignore[attr-defined]
    return folder


def test_a_lock_of_before_holds_after_it(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav()
    dav.put("/f", b"x")
    lock = dav.lock("/f")
    reload(dav)

    assert dav.put("/f", b"y").status == 423
    assert dav.put("/f", b"y", {"If": lock.untagged}).status == 204


def test_what_cannot_be_opened_leaves_all_as_it_was(
    make_dav: Callable[..., AppDav], tmp_path: Path
) -> None:
    dav = make_dav()
    dav.put("/f", b"x")
    (tmp_path / "state of others").write_text("no folder")

    with pytest.raises(StateFailure):
        reload(dav, state=tmp_path / "state of others", read_only=True)
    assert dav.put("/f", b"y").status == 204


def test_parts_of_the_embedder_stay_open(make_dav: Callable[..., AppDav]) -> None:
    parts = {"storage": MemoryStorage(), "state": MemoryState()}
    dav = make_dav(overrides=parts)
    dav.put("/f", b"x")
    lock = dav.lock("/f")
    reload(dav)

    assert dav.get("/f").body == b"x"
    assert dav.put("/f", b"y", {"If": lock.untagged}).status == 204


@pytest.mark.security("A-06")
def test_accounts_that_were_lost_before_it_let_nobody_in(
    make_dav: Callable[..., AppDav], tmp_path: Path
) -> None:
    dav = make_dav(anonymous=None, users=tmp_path / "users.toml")
    before = dav.put("/f", b"x").status
    with changing_users(tmp_path / "users.toml") as entries:
        entries["alice"] = parse_user(entry("alice"))
    await_true(lambda: dav.put("/f", b"x").status == 401)
    (tmp_path / "users.toml").unlink()
    for _ in range(2):
        reload(dav)

    assert before == 201
    assert dav.put("/f", b"x").status == 403


@pytest.mark.parametrize("log", [True, False])
def test_the_access_log_follows(
    make_dav: Callable[..., AppDav], log: bool, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    dav = make_dav(access_log=not log)
    reload(dav, access_log=log)
    dav.get("/missing")
    dav.app.close()  # type: ignore[attr-defined]

    assert (b"GET /missing 404" in capfdbinary.readouterr().out) is log


# --- who decides ----------------------------------------------------------------------------------


def never(settings: Settings) -> Settings:
    raise AssertionError("nobody asked for it")


def test_what_only_a_restart_changes_is_told_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    current = Settings(root=tmp_path, workers=2, tls="self-signed")
    asked = Settings(root=tmp_path / "other", workers=3, port=1, read_only=True)
    kept = keep_fixed(current, asked)

    assert kept == current.model_copy(update={"read_only": True})
    assert caplog.messages == ["only a restart changes root, port, workers, tls.tls"]


def test_a_certificate_counts_once_both_files_rest(tmp_path: Path) -> None:
    files = make_pair(tmp_path)
    settings = Settings(root=tmp_path, tls_cert=files.certificate, tls_key=files.key)
    watch = Watch(settings, never)
    seen = [watch.look(0.0)]
    make_pair(tmp_path)
    seen.append(watch.look(10.0))
    make_pair(tmp_path)
    seen += [watch.look(now) for now in (20.0, 20.1, 30.0, 40.0)]

    assert seen == [None, None, None, None, Change(settings, only_certificate=True), None]


def test_a_bad_certificate_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = make_pair(tmp_path)
    watch = Watch(Settings(root=tmp_path, tls_cert=files.certificate, tls_key=files.key), never)
    files.key.unlink()
    seen = [watch.look(now) for now in (10.0, 20.0, 30.0, 40.0)]

    assert seen == [None] * 4
    assert caplog.messages == [f"the certificate in use stays: {files}: No such file or directory"]


def test_settings_are_read_when_asked_for_and_once(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    new = Settings(root=tmp_path, read_only=True)
    given = []

    def read(current: Settings) -> Settings:
        given.append(current)
        return new

    watch = Watch(settings, read)
    before = watch.look(0.0)
    watch.ask()
    after = [watch.look(0.1), watch.look(0.2)]

    assert (before, after, given) == (None, [Change(new), None], [settings])


def test_bad_settings_are_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def read(current: Settings) -> Settings:
        raise SettingsError("/etc/davserver.toml, line 3, port: must be a number")

    watch = Watch(Settings(root=tmp_path), read)
    watch.ask()

    assert watch.look(0.0) is None
    assert caplog.messages == [
        "the settings stay as they were: /etc/davserver.toml, line 3, port: must be a number"
    ]


@pytest.mark.security("A-06")
def test_a_users_file_that_was_there_once_is_known_for_good(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    watch = Watch(
        Settings(root=tmp_path, users=first), lambda _: Settings(root=tmp_path, users=second)
    )
    seen = [watch.with_accounts]
    first.touch()
    watch.look(10.0)
    seen.append(watch.with_accounts)
    second.touch()
    watch.ask()
    watch.look(10.1)
    first.unlink()
    second.unlink()
    watch.look(20.0)
    seen.append(watch.with_accounts)

    assert seen == [frozenset(), {first}, {first, second}]


# --- the server -----------------------------------------------------------------------------------

BEGIN = "log_level = 'info'\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "davserver.toml"
    path.write_text(BEGIN)
    return path


@pytest.fixture(params=[1, 3], ids=["1 worker", "3 workers"])
def server(request: pytest.FixtureRequest, tmp_path: Path, file: Path) -> Iterator[Server]:
    arguments = ["--config", str(file)]
    with Server(tmp_path, arguments=arguments, workers=request.param) as running:
        yield running


def statuses(server: Server) -> set[int]:
    """Returns what PUTs on many new connections are answered: with several workers, by all."""
    found = set()
    for _ in range(6 * server.workers):
        with server.connect() as http:
            found.add(http.put("/probe", b"x").status)
    return found


def test_all_workers_follow_and_a_running_upload_ends_well(server: Server, file: Path) -> None:
    with server.connect() as http:
        http.send_head("PUT", "/long", {"Transfer-Encoding": "chunked", "Expect": "100-continue"})
        asked = http.await_continue()
        http.send_chunk(b"before ")
        file.write_text(BEGIN + "read_only = true\n")
        server.hang_up()
        refused = await_true(lambda: statuses(server) == {403})
        http.send_chunk(b"after")
        http.end_chunks()
        reply = http.read_reply()
    file.write_text(BEGIN)
    server.hang_up()

    assert (asked, refused, reply.status) == (100, True, 201)
    assert (server.root / "long").read_bytes() == b"before after"
    assert await_true(lambda: statuses(server) <= {201, 204})


def test_limits_of_connections_follow_on_open_ones(server: Server, file: Path) -> None:
    url = "/" + "x" * 500
    with server.connect() as http:
        before = http.get(url).status
        file.write_text(BEGIN + "[http]\nurl_limit = 400\n")
        server.hang_up()

        assert before == 404
        assert await_true(lambda: http.get(url).status == 414)


def test_a_bad_file_is_told_once_with_its_line_and_the_old_settings_stay(
    server: Server, file: Path
) -> None:
    file.write_text(BEGIN + "read_only = true\nkeep_alives = 1\n")
    server.hang_up()
    told = await_true(lambda: "the settings stay as they were" in server.log_text())

    assert told
    assert statuses(server) <= {201, 204}
    line = f"the settings stay as they were: {file}, line 3, keep_alives: unknown key\n"
    assert server.log_text().count(line) == 1


def test_settings_are_checked_as_at_the_start(server: Server, file: Path, tmp_path: Path) -> None:
    file.write_text(BEGIN + "read_only = true\n")
    server.root.rename(tmp_path / "away")
    server.hang_up()
    told = await_true(lambda: f"they were: {server.root} does not exist" in server.log_text())
    (tmp_path / "away").rename(server.root)

    assert told
    assert statuses(server) <= {201, 204}


def test_what_needs_a_restart_is_told_and_the_rest_follows(server: Server, file: Path) -> None:
    file.write_text(BEGIN + "host = '0.0.0.0'\nread_only = true\n")
    server.hang_up()

    assert await_true(lambda: statuses(server) == {403})
    assert server.log_text().count("only a restart changes host\n") == 1


def test_a_worker_that_takes_anothers_place_has_the_new_settings(
    tmp_path: Path, file: Path
) -> None:
    with Server(tmp_path, arguments=["--config", str(file)], workers=2) as server:
        file.write_text(BEGIN + "read_only = true\n")
        server.hang_up()
        followed = await_true(lambda: statuses(server) == {403})
        before = serving(server)
        os.kill(before[0], signal.SIGKILL)
        replaced = await_true(
            lambda: len(serving(server)) == 2 and before[0] not in serving(server)
        )
        after = statuses(server)

    assert followed
    assert replaced
    assert after == {403}


def hammer(server: Server, number: int, stop: threading.Event, found: list[object]) -> None:
    """Puts and gets over one connection after another, until told to stop."""
    count = 0
    while not stop.is_set():
        with server.connect() as http:
            for _ in range(20):
                count += 1
                content = b"%d" % count
                put = http.put(f"/f{number}", content)
                got = http.get(f"/f{number}")
                found.append(put.status in (201, 204) and got.body == content)
                if stop.is_set():
                    break


def test_under_load_no_request_is_dropped_and_nothing_is_left_open(
    server: Server, file: Path
) -> None:
    stop = threading.Event()
    found: list[object] = []
    clients = [
        threading.Thread(target=hammer, args=(server, number, stop, found)) for number in range(3)
    ]
    for client in clients:
        client.start()
    read = []
    for number in range(1, 6):
        server.hang_up()
        read.append(await_true(lambda: times_read(server) == number and len(found) > 5 * number))  # noqa: B023
    stop.set()
    for client in clients:
        client.join()

    assert read == [True] * 5
    assert all(found)
    assert await_true(lambda: owners(server) == [1] * server.workers)


def times_read(server: Server) -> int:
    return server.log_text().count("the settings were read again")


def owners(server: Server) -> list[int]:
    """Returns, for each worker, how many services it has open."""
    folder = server.state / "owners"
    return [len(below(pid, folder)) for pid in serving(server)]


def test_a_hangup_of_the_whole_terminal_leaves_the_server_alone(server: Server) -> None:
    for pid in {server.pid, *serving(server)}:
        os.kill(pid, signal.SIGHUP)

    assert await_true(lambda: "were read again" in server.log_text())
    assert statuses(server) <= {201, 204}
    assert "another takes its place" not in server.log_text()


def test_connections_stay_open(server: Server) -> None:
    with server.connect() as http:
        http.options("/")
        before = http.socket
        server.hang_up()
        read = await_true(lambda: "were read again" in server.log_text())
        reply = http.options("/")
        same = http.socket is before

    assert read
    assert (reply.status, same) == (200, True)


@pytest.mark.security("A-06")
def test_a_worker_that_takes_anothers_place_opens_nothing_when_accounts_were_lost(
    tmp_path: Path,
) -> None:
    users = tmp_path / "state" / "users.toml"
    add_users(tmp_path / "state", "alice")
    with Server(tmp_path, workers=2) as server:
        users.unlink()
        killed = serving(server)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert await_true(lambda: len(set(serving(server)) - set(killed)) == 2)
        found = refusals(server)
        log = server.log_text()

    assert found == {403}
    assert f"{users} is gone" in log


def refusals(server: Server) -> set[int]:
    """What a few connections, of one worker or another, get for a file of a stranger's."""
    found = set()
    for number in range(8):
        with server.connect() as dav:
            found.add(dav.put(f"/{number}", b"x").status)
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_users_file_is_told_once_and_who_could_sign_in_still_can(
    tmp_path: Path, file: Path, workers: int
) -> None:
    users = tmp_path / "users.toml"
    command = [sys.executable, "-m", "davserver", "user", "add", "alice", "--users", str(users)]
    subprocess.run(command, input="secret-1\n", text=True, timeout=30, check=True)
    content = users.read_text()
    file.write_text(BEGIN + f"[auth]\nusers = '{users}'\n")
    with Server(tmp_path, arguments=["--config", str(file)], workers=workers) as server:
        signed_in = {"Authorization": "Basic YWxpY2U6c2VjcmV0LTE="}
        with server.connect(headers=signed_in) as http:
            before = http.put("/f", b"x").status
            users.write_text("[alice\n")
            server.hang_up()
            told = await_true(lambda: f"they were: {users}" in server.log_text())
            after = http.put("/f", b"y").status
        users.write_text(content)
        log = server.log_text()

    assert (before, told, after) == (201, True, 204)
    assert log.count("the settings stay as they were") == 1
