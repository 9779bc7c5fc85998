"""Pages of other origins (CORS): off by default, and for named origins alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davserver.auth.base import ANONYMOUS, Attempt, Principal
from davserver.config import Settings, SettingsError, load_settings
from tests.conftest import AppDav
from tests.support.reply import Reply

MakeDav = Callable[..., AppDav]
APP, PHONE, PAGE = "app://obsidian.md", "capacitor://localhost", "https://notes.example.org:8443"
ORIGINS = (APP, PHONE, "http://localhost", PAGE)
METHODS = [
    *("OPTIONS", "GET", "HEAD", "PUT", "DELETE", "MKCOL", "COPY", "MOVE"),
    *("PROPFIND", "PROPPATCH", "LOCK", "UNLOCK"),
]
FOREIGN = [
    "null",
    "https://evil.example",
    "https://notes.example.org",
    "http://notes.example.org:8443",
    "https://notes.example.org:84430",
    "https://notes.example.org:8443.evil.example",
    "https://evil-notes.example.org:8443",
    "HTTPS://NOTES.EXAMPLE.ORG:8443",
    f"{PAGE}, {APP}",
    f"{PAGE}/",
    "*",
    "",
]


class Locked:
    """Nobody gets in without the word."""

    def challenges(self, *, secure: bool) -> tuple[bytes, ...]:
        return (b'Basic realm="files"',)

    def recall(self, attempt: Attempt) -> Principal | None:
        return ANONYMOUS if attempt.authorization == b"Basic dTpw" else None

    def authenticate(self, attempt: Attempt) -> Principal | None:
        return None

    def close(self) -> None:
        pass


def cors(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers if name.startswith("access-control-")}


def preflight(dav: AppDav, origin: str, method: str = "PROPFIND", target: str = "/f") -> Reply:
    fields = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,depth,x-of-theirs",
    }
    return dav.options(target, fields)


@pytest.mark.security("W-03")
def test_by_default_no_answer_says_anything(dav: AppDav) -> None:
    dav.put("/f", b"x")

    for reply in (preflight(dav, PAGE), dav.get("/f", {"Origin": PAGE})):
        assert reply.status == 200
        assert cors(reply) == {}
        assert "vary" not in reply.headers


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("method", METHODS)
def test_a_preflight_is_answered_before_sign_in(
    make_dav: MakeDav, origin: str, method: str
) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS, overrides={"authenticator": Locked()})
    assert dav.get("/").status == 401

    reply = preflight(dav, origin, method, "/not/there")

    assert (reply.status, reply.body) == (200, b"")
    fields = cors(reply)
    assert fields["access-control-allow-origin"] == origin
    assert fields["access-control-allow-credentials"] == "true"
    assert method in reply.headers.tokens("access-control-allow-methods")
    assert int(fields["access-control-max-age"]) > 0
    allowed = {name.lower() for name in reply.headers.tokens("access-control-allow-headers")}
    assert {"authorization", "content-type", "depth", "x-of-theirs"} <= allowed
    assert {"destination", "overwrite", "if", "if-match", "if-none-match", "lock-token"} <= allowed
    assert {"timeout", "range", "x-oc-mtime", "x-requested-with", "cache-control"} <= allowed
    assert reply.headers.tokens("dav")[:2] == ["1", "2"]
    assert "PROPFIND" in reply.headers.tokens("allow")
    assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize("target", ["/", "/dav", "/dav/", "/dav/a/b", "/dav/.davserver/health"])
def test_a_preflight_is_answered_wherever_the_server_is(make_dav: MakeDav, target: str) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS, prefix="/dav")

    assert cors(preflight(dav, PAGE, target=target))["access-control-allow-origin"] == PAGE


def test_a_preflight_where_nothing_can_be_written_tells_of_no_locks(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", cors_origins=ORIGINS, read_only=True)

    assert "2" not in preflight(dav, PAGE).headers.tokens("dav")


@pytest.mark.security("W-03")
@pytest.mark.parametrize("origin", FOREIGN)
def test_no_other_origin_is_let_in(make_dav: MakeDav, origin: str) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS)
    dav.put("/f", b"x")

    for reply in (
        preflight(dav, origin),
        dav.get("/f", {"Origin": origin}),
        dav.get("/no", {"Origin": origin}),
    ):
        assert cors(reply) == {}
        assert reply.headers["vary"] == "Origin"


@pytest.mark.security("W-03")
def test_two_origins_are_none(make_dav: MakeDav) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS)

    assert cors(dav.get("/", [("Origin", PAGE), ("Origin", "https://evil.example")])) == {}


@pytest.mark.security("W-02")
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "MOVE", "PROPPATCH", "LOCK", "MKCOL"])
def test_another_site_is_not_let_through_where_some_are(
    make_dav: MakeDav, method: str, origin: str
) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS)
    dav.put("/f", b"kept")

    asked = preflight(dav, origin, method)
    form = dav.request("POST", "/f", {"Origin": origin, "Content-Type": "text/plain"}, b"x=1")

    assert cors(asked) == cors(form) == {}
    assert form.status == 405
    assert dav.get("/f").body == b"kept"


@pytest.mark.security("W-03")
@pytest.mark.parametrize("status", [200, 206, 304, 401, 404, 405, 412])
def test_every_answer_can_be_read_by_a_page_that_is_let_in(make_dav: MakeDav, status: int) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS, overrides={"authenticator": Locked()})
    ours = {"Origin": APP, "Authorization": "Basic dTpw"}
    etag = dav.put("/f", b"content", ours).headers["etag"]

    reply = {
        200: lambda: dav.get("/f", ours),
        206: lambda: dav.get("/f", ours | {"Range": "bytes=1-2"}),
        304: lambda: dav.get("/f", ours | {"If-None-Match": etag}),
        401: lambda: dav.get("/f", {"Origin": APP}),
        404: lambda: dav.get("/no", ours),
        405: lambda: dav.mkcol("/f", ours),
        412: lambda: dav.put("/f", b"", ours | {"If-Match": '"no"'}),
    }[status]()

    assert reply.status == status
    assert reply.headers["access-control-allow-origin"] == APP
    assert reply.headers["access-control-allow-credentials"] == "true"
    exposed = set(reply.headers.tokens("access-control-expose-headers"))
    assert {"DAV", "ETag", "Content-Length", "Content-Range", "Accept-Ranges"} <= exposed
    assert {"Last-Modified", "Lock-Token", "Location", "Allow"} <= exposed
    assert reply.headers["vary"] == "Origin"


def test_a_request_without_origin_is_as_ever_but_for_vary(make_dav: MakeDav) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS)

    reply = dav.options("/")

    assert cors(reply) == {}
    assert reply.headers["vary"] == "Origin"


@pytest.mark.security("W-03")
def test_a_star_never_comes_with_credentials(make_dav: MakeDav) -> None:
    dav = make_dav("memory", cors_origins=(APP, "*"))

    others = preflight(dav, "https://anybody.example")
    named = preflight(dav, APP)

    assert cors(others)["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in cors(others)
    assert cors(named)["access-control-allow-origin"] == APP
    assert cors(named)["access-control-allow-credentials"] == "true"
    assert cors(dav.get("/", {"Origin": "null"}))["access-control-allow-origin"] == "*"


@pytest.mark.security("W-05")
@pytest.mark.parametrize("names", ["x\u00fc", "a b", '"', "x:y", "a,,b", "x" * 5000])
def test_what_is_no_name_of_a_field_is_not_sent_back(make_dav: MakeDav, names: str) -> None:
    dav = make_dav("memory", cors_origins=ORIGINS)
    fields = {
        "Origin": APP,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": names,
    }

    allowed = dav.options("/", fields).headers["access-control-allow-headers"]

    assert names not in allowed
    assert allowed.isascii()
    assert len(allowed) < 1000


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "example.org", "https://", "https://a/", "https://a/b", "https://u@a", "*.a"),
        *("https://*.example.org", "https://a b", "https://a?b", "https://a#b", ""),
    ],
)
def test_a_setting_that_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"--cors-origins: .* must look like"):
        load_settings(flags={"root": "/srv", "cors_origins": (origin,)})


def test_origins_are_set_as_browsers_write_them() -> None:
    settings = Settings(
        root="/srv", cors_origins=("HTTPS://Notes.Example.ORG", "https://[::1]:8080")
    )

    assert settings.cors_origins == ("https://notes.example.org", "https://[::1]:8080")
