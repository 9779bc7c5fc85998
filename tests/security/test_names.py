"""Names that attack: markup, control characters, quotes, length, bytes that are no text.

They come back as they were stored, in documents that parse and header fields of one line; what is
too long or no text is refused before anything is made.
"""

from __future__ import annotations

import html
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from davserver.accesslog import AccessLog
from davserver.app import DavApp
from tests.conftest import AppDav
from tests.support.dav import LOCKINFO
from tests.support.every import Ask, asks_at, asks_to, snapshot
from tests.support.server import Server

NAMES = {
    "markup": '"><img src=x onerror=alert(1)>',
    "script": "<script>alert(1).html",
    "entity": "&lt;&amp;&#x41;",
    "cdata": "]]><![CDATA[",
    "comment": "<!-- -->",
    "quotes": "'\"`",
    "sql": "'; DROP TABLE properties; --",
    "sql pattern": "%_[a]*",
    "a leading dash": "-rf",
    "a leading tilde": "~root",
    "shell": "$(id);`id`|&",
    "a trailing space": "name ",
    "a leading space": " name",
    "a trailing dot": "name.",
    "only dots": "...",
    "percent": "100%25",
    "query": "a?b#c",
    "semicolon": "a;b=c",
    "comma": "a, b",
    "colon": "c:d",
    "backslash": "..\\..\\x",
    "device": "CON",
    "device with a suffix": "nul.txt",
    "stream": "file::$DATA",
    "right to left": "\u202egnp.exe",
    "separator": "a\u2028b",
    "noncharacter": "a\ufffeb",
    "beyond the BMP": "\U0001f4a9",
    "accent": "e\u0301",
    "format": "%s%n%x{0}",
    "a form feed's picture": "\u240a",
    "255 bytes": "x" * 255,
    "255 bytes of two": "\u00e9" * 127 + "x",
    "C1 control": "a\u0085b",
}


def href_of(name: str) -> str:
    return "/" + quote(name, safe="")


@pytest.mark.security("P-07", "P-04", "C-10", "T-12", "Q-08")
@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_is_a_name(make_dav: Callable[..., AppDav], name: str) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root is not None
    text = NAMES[name]
    href = href_of(text)

    assert dav.put(href, b"content").status == 201
    assert [os.fsdecode(one) for one in os.listdir(os.fsencode(dav.root))] == [text]
    assert dav.get(href).body == b"content"
    found = dav.members("/")
    assert [unquote_to_bytes(one).decode() for one in found] == ["/" + text]
    if "\ufffe" not in text:
        shown = dav.prop(found[0], "{DAV:}displayname").text
        assert shown == text
    assert dav.proppatch(href, set={f"{{x:}}{'y'}": text.replace("\ufffe", "")}).status == 207
    lock = dav.lock(href)
    assert (
        unquote_to_bytes(lock.activelock.findtext("{DAV:}lockroot/{DAV:}href"))
        == ("/" + text).encode()
    )
    locked = dav.put(href, b"x")
    assert [unquote_to_bytes(one).decode() for one in locked.condition_hrefs] == ["/" + text]
    assert dav.unlock(href, lock.token).status == 204
    page = dav.get("/").body.decode()
    assert f'">{html.escape(text)}</a>' in page
    assert not re.search("<(script|img)", page)

    copied = dav.copy(href, "/c")
    assert copied.status == 201
    back = dav.copy("/c", href)
    assert back.status == 204
    assert dav.delete(href).status == 204
    moved = dav.move("/c", href)
    assert moved.status == 201
    location = moved.headers["location"]
    assert location.isascii()
    assert unquote_to_bytes(location).decode() == "/" + text
    assert dav.delete(href).status == 204


@pytest.mark.security("T-12", "W-05")
@pytest.mark.parametrize("name", NAMES)
def test_a_collection_tells_its_place_in_one_line(
    make_dav: Callable[..., AppDav], name: str
) -> None:
    dav = make_dav("memory")
    href = href_of(NAMES[name])
    assert dav.mkcol(href).status == 201
    reply = dav.get(href)
    location = reply.headers["content-location"]
    assert location.isascii()
    assert location.endswith("/")
    assert unquote_to_bytes(location).decode() == "/" + NAMES[name] + "/"
    assert "content-disposition" not in reply.headers


ON_DISK = {
    "newline": b"a\nb",
    "carriage return": b"a\r\nSet-Cookie: x=1",
    "escape": b"\x1b[31mred",
    "delete": b"a\x7fb",
    "latin-1": b"caf\xe9",
    "overlong": b"\xc0\xae\xc0\xae",
    "surrogate": b"\xed\xa0\x80",
    "all bytes": bytes(set(range(1, 256)) - {ord("/")})[:250],
}


