"""Two users behind each front-end of config/: who is let in, and whose word counts for it."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.test_litmus import check_litmus
from tests.support.processes import await_true
from tests.support.proxies import KINDS, Proxy
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(90)]

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("signing-in")
    for name in ("alice", "bob"):
        subprocess.run(
            [sys.executable, "-m", "davserver", "user", "add", name, "--state", folder / "state"],
            input=f"{PASSWORD}\n",
            text=True,
            timeout=30,
            check=True,
        )
    # The field in which a proxy may say who it is: none of ours does.
    environment = {"DAVSERVER_PROXY_HEADER": "Remote-User"}
    with Server(folder, workers=4, prefix="/dav", environment=environment) as running:
        yield running


@pytest.fixture(scope="module", params=KINDS)
def proxy(
    request: pytest.FixtureRequest, server: Server, client: Callable[[str], str]
) -> Iterator[Proxy]:
    kind = KINDS[request.param]
    with Proxy(kind, client(kind.program), server) as running:
        yield running


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.litmus
@pytest.mark.rfc("SE-01")
def test_litmus_passes_signed_in(
    proxy: Proxy, client: Callable[[str], str], tmp_path: Path
) -> None:
    check_litmus([client("litmus"), "-k", proxy.url, "alice", PASSWORD], tmp_path)


def test_both_users_sign_in_and_nobody_else(proxy: Proxy) -> None:
    with proxy.connect() as http:
        stored = [http.put(f"/dav/{name}", b"x", basic(name)).status for name in ("alice", "bob")]
        nobody = http.get("/dav/alice")
        wrong = http.get("/dav/alice", basic("alice", "wrong"))

    assert set(stored) <= {201, 204}
    assert (nobody.status, wrong.status) == (401, 401)
    assert nobody.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.security("T-02")
def test_a_client_cannot_say_that_the_proxy_signed_it_in(proxy: Proxy) -> None:
    with proxy.connect() as http:
        statuses = [
            http.get("/dav/", {name: "alice"}).status
            for name in ("Remote-User", "remote-user", "REMOTE-USER")
        ]

    assert statuses == [401, 401, 401]


@pytest.mark.security("T-02")
@pytest.mark.parametrize("field", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_a_client_cannot_say_where_it_comes_from(proxy: Proxy, field: str) -> None:
    name = f"mallory-{field}-{proxy.port}"
    told = "for=203.0.113.9" if field == "Forwarded" else "203.0.113.9"
    with proxy.connect() as http:
        status = http.get("/dav/", basic(name) | {field: told}).status

    assert status == 401
    assert await_true(
        lambda: f'sign-in failed from 127.0.0.1 as "{name}"' in proxy.server.log_text()
    )
