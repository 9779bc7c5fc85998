"""check-url and sign-in: what is offered, what is taken, and the ways in that do not open."""

from __future__ import annotations

import io
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.doctor.address import Address
from davserver.doctor.checks.reach import _about_transport
from davserver.doctor.command import BROKEN, NO_WAY_IN, PASSWORD, WELL
from davserver.doctor.findings import Cause, Verdict
from davserver.doctor.signin import SignIn, choose, parse_challenges
from davserver.doctor.visit import Visit
from davserver.serving.tls import Files
from tests.support.brokenproxy import Account, Faults, Proxy
from tests.support.certificates import make_pair
from tests.support.credentials import entry
from tests.support.examining import Told, examine, remains
from tests.support.server import Server

pytestmark = pytest.mark.timeout(60)
ANNA, SECRET = "anna", "Sésame, öffne dich"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("open")) as running:
        yield running


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server where anna has an account, with Digest."""
    folder = tmp_path_factory.mktemp("closed")
    config = folder / "davserver.toml"
    config.touch(mode=0o600)
    user = entry(ANNA, SECRET)
    digest = ", ".join(f'{key} = "{value}"' for key, value in user["digest"].items())
    config.write_text(
        f'anonymous = "none"\n[[user]]\nname = "{ANNA}"\npassword = "{user["password"]}"\n'
        f"digest = {{ {digest} }}\n"
    )
    with Server(folder, arguments=["--config", str(config)]) as running:
        yield running


@pytest.fixture
def pair(tmp_path: Path) -> Files:
    return make_pair(tmp_path)


@pytest.fixture
def tls(pair: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)


def no_way_in(told: Told) -> str:
    """Returns the reason."""
    assert told.code == NO_WAY_IN, told.text
    (reason,) = told.complaints
    return reason


def test_basic_of_our_own_server_on_this_machine(closed: Server) -> None:
    told = examine(closed.url, user=ANNA)

    assert told.code == WELL, told.text
    assert "Basic over plain http: fit for this machine alone" in told.text
    assert remains(closed) == ([], 0)


def test_digest_of_our_own_server_over_plain_http(closed: Server) -> None:
    with Proxy(closed.port) as proxy:
        told = examine(proxy.url, user=ANNA)

    assert told.code == WELL, told.text
    assert "sign-in            Digest SHA-256 as anna" in told.text
    assert remains(closed) == ([], 0)


def test_basic_of_our_own_server_over_tls_in_a_proxy(
    closed: Server, tls: ssl.SSLContext, pair: Files
) -> None:
    with Proxy(closed.port, tls=tls) as proxy:
        told = examine(proxy.url, user=ANNA, authority=str(pair.certificate))

    assert told.code == WELL, told.text
    assert "sign-in            Basic as anna" in told.text
    assert f"Destination: {proxy.url}..." in told.text
    assert remains(closed) == ([], 0)


def test_a_server_that_does_not_know_of_tls_is_told_of_it(
    closed: Server, tls: ssl.SSLContext
) -> None:
    faults = Faults(adds=(("x-forwarded-proto", "http"),))
    with Proxy(closed.port, faults, tls=tls) as proxy:
        told = examine(proxy.url, user=ANNA, is_insecure=True)

    assert told.code == WELL, told.text
    assert "only Digest is offered, though the URL is https" in told.text
    assert "nginx      proxy_set_header X-Forwarded-Proto $scheme;" in told.text


@pytest.mark.parametrize(
    ("account", "shown"),
    [
        (Account(ANNA, SECRET), "Basic"),
        (Account(ANNA, SECRET, "digest", "MD5"), "Digest MD5"),
        (Account(ANNA, SECRET, "digest", "SHA-256"), "Digest SHA-256"),
        (Account(ANNA, SECRET, "digest", "SHA-256", stale_after=5), "Digest SHA-256"),
    ],
    ids=["Basic", "MD5", "SHA-256", "nonces grow old"],
)
def test_sign_in_of_a_proxy(server: Server, account: Account, shown: str) -> None:
    with Proxy(server.port, account=account) as proxy:
        told = examine(proxy.url, user=ANNA)

    assert told.code == WELL, told.text
    assert f"{shown} as {ANNA}" in told.text
    assert remains(server) == ([], 0)


def test_a_wrong_password_is_told_and_nothing_is_made(
    closed: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, "wrong")
    reason = no_way_in(examine(closed.url, user=ANNA))

    assert reason.startswith(f"{closed.url} refuses user 'anna' or the password")
    assert remains(closed) == ([], 0)


def test_without_a_user_what_is_asked_for_is_told(closed: Server) -> None:
    reason = no_way_in(examine(closed.url))

    assert "asks for sign-in (Basic)" in reason
    assert reason.endswith("name a --user")


def test_a_challenge_that_is_lost_is_told(server: Server) -> None:
    faults = Faults(hides=("www-authenticate",))
    with Proxy(server.port, faults, account=Account(ANNA, SECRET)) as proxy:
        reason = no_way_in(examine(proxy.url, user=ANNA))

    assert reason.startswith("401 comes without WWW-Authenticate")


def test_a_page_that_asks_for_sign_in_is_told(server: Server) -> None:
    with Proxy(server.port, Faults(login=True)) as proxy:
        told = examine(proxy.url, user=ANNA)

    assert told.code == NO_WAY_IN
    assert "A page asks for sign-in; clients of WebDAV show no pages (sign-in)" in told.text


def test_a_redirect_to_https_is_told_and_followed(server: Server, tls: ssl.SSLContext) -> None:
    with Proxy(server.port, tls=tls) as secure:
        faults = Faults(redirects_secure=str(secure.port))
        with Proxy(server.port, faults) as plain:
            told = examine(plain.url, is_insecure=True)

    assert told.code == BROKEN, told.text
    assert told.checks("BROKEN") == ["sign-in"]
    assert f"give clients the URL {secure.url}" in told.text
    assert remains(server) == ([], 0)


def test_a_redirect_to_another_server_gets_no_password(server: Server) -> None:
    with Proxy(server.port, Faults(redirects_to="http://localhost:9/")) as proxy:
        reason = no_way_in(examine(proxy.url, user=ANNA))

    assert reason == f"{proxy.url} redirects to another server: http://localhost:9/"
    assert not any("authorization" in head for head in proxy.heads)


def test_a_certificate_that_is_not_trusted_is_told(server: Server, tls: ssl.SSLContext) -> None:
    with Proxy(server.port, tls=tls) as proxy:
        reason = no_way_in(examine(proxy.url))

    assert reason.startswith("the certificate of 127.0.0.1 is not trusted")
    assert reason.endswith("name its authority with --ca, or say --insecure")


def test_plain_http_where_tls_should_be_is_told(server: Server) -> None:
    reason = no_way_in(examine(server.url.replace("http:", "https:"), is_insecure=True))

    assert reason.startswith(f"no TLS with 127.0.0.1:{server.port}")


def test_what_does_not_listen_is_told() -> None:
    assert no_way_in(examine("http://127.0.0.1:1/")) == (
        "127.0.0.1:1 cannot be reached: Connection refused"
    )


def test_what_is_not_there_is_told(server: Server) -> None:
    assert no_way_in(examine(server.url + "missing/")).startswith("there is nothing at")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://anna:secret@localhost/", "no user and password in the URL"),
        ("ftp://localhost/", "must look like https://"),
        ("localhost:8080", "must look like https://"),
        ("http://localhost/?x=1", "must end with its path"),
        ("http://localhost:x/", "is no URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, told: str) -> None:
    assert told in no_way_in(examine(url))


def test_the_password_is_the_first_line_of_standard_input(
    closed: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\nmore\n"))

    assert examine(closed.url, user=ANNA).code == WELL


def test_no_password_is_told(closed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    assert no_way_in(examine(closed.url, user=ANNA)).startswith("no password")


@pytest.mark.parametrize(
    ("host", "verdict"),
    [("192.0.2.1", Verdict.WARNING), ("127.0.0.1", Verdict.NOTE)],
    ids=["another machine", "this machine"],
)
def test_basic_over_plain_http_is_warned_of(host: str, verdict: Verdict) -> None:
    sign_in = SignIn(ANNA, SECRET, lambda: "nonce")
    sign_in.use(parse_challenges(['Basic realm="x"'])[0])
    visit = Visit(Address("http", host, 80, "/"), None, sign_in, 1)
    first = next(_about_transport(visit))

    assert first.verdict is verdict
    assert first.cause is (Cause.BASIC_PLAIN if verdict is Verdict.WARNING else None)


# RFC 7616 section 3.9.1.
_EXAMPLE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_the_rfc(algorithm: str, response: str) -> None:
    nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    sign_in = SignIn("Mufasa", "Circle of Life", lambda: nonce)
    chosen = choose(parse_challenges([_EXAMPLE.format(algorithm)]))
    assert chosen is not None
    sign_in.use(chosen)
    value = sign_in.authorization("GET", "/dir/index.html")

    assert value is not None
    assert f'response="{response}"' in value
    assert "qop=auth, nc=00000001" in value


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        (['Basic realm="a"', 'Digest realm="a", nonce="n", algorithm=MD5'], "Digest MD5"),
        (
            ['Digest realm="a", nonce="n", Digest realm="a", nonce="n", algorithm=SHA-256'],
            "Digest SHA-256",
        ),
        (["Negotiate, Basic"], "Basic"),
        (['Digest realm="a", nonce="n", algorithm=SHA-512-256', 'Basic realm="a"'], "Basic"),
        (['Digest realm="Basic, a", algorithm=MD5'], None),
        (["Negotiate", "Bearer"], None),
        ([], None),
    ],
)
def test_the_strongest_offer_that_is_understood_is_taken(
    values: list[str], chosen: str | None
) -> None:
    found = choose(parse_challenges(values))

    assert (None if found is None else found.shown) == chosen