@pytest.mark.security("P-07", "P-02", "T-12")
@pytest.mark.rfc("PF-05")
@pytest.mark.parametrize("name", ON_DISK)
def test_a_name_on_disk_that_cannot_be_made_can_be_read(
    make_dav: Callable[..., AppDav], name: str
) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root is not None
    raw = ON_DISK[name]
    (Path(os.fsdecode(os.fsencode(dav.root) + b"/" + raw))).write_bytes(b"content")
    os.mkdir(os.fsencode(dav.root) + b"/c")
    os.mkdir(os.fsencode(dav.root) + b"/c/" + raw)

    (href,) = [one for one in dav.members("/") if one != "/c/"]
    assert unquote_to_bytes(href) == b"/" + raw
    assert dav.get(href).body == b"content"
    assert dav.put(href, b"changed").status == 204
    assert dav.proppatch(href, set={"{x:}y": "1"}).status == 207
    lock = dav.lock(href)
    assert dav.put(href, b"x").status == 423
    assert dav.unlock(href, lock.token).status == 204
    (inner,) = dav.members("/c/")
    slashless = dav.get(inner.rstrip("/"))
    assert slashless.headers["content-location"] == inner

    for made in (
        Ask("PUT", href + "new", {}, b"x"),
        Ask("MKCOL", inner.rstrip("/") + "new"),
        Ask("COPY", href, {"Destination": href + "new"}),
        Ask("MOVE", href, {"Destination": href + "new"}),
        Ask("LOCK", href + "new", {}, LOCKINFO.format(scope="exclusive", owner="").encode()),
    ):
        assert made.send(dav).status == 400, made
    assert dav.move(href, "/plain").status == 201
    assert dav.delete(inner).status == 204


@pytest.mark.security("P-06", "M-14")
@pytest.mark.parametrize("name", ["x" * 256, "x" * 4000, "\u00e9" * 128])
def test_a_name_that_is_too_long_is_414_and_400_in_a_destination(
    make_dav: Callable[..., AppDav], name: str
) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root is not None
    dav.mkcol("/c/")
    dav.put("/c/f", b"f")
    before = snapshot(dav.root)
    path = href_of(name)

    creating = {"PUT", "MKCOL", "LOCK", "LOCK depth 0"}
    statuses = {key: ask.send(dav).status for key, ask in asks_at(path).items()}
    into = {key: ask.send(dav).status for key, ask in asks_to(path, "/c/f", "/c/").items()}
    below = Ask("PUT", f"{path}/f", {}, b"x").send(dav).status

    assert {statuses[key] for key in creating} == {414}
    assert set(into.values()) == {400}
    assert {statuses[key] for key in ("GET", "PROPFIND 0", "DELETE", "COPY", "MOVE")} == {404}
    assert below in (409, 414)
    after = snapshot(dav.root)
    assert {k: v for k, v in after.items() if not k.endswith(".")} == {
        k: v for k, v in before.items() if not k.endswith(".")
    }


@pytest.mark.security("P-06", "M-14")
@pytest.mark.parametrize("back", [(), ("openat2",)])
def test_paths_beyond_path_max(make_dav: Callable[..., AppDav], back: tuple[str, ...]) -> None:
    """Each request's path has at most 8192 bytes; PATH_MAX is 4096."""
    dav = make_dav("filesystem", durability="none", fallbacks=back)
    segment = "d" * 250
    path = ""
    for _ in range(30):
        path += f"/{segment}"
        assert dav.mkcol(path).status == 201
    assert dav.put(f"{path}/f", b"deep").status == 201
    assert dav.get(f"{path}/f").body == b"deep"
    assert dav.proppatch(f"{path}/f", set={"{x:}y": "1"}).status == 207
    lock = dav.lock(f"{path}/f")
    assert dav.delete(f"/{segment}/").status == 207
    assert dav.get(f"{path}/f").body == b"deep"
    assert dav.unlock(f"{path}/f", lock.token).status == 204
    assert dav.members(f"{path}/") == [f"{path}/f"]
    assert len(dav.propfind("/", depth="infinity").hrefs) == 32

    # Below a name of 255 bytes it is longer than any request may say: MOVE takes it there
    # in one step, and it can be listed, copied and removed.
    assert dav.mkcol("/e").status == 201
    assert dav.move(f"/{segment}/", f"/e/{'e' * 255}/").status == 201
    assert len(dav.propfind("/", depth="infinity").hrefs) == 33
    assert dav.copy("/e/", "/copy/").status == 201
    assert len(dav.propfind("/copy/", depth="infinity").hrefs) == 32
    assert dav.delete("/copy/").status == 204
    assert dav.delete("/e/").status == 204
    assert dav.members("/") == []


