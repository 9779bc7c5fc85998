"""The listener of the metrics, of the real server: all workers in one answer, no more there."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from davserver.state.gatelock import GateLock
from tests.support.credentials import basic_field, quick_hash
from tests.support.crowd import at_once
from tests.support.http import Connection
from tests.support.processes import await_true, serving
from tests.support.server import Server
from tests.test_cli import refused

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
LISTEN = ["--metrics-listen", "127.0.0.1:0"]
WAIT_S = 15


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Another process is in the gate."""
    gate = GateLock(state / "gate")
    gate.acquire(10)
    try:
        yield
    finally:
        gate.release()
        gate.close()


class Metered(Server):
    """A server with metrics."""

    def read(self) -> Samples:
        """Returns every sample by name and labels."""
        with self.listener() as http:
            reply = http.get("/metrics")
        assert reply.status == 200
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(reply.body.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.read().get((f"davserver_{name}", frozenset(labels.items())), 0.0)

    def await_value(self, name: str, value: float, **labels: str) -> None:
        """Waits until a sample has a value: a line is counted after its answer has left."""
        deadline = time.monotonic() + WAIT_S
        while (seen := self.value(name, **labels)) != value:
            assert time.monotonic() < deadline, f"{name} stays {seen}"
            time.sleep(0.02)

    def listener(self) -> Connection:
        found = re.search(r"Metrics at http://127\.0\.0\.1:(\d+)/metrics", self.log_text())
        assert found is not None, self.log_text()
        return Connection("127.0.0.1", int(found[1]))


@contextmanager
def running(folder: Path, **options: object) -> Iterator[Metered]:
    with Metered(folder, arguments=LISTEN, **options) as server:  # type: ignore[arg-type]
        yield server


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metered]:
    with running(tmp_path_factory.mktemp("metered")) as server:
        yield server


@pytest.fixture
def http(metered: Metered) -> Iterator[Connection]:
    with metered.connect() as connection:
        yield connection


def test_requests_are_counted_by_method_and_class_with_their_bytes(
    metered: Metered, http: Connection
) -> None:
    before = metered.read()
    http.put("/counted.txt", b"x" * 1000)
    http.put("/counted.txt", iter([b"y" * 500, b"z" * 500]))
    http.get("/counted.txt")
    http.get("/missing")
    metered.await_value(
        "requests_total",
        before.get(("davserver_requests_total", labels(method="GET", status="4xx")), 0) + 1,
        method="GET",
        status="4xx",
    )
    after = metered.read()

    def gained(name: str, **keys: str) -> float:
        key = (f"davserver_{name}", labels(**keys))
        return after[key] - before.get(key, 0.0)

    assert gained("requests_total", method="PUT", status="2xx") == 2
    assert gained("requests_total", method="GET", status="2xx") == 1
    assert gained("request_duration_seconds_count", method="PUT") == 2
    assert gained("request_duration_seconds_bucket", method="PUT", le="+Inf") == 2
    assert gained("request_duration_seconds_sum", method="PUT") > 0
    assert gained("request_body_bytes_total") == 2000
    assert gained("response_body_bytes_total") >= 1000


def labels(**keys: str) -> frozenset[tuple[str, str]]:
    return frozenset(keys.items())


