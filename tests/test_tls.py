"""TLS of the server's own port: which certificate is shown, from when on, and what is refused."""

from __future__ import annotations

import asyncio
import builtins
import os
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop
from cryptography import x509

from davserver.config import Settings
from davserver.serving import selfsigned
from davserver.serving.tls import CertificateError, Certificates, Files, files_of, fingerprint
from davserver.wire import connection
from davserver.wire.guard import Guard
from tests.support.certificates import digest_of, make_pair, shown_at
from tests.support.edge import EdgeInProcess
from tests.support.processes import await_true, below, serving
from tests.support.server import Server
from tests.test_cli import refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def handshake(context: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Returns a client's end of a connection, after the handshake."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server)
    for _ in range(4):
        for side in (asking, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return asking


def anybody() -> ssl.SSLContext:
    """Returns a client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shown(certificates: Certificates) -> bytes | None:
    return handshake(certificates.context, anybody()).getpeercert(binary_form=True)


def der(files: Files) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_new_handshakes_get_the_new_certificate_whole(tmp_path: Path, kind: str) -> None:
    """Also where the kind of key changes: loaded into the same context, OpenSSL would keep the
    old one beside the new."""
    files = make_pair(tmp_path, kind="rsa")
    certificates = Certificates(files)
    only_rsa = anybody()
    only_rsa.maximum_version = ssl.TLSVersion.TLSv1_2
    only_rsa.set_ciphers("aRSA")
    before = der(files)
    make_pair(tmp_path, kind=kind)
    certificates.renew(files)

    assert shown(certificates) == der(files) != before
    if kind == "ec":
        with pytest.raises(ssl.SSLError, match=r"(?i)no.shared.cipher"):
            handshake(certificates.context, only_rsa)


def test_a_bad_pair_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    files = make_pair(tmp_path)
    certificates = Certificates(files)
    before = der(files)
    key = files.key.read_bytes()
    make_pair(tmp_path)
    files.key.write_bytes(key)

    with pytest.raises(CertificateError, match="key values mismatch"):
        certificates.renew(files)
    assert shown(certificates) == before


def spoil_key(files: Files) -> None:
    files.key.write_text("no key")


def lose_key(files: Files) -> None:
    files.key.unlink()


def lock_key(files: Files) -> None:
    make_pair(files.key.parent, password=b"secret")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(spoil_key, r"(?i): (not? pem|no start line)", id="no PEM"),
        pytest.param(lose_key, "No such file", id="no file"),
        pytest.param(lock_key, "the key has a password", id="a password"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start_in_one_line(
    tmp_path: Path, spoil: Callable[[Files], None], reason: str
) -> None:
    files = make_pair(tmp_path)
    spoil(files)
    root = tmp_path / "root"
    root.mkdir()
    arguments = ["--tls-cert", str(files.certificate), "--tls-key", str(files.key)]

    with pytest.raises(CertificateError, match=reason):
        files.load()
    assert refused(tmp_path, str(root), *arguments)


def test_the_key_may_stand_in_the_file_of_the_chain(tmp_path: Path) -> None:
    files = make_pair(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    found = files_of(Settings(root=tmp_path, tls_cert=both))

    assert found == Files(both, both)
    assert shown(Certificates(found)) == der(files)


@pytest.mark.security("T-11")
def test_versions_before_1_2_and_renegotiation_are_refused(tmp_path: Path) -> None:
    context = make_pair(tmp_path).load()
    old = anybody()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1

    assert ssl.OP_NO_RENEGOTIATION in context.options
    with pytest.raises(ssl.SSLError):
        handshake(context, old)


def test_only_http_1_1_is_agreed_on(tmp_path: Path) -> None:
    client = anybody()
    client.set_alpn_protocols(["h2", "http/1.1"])
    certificates = Certificates(make_pair(tmp_path))

    assert handshake(certificates.context, client).selected_alpn_protocol() == "http/1.1"


# --- made by the server ---------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "root").mkdir()
    return Settings(
        root=tmp_path / "root",
        state=tmp_path / "state",
        tls="self-signed",
        public_url=("https://files.example.org/dav",),
    )


@pytest.fixture
def files(settings: Settings) -> Files:
    found = files_of(settings)
    assert found is not None
    return found


def test_a_made_certificate_is_kept_until_shortly_before_its_end(
    settings: Settings, files: Files
) -> None:
    made = [selfsigned.ensure(files, settings, now=NOW)]
    end = x509.load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc
    made += [
        selfsigned.ensure(files, settings, now=end - timedelta(days=days)) for days in (31, 29, 29)
    ]

    assert made == [True, False, True, False]
    assert end - NOW < timedelta(days=825), "Apple's limit"


@pytest.mark.security("Q-05")
def test_the_made_key_is_the_servers_alone(settings: Settings, files: Files) -> None:
    before = os.umask(0)
    try:
        selfsigned.ensure(files, settings, now=NOW)
    finally:
        os.umask(before)

    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700
    assert sorted(files.key.parent.iterdir()) == [files.certificate, files.key]


@pytest.mark.parametrize("lost", ["certificate", "key"])
def test_half_of_a_made_pair_is_made_anew(settings: Settings, files: Files, lost: str) -> None:
    selfsigned.ensure(files, settings, now=NOW)
    if lost == "key":
        files.key.unlink()
    else:
        files.certificate.write_bytes(b"half of it")

    assert selfsigned.ensure(files, settings, now=NOW)
    assert shown(Certificates(files)) == der(files)


def test_a_made_certificate_names_what_clients_reach_it_by(
    settings: Settings, files: Files
) -> None:
    selfsigned.ensure(files, settings, now=NOW)
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert {"localhost", socket.gethostname(), "files.example.org"} <= set(
        names.get_values_for_type(x509.DNSName)
    )
    assert {"127.0.0.1", "::1"} <= set(map(str, names.get_values_for_type(x509.IPAddress)))


@pytest.mark.parametrize(
    ("name", "usable"),
    [
        ("nas", True),
        ("nas.local", True),
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("a b", False),
        ("é", False),
        ("a..b", False),
        ("x" * 64, False),
    ],
)
def test_only_names_that_a_certificate_can_hold_are_taken(name: str, usable: bool) -> None:
    assert selfsigned._is_usable(name) is usable


def test_without_the_package_the_command_that_installs_it_is_told(
    settings: Settings, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.split(".")[0] == "cryptography":
            raise ModuleNotFoundError(name)
        return original(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(CertificateError, match="pip install cryptography"):
        selfsigned.ensure(files, settings, now=NOW)


def test_a_state_folder_without_room_for_it_is_told(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "state").write_text("a file")
    files = files_of(settings)
    assert files is not None

    with pytest.raises(CertificateError, match=r"cannot be made: (Not a dir|File exists)"):
        selfsigned.ensure(files, settings, now=NOW)


# --- a running server -----------------------------------------------------------------------------


def test_the_fingerprint_that_is_told_is_that_of_the_certificate(tmp_path: Path) -> None:
    """And the next start has the same, which standard clients verify."""
    told, seen = [], []
    for _ in range(2):
        server = Server(tmp_path, scheme="https", arguments=["--tls", "self-signed"])
        with server:
            told.append(server.log_text().partition("SHA-256: ")[2].partition("\n")[0])
            seen.append(shown_at(server.port))
    certificate = tmp_path / "state" / "tls" / "certificate.pem"
    trusting = Server(
        tmp_path, scheme="https", arguments=["--tls", "self-signed"], trust=certificate
    )
    with trusting, trusting.connect() as http:
        status = http.put("/f", b"x").status

    assert told == [fingerprint(certificate)] * 2
    assert [line.replace(":", "").lower() for line in told] == seen
    assert seen[0] == digest_of(certificate)
    assert status == 201


@pytest.fixture(params=[1, 2], ids=["1 worker", "2 workers"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    files = make_pair(tmp_path)
    arguments = ["--tls-cert", str(files.certificate), "--tls-key", str(files.key)]
    with Server(tmp_path, scheme="https", arguments=arguments, workers=request.param) as running:
        yield running


def shown_by_all(server: Server) -> set[str]:
    """Returns what many connections show: with several workers, all of them."""
    return {shown_at(server.port) for _ in range(4 * server.workers)}


@pytest.mark.timeout(60)
def test_changed_files_are_noticed_and_open_connections_live_on(
    server: Server, tmp_path: Path
) -> None:
    with server.connect() as http:
        before = http.put("/f", b"x").status
        files = make_pair(tmp_path)
        noticed = await_true(lambda: shown_by_all(server) == {digest_of(files.certificate)})
        after = http.put("/f", b"y").status

    assert noticed
    assert (before, after) == (201, 204)


@pytest.mark.timeout(60)
def test_a_bad_new_pair_is_told_once_and_the_old_one_stays(server: Server, tmp_path: Path) -> None:
    before = shown_at(server.port)
    (tmp_path / "key.pem").write_text("no key")
    told = await_true(lambda: "the certificate in use stays" in server.log_text())
    shown_meanwhile = shown_by_all(server)
    files = make_pair(tmp_path)
    mended = await_true(lambda: shown_by_all(server) == {digest_of(files.certificate)})

    assert told
    assert shown_meanwhile == {before}
    assert mended
    assert server.log_text().count("the certificate in use stays") == 1


def all_have_begun(server: Server) -> bool:
    """True when every worker has its certificate: the state comes after it."""
    workers = serving(server)
    return len(workers) == server.workers and all(below(pid, server.state) for pid in workers)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("server", [2], ids=["2 workers"], indirect=True)
def test_a_worker_that_dies_over_a_bad_pair_is_replaced_when_it_is_mended(
    server: Server, tmp_path: Path
) -> None:
    """The other one serves until then."""
    assert await_true(lambda: all_have_begun(server))
    before = shown_at(server.port)
    (tmp_path / "key.pem").write_text("no key")
    told = await_true(lambda: "the certificate in use stays" in server.log_text())
    dead, left = serving(server)
    os.kill(dead, signal.SIGKILL)
    failed = await_true(lambda: server.log_text().count("another takes its place") == 2)
    shown_meanwhile = shown_by_all(server)
    files = make_pair(tmp_path)
    mended = await_true(lambda: shown_by_all(server) == {digest_of(files.certificate)})

    assert told
    assert failed
    assert shown_meanwhile == {before}
    assert mended
    assert await_true(lambda: len(serving(server)) == 2 and left in serving(server))


def test_a_new_pair_is_in_use_at_once_after_a_hangup(server: Server, tmp_path: Path) -> None:
    files = make_pair(tmp_path)
    server.hang_up()

    assert await_true(lambda: shown_by_all(server) == {digest_of(files.certificate)})


@pytest.mark.security("T-05")
def test_a_handshake_that_does_not_come_is_cut_off(tmp_path: Path) -> None:
    server = Server(
        tmp_path,
        scheme="https",
        arguments=["--tls", "self-signed"],
        environment={"DAVSERVER_HEAD_TIMEOUT_S": "1"},
    )
    with server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as silent:
        assert silent.recv(1) == b""


@pytest.mark.parametrize("size", [0, 100_000, 5_000_000])
def test_bodies_of_every_size_come_back_over_tls(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    with (
        Server(tmp_path, scheme="https", arguments=["--tls", "self-signed"]) as server,
        server.connect() as http,
    ):
        status = http.put("/f", content).status
        whole = http.get("/f").body
        part = http.get("/f", {"Range": "bytes=10-19"})

    assert (status, whole) == (201, content)
    assert part.body == content[10:20] or part.status == 416


def test_curl_trusts_a_made_certificate(tmp_path: Path, client: Callable[[str], str]) -> None:
    certificate = tmp_path / "state" / "tls" / "certificate.pem"
    with Server(tmp_path, scheme="https", arguments=["--tls", "self-signed"]) as server:
        (server.root / "f").write_text("content")
        url = f"https://localhost:{server.port}/f"
        done = subprocess.run(
            [client("curl"), "-sS", "--cacert", certificate, url],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )

    assert (done.returncode, done.stdout) == (0, "content"), done.stderr


@pytest.mark.security("T-09")
def test_a_client_that_still_sends_reads_its_refusal_over_tls(tmp_path: Path) -> None:
    """TLS has no half-closed connections: the rest is thrown away, for a while."""
    with (
        Server(tmp_path, scheme="https", arguments=["--tls", "self-signed"]) as server,
        server.connect() as http,
    ):
        refused = http.put("/f", bytes(20_000_000), {"If-Match": '"none"'})
        again = http.put("/f", b"x")

    assert (refused.status, again.status) == (412, 201)


def test_the_server_ends_though_a_client_keeps_its_connection(tmp_path: Path) -> None:
    """Who has a connection in stock does not look at it: the end of TLS is never answered."""
    arguments = ["--tls", "self-signed"]
    environment = {"DAVSERVER_GRACE_S": "60"}  # longer than a test waits for the end
    server = Server(tmp_path, scheme="https", arguments=arguments, environment=environment)
    with server, server.connect() as http:
        status = http.put("/f", b"x").status
        code = server.stop()

    assert (status, code) == (201, 0)


def test_the_server_ends_though_a_client_keeps_the_connection_of_its_last_answer(
    tmp_path: Path,
) -> None:
    arguments = ["--tls", "self-signed"]
    environment = {"DAVSERVER_GRACE_S": "60"}  # longer than a test waits for the end
    server = Server(tmp_path, scheme="https", arguments=arguments, environment=environment)

    def is_stopping() -> bool:
        with socket.socket() as other:
            return other.connect_ex(("127.0.0.1", server.port)) != 0

    with server, server.connect() as http, ThreadPoolExecutor(1) as pool:
        http.send_head("PUT", "/f", {"Content-Length": "2", "Expect": "100-continue"})
        asked = http.await_continue()
        ended = pool.submit(server.stop)
        stopping = await_true(is_stopping)
        http.send_raw(b"xy")
        status = http.read_reply().status
        code = ended.result()

    assert (asked, stopping, status, code) == (100, True, 201, 0)


@pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_who_reads_slowly_gets_all_of_an_answer_though_the_server_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_loop: Callable[[], Any]
) -> None:
    """Of which a part waits behind TLS, where nothing tells of it, as the client reads nothing."""
    monkeypatch.setattr(connection, "FAREWELL_S", 0.01)
    edge = EdgeInProcess(write_idle_s=1, body_idle_s=1)  # it looks after them four times a second
    edge._runner.close()
    edge._runner = asyncio.Runner(loop_factory=make_loop)
    edge._config.loaded_app = Plain(bytes(60_000))
    context = Certificates(make_pair(tmp_path)).context
    client = edge.run(stopped_before_it_is_read(edge, context))
    edge.close()

    assert client.endswith(bytes(60_000))


def test_who_reads_at_their_own_pace_is_not_cut_off(tmp_path: Path) -> None:
    """Though as much waits behind TLS each time that somebody looks."""
    content = Random(1).randbytes(24 << 20)
    arguments, environment = ["--tls", "self-signed"], {"DAVSERVER_WRITE_IDLE_S": "1"}
    received = bytearray()
    with Server(tmp_path, scheme="https", arguments=arguments, environment=environment) as server:
        (server.root / "large").write_bytes(content)
        with server.connect() as client:
            client.send_head("GET", "/large")
            begun = time.monotonic()
            while not received.endswith(content[-1000:]):
                chunk = client.socket.recv(1 << 16)
                assert chunk, f"cut off after {len(received)} bytes"
                received += chunk
                # The client's pace: longer than the server waits for nothing.
                ahead = begun + 3 * len(received) / len(content) - time.monotonic()
                time.sleep(max(0.0, ahead))

    assert time.monotonic() - begun > 2
    assert received.endswith(content)


class Plain:
    """An application with one answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"content-length", b"%d" % len(self._body))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": self._body})


async def stopped_before_it_is_read(edge: EdgeInProcess, context: ssl.SSLContext) -> bytes:
    loop = asyncio.get_running_loop()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect(listener.getsockname())
        accepted, _ = listener.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def ask() -> ssl.SSLSocket:
        client = anybody().wrap_socket(raw)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return client

    def read(client: ssl.SSLSocket) -> bytes:
        with closing(client), client.makefile("rb") as file:
            return file.read()

    def make() -> Guard:
        return Guard(edge._config, edge._state, {}, loop, edge=edge._edge)

    asking = loop.run_in_executor(None, ask)
    await loop.connect_accepted_socket(make, accepted, ssl=context)
    client = await asking
    async with asyncio.timeout(20):
        while not edge._state.total_requests:
            await asyncio.sleep(0.001)
    (guard,) = edge._state.connections
    guard.shutdown()
    await asyncio.sleep(1)  # longer than the client of an idle connection has
    return await loop.run_in_executor(None, read, client)
