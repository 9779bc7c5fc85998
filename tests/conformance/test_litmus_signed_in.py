"""Debian's litmus, signed in: with Basic over TLS, and with Digest over plain http from an address
that is not loopback's, where nothing else is asked for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.test_litmus import SUITES, check_litmus, run_litmus
from tests.support.credentials import add_users
from tests.support.server import Server

pytestmark = [pytest.mark.litmus, pytest.mark.timeout(180)]

# The user, and one whose groups make the server look at a rule for each path.
RULES = """
[[rule]]
path = "/litmus"
users = ["alice"]
access = "write"

[[rule]]
path = "/litmus/other"
access = "none"
"""


def own_address() -> str:
    """Returns an address of this machine that is not loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: it only asks which address a packet would leave from.
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
    assert not address.startswith("127."), "this machine has no address but loopback's"
    return address


@pytest.fixture(scope="module", params=["1 worker", "4 workers, rules"])
def signed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    add_users(folder / "state", "alice")
    arguments = ["--host", "0.0.0.0"]
    if "rules" in request.param:
        (folder / "davserver.toml").write_text(RULES)
        arguments += ["--config", str(folder / "davserver.toml")]
    with Server(folder, workers=int(request.param[0]), arguments=arguments) as running:
        yield running


@pytest.mark.rfc("SE-02")
@pytest.mark.parametrize("suite", SUITES)
def test_litmus_passes_with_digest(
    suite: str, signed: Server, client: Callable[[str], str], tmp_path: Path
) -> None:
    url = f"http://{own_address()}:{signed.port}/"

    run_litmus(suite, [client("litmus"), url, "alice", "secret"], tmp_path)

    trace = (tmp_path / "debug.log").read_text(errors="replace")
    assert "Authorization: Digest " in trace
    assert 'algorithm="SHA-256"' in trace
    assert "Authorization: Basic " not in trace


def test_litmus_passes_with_basic_over_tls(client: Callable[[str], str], tmp_path: Path) -> None:
    add_users(tmp_path / "state", "alice")
    arguments = ["--tls", "self-signed"]
    with Server(tmp_path, scheme="https", workers=4, arguments=arguments) as server:
        check_litmus([client("litmus"), "-k", server.url, "alice", "secret"], tmp_path)