def test_an_answer_of_the_edge_is_counted_too(metered: Metered) -> None:
    before = metered.value("requests_total", method="other", status="5xx")
    with metered.connect() as http:
        http.send_raw(b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert http.read_reply("BREW").status == 501

    metered.await_value("requests_total", before + 1, method="other", status="5xx")


def test_locks_and_connections_are_what_they_are_now(metered: Metered, http: Connection) -> None:
    http.put("/locked.txt", b"")
    token = http.lock("/locked.txt").token
    metered.await_value("locks", 1)
    http.unlock("/locked.txt", token)
    metered.await_value("locks", 0)
    with metered.connect() as other:
        other.options("/")
        metered.await_value("connections", 2)

    metered.await_value("connections", 1)


def test_an_upload_that_breaks_off_is_counted(metered: Metered) -> None:
    before = metered.value("uploads_broken_total")
    with metered.connect() as http:
        http.send_head("PUT", "/broken.bin", {"Content-Length": "3000000"})
        http.send_raw(b"x" * 2_000_000)

    metered.await_value("uploads_broken_total", before + 1)


def test_a_wrong_password_is_counted_and_a_request_without_one_is_not(tmp_path: Path) -> None:
    config = tmp_path / "davserver.toml"
    config.touch(mode=0o600)
    config.write_text(
        'anonymous = "none"\n[metrics]\nmetrics_listen = "127.0.0.1:0"\n'
        f'[[user]]\nname = "ann"\npassword = "{quick_hash("secret")}"\n'
    )
    with Metered(tmp_path, arguments=["--config", str(config)]) as server:
        with server.connect() as http:
            assert http.get("/").status == 401
            assert http.get("/", {"Authorization": basic_field("ann")}).status == 200
            assert http.get("/", {"Authorization": basic_field("ann", "guess")}).status == 401
        server.await_value("sign_in_failures_total", 1)
        server.await_value("requests_total", 2, method="GET", status="4xx")


def test_state_and_processes_have_a_size(metered: Metered) -> None:
    samples = metered.read()
    worker = labels(worker="0")

    assert samples["davserver_state_bytes", labels()] > 0
    assert samples["davserver_process_resident_memory_bytes", worker] > 1 << 20
    assert samples["davserver_process_open_fds", worker] > 5
    assert samples["davserver_worker_beat_age_seconds", worker] < 10


def test_openmetrics_is_spoken_to_who_asks_for_it(metered: Metered) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    with metered.listener() as http:
        reply = http.get("/metrics", accept)
    names = {family.name for family in parse_openmetrics(reply.body.decode())}

    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {"davserver_requests", "davserver_request_duration_seconds"} <= names


def test_health_is_there_and_tells_nothing(metered: Metered) -> None:
    with metered.listener() as http:
        reply = http.get("/health")

    assert (reply.status, reply.body) == (200, b'{"status": "ok"}')


@pytest.mark.parametrize("path", ["/", "/metrics/", "/.davserver/health", "/locked.txt"])
def test_there_is_nothing_else_at_the_listener(metered: Metered, path: str) -> None:
    with metered.listener() as http:
        assert http.get(path).status == 404
        assert http.put(path, b"").status == 404


def test_the_metrics_can_only_be_read(metered: Metered) -> None:
    with metered.listener() as http:
        reply = http.request("DELETE", "/metrics")

    assert reply.status == 405
    assert reply.headers["allow"] == "GET, HEAD"


def test_there_are_no_metrics_at_the_server_itself(http: Connection) -> None:
    assert http.get("/metrics").status == 404
    assert http.get("/.davserver/metrics").status == 404


@pytest.mark.timeout(60)
def test_whichever_worker_answers_it_tells_of_all(tmp_path: Path) -> None:
    each = 25
    with running(tmp_path, workers=3) as server:

        def ask(http: Connection) -> None:
            for _ in range(each):
                assert http.propfind("/", depth="0")

        at_once(server, *[ask] * 12)
        for _ in range(10):
            server.await_value("requests_total", 12 * each, method="PROPFIND", status="2xx")
        samples = server.read()

        assert samples["davserver_worker_starts_total", labels()] == 3
        assert len([key for key in samples if key[0].endswith("resident_memory_bytes")]) == 3


@pytest.mark.timeout(60)
def test_a_worker_that_dies_takes_no_count_with_it(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as server:
        with server.connect() as http:
            for _ in range(10):
                http.options("/")
        server.await_value("requests_total", 10, method="OPTIONS", status="2xx")
        server.await_value("worker_starts_total", 2)
        dead = serving(server)
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        assert await_true(lambda: len(serving(server)) == 2 and not {*dead} & {*serving(server)})
        server.await_value("worker_starts_total", 4)

        assert server.value("requests_total", method="OPTIONS", status="2xx") == 10
        assert server.value("connections") == 0


@pytest.mark.timeout(60)
def test_a_change_that_waits_in_vain_for_another_is_counted(tmp_path: Path) -> None:
    with running(tmp_path, environment={"DAVSERVER_GATE_WAIT_S": "0.2"}) as server:
        with server.connect() as http, held(server.state):
            assert http.put("/a.txt", b"").status == 503
        server.await_value("gate_timeouts_total", 1)

        assert server.value("gate_waits_total") >= 1
        assert server.value("gate_wait_seconds_total") >= 0.2


@pytest.mark.timeout(60)
def test_counts_and_locks_outlive_a_reload_with_another_gate(tmp_path: Path) -> None:
    config = tmp_path / "davserver.toml"
    config.write_text('[dav]\ndurability = "file"\ngate_wait_s = 0.2\n')
    arguments = [*LISTEN, "--config", str(config)]
    with Metered(tmp_path, arguments=arguments) as server, server.connect() as http:
        with held(server.state):
            assert http.put("/a.txt", b"").status == 503
        server.await_value("gate_timeouts_total", 1)
        config.write_text(
            '[dav]\ndurability = "none"\ngate_wait_s = 0.2\npropfind_infinity = "refuse"\n'
        )
        server.hang_up()
        asked = {"Depth": "infinity"}
        assert await_true(lambda: http.request("PROPFIND", "/", asked).status == 403)
        http.lock("/locked.txt")
        server.await_value("locks", 1)

        assert server.value("gate_timeouts_total") == 1
        assert server.value("requests_total", method="LOCK", status="2xx") == 1


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert "Metrics" not in server.log_text()


@pytest.mark.parametrize("value", ["9100", ":9100", "127.0.0.1", "127.0.0.1:99999", "a:b"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    assert refused(tmp_path, str(tmp_path), "--metrics-listen", value) == (
        "--metrics-listen: must look like 127.0.0.1:9100"
    )


def test_an_address_in_use_is_told(tmp_path: Path, state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused(
            tmp_path,
            *(str(tmp_path / "root"), "--port", "0", "--state", str(state)),
            *("--metrics-listen", f"127.0.0.1:{port}"),
        )

    assert told == f"cannot listen on 127.0.0.1 port {port}: Address already in use"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "state"


def test_what_to_install_is_told_where_it_is_missing(tmp_path: Path, state: Path) -> None:
    hidden = (
        "import sys; sys.modules['prometheus_client'] = None; from davserver.cli.main import main"
    )
    told = refused(
        tmp_path,
        *(str(tmp_path / "root"), "--port", "0", "--state", str(state), *LISTEN),
        command=(sys.executable, "-c", f"{hidden}; main()"),
    )

    assert told == "metrics_listen needs one more package: pip install prometheus-client"
