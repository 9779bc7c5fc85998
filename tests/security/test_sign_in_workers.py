"""Sign-in with several workers, against the real server: what one has seen, all know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.credentials import add_users, basic, challenges, digest_field
from tests.support.server import Server

WORKERS = 4
FORWARDED = {"X-Forwarded-For": "192.0.2.9"}
SECURE = FORWARDED | {"X-Forwarded-Proto": "https"}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    add_users(folder / "state", "alice", "bob", "carol")
    keys = {"DAVSERVER_SIGN_IN_FAILURES": "3", "DAVSERVER_SIGN_IN_LOCKOUT_S": "3600"}
    with Server(folder, workers=WORKERS, environment=keys) as running:
        yield running


def statuses(server: Server, *requests: dict[str, str]) -> list[int]:
    """Sends each request on a connection of its own, so that different workers get them."""
    found = []
    for headers in requests:
        with server.connect() as http:
            found.append(http.put("/f", b"x", headers).status)
    return found


@pytest.mark.rfc("DG-05")
@pytest.mark.security("A-04")
def test_a_proof_is_taken_by_one_worker_only(signed: Server) -> None:
    with signed.connect() as http:
        (challenge,) = challenges(http.get("/", FORWARDED))
    field = {"Authorization": digest_field(challenge, "PUT", "/f")}

    found = statuses(signed, *[FORWARDED | field] * (3 * WORKERS))

    assert found[0] in (201, 204)
    assert found[1:] == [401] * (3 * WORKERS - 1)


def test_one_session_is_known_to_all_workers(signed: Server) -> None:
    with signed.connect() as http:
        (challenge,) = challenges(http.get("/", FORWARDED))
    fields = [
        FORWARDED | {"Authorization": digest_field(challenge, "PUT", "/f", count=count)}
        for count in range(1, 3 * WORKERS)
    ]

    assert set(statuses(signed, *fields)) <= {201, 204}


@pytest.mark.security("A-03")
def test_failures_are_counted_over_all_workers(signed: Server) -> None:
    wrong = SECURE | basic("bob", "wrong")

    found = statuses(signed, wrong, wrong, wrong, wrong, SECURE | basic("bob"))

    assert found == [401, 401, 401, 429, 429]
    assert statuses(signed, SECURE | basic("carol"))[0] in (201, 204)


@pytest.mark.security("A-09")
def test_neither_passwords_nor_hashes_are_in_the_log(signed: Server) -> None:
    with signed.connect() as http:
        for headers in (basic("alice", "geheim-1"), basic("alice", "geheim-2\x00")):
            assert http.get("/", headers).status == 401
        assert http.get("/f", {"Authorization": "Basic geheim-3"}).status == 401
        http.get("/", basic("alice"))
    log = signed.log_text()

    for word in ("geheim", "secret", "argon2", basic("alice")["Authorization"].split()[1]):
        assert word not in log


@pytest.mark.security("Q-05")
def test_what_is_shared_is_for_nobody_else(signed: Server) -> None:
    names = ("users.toml", "signin.key", "signin.failures", "signin.nonces")

    modes: dict[str, int] = {
        name: Path(signed.state, name).stat().st_mode & 0o777 for name in names
    }

    assert modes == dict.fromkeys(names, 0o600)