@pytest.mark.security("P-06")
def test_a_url_that_is_too_long_is_414(server: Server) -> None:
    with server.connect() as http:
        for size, status in ((8000, {400, 404}), (9000, {414}), (100_000, {414, 431})):
            assert http.get("/" + "x" * size).status in status
            http.close()
        assert http.copy("/", "/" + "x" * 9000).status == 400


@pytest.mark.security("A-07")
@pytest.mark.parametrize("target", ["/", "/none", "/%zz", "/.davserver/x", "/.davserver/health"])
def test_no_answer_names_the_program_or_the_machine(server: Server, target: str) -> None:
    with server.connect() as http:
        for method in ("GET", "PROPFIND", "PUT", "BREW", "OPTIONS", "LOCK"):
            reply = http.request(method, target)
            http.close()
            raw = (reply.body + repr(reply.headers.items).encode()).lower()
            for word in (b"uvicorn", b"starlette", b"python", b"traceback", b"/tmp"):
                assert word not in raw, reply


@pytest.mark.security("W-01", "W-05", "C-03")
@pytest.mark.parametrize(
    ("name", "sandboxed"),
    [
        ("evil.html", True),
        ("evil.HTM", True),
        ("evil.xhtml", True),
        ("evil.svg", True),
        ("evil.xml", True),
        ("evil.txt", False),
        ("evil", False),
        ("evil.pdf", False),
        ("evil.js", False),
        ("evil.py", False),
        ("evil.php", False),
        ("evil.html.unknown", False),
        ("evil.mht", True),
        ("evil.shtml", False),
        ("evil.xsl", True),
        ("evil.rdf", False),
        ("evil.atom", False),
        ("evil.hta", False),
        ('a"; filename="b.html', True),
    ],
)
def test_what_was_stored_runs_nowhere(
    make_dav: Callable[..., AppDav], name: str, sandboxed: bool
) -> None:
    dav = make_dav("memory")
    href = href_of(name)
    body = b"<script>alert(1)</script>"
    dav.put(href, body, {"Content-Type": "text/html"})

    for reply in (dav.get(href), dav.head(href), dav.get(href, {"Range": "bytes=0-3"})):
        assert reply.headers["x-content-type-options"] == "nosniff"
        policy = reply.headers.get("content-security-policy")
        assert policy == ("sandbox; default-src 'none'" if sandboxed else None)
        assert "set-cookie" not in reply.headers
    assert dav.get(href).body == body


@pytest.mark.security("C-10", "C-11")
def test_errors_tell_nothing_as_markup(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("memory")
    script = "%3Cscript%3E"
    for target in (f"/{script}", "/x?q=<script>", "/<script>", f"/{script}/y", "/%zz<script>"):
        for key, ask in asks_at(target).items():
            reply = ask.send(dav)
            kind = reply.headers.get("content-type", "")
            assert not kind.startswith("text/html") or reply.status == 200, key
            if kind.startswith("text/plain"):
                assert reply.headers["x-content-type-options"] == "nosniff"
            else:
                assert b"<script>" not in reply.body, key
        dav.delete("/%3Cscript%3E")


LINE = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S+ \S+ \S+ \S+ \d{3} \d+ \d+\.\dms( \"[ -~]*\")?\n"
)


@pytest.mark.security("T-13", "C-21")
def test_each_request_is_one_escaped_line(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("memory")
    stream = io.BytesIO()
    app: DavApp = dav.app
    app._log = AccessLog(stream, clock=dav.clock)
    counted = 0

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=30), st.binary(max_size=30), st.booleans())
    def check(path: bytes, field: bytes, encoded: bool) -> None:
        nonlocal counted
        counted += 1
        target = "/" + (quote(path) if encoded else path.decode("latin-1").replace("?", ""))
        headers = {"X-Litmus": field.decode("latin-1"), "User-Agent": field.decode("latin-1")}
        dav.request("GET", target, headers)

    check()
    for name in ("a%0d%0ab", "a%1b%5b31m", "a%n", '"quoted"', "\x85", "\xc3\xa9"):
        dav.get("/" + name)
        counted += 1
    app._log.flush()

    lines = stream.getvalue().splitlines(keepends=True)
    assert len(lines) == counted
    assert [line for line in lines if LINE.fullmatch(line) is None] == []
