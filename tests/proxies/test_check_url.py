"""check-url through the real proxies: with the files of config/ all is well, without a line of
them the doctor finds what that line is for, and names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from davserver.doctor.command import BROKEN, WELL
from tests.support.examining import Told, examine, remains
from tests.support.proxies import KINDS, Kind, Proxy
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(90)]
NAMES = {"nginx": "nginx", "apache": "Apache", "caddy": "Caddy"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("behind"), prefix="/dav") as running:
        yield running


def through(kind: Kind, program: str, server: Server) -> Told:
    with Proxy(kind, program, server) as proxy:
        return examine(proxy.url, authority=str(proxy.certificate), size=4 << 20)


@pytest.mark.parametrize("name", KINDS)
def test_the_front_ends_of_config_are_well(
    server: Server, client: Callable[[str], str], name: str
) -> None:
    kind = KINDS[name]
    told = through(kind, client(kind.program), server)

    assert told.code == WELL, told.text
    assert told.checks("warning") == []
    assert f"{NAMES[name]} (Server: {NAMES[name]}" in told.text
    assert remains(server) == ([], 0)


def changed(kind: Kind, old: str, new: str) -> Kind:
    """Returns a proxy with another line in its file."""

    def replaced(folder: Path, port: int) -> dict[str, str]:
        return kind.replaced(folder, port) | {old: new}

    return replace(kind, replaced=replaced)


# The proxy, what stands in its file and what in its place, the line that the doctor says about
# it, and what mends it.
CASES: dict[str, tuple[str, str, str, str, str]] = {
    "nginx with its limit": (
        "nginx",
        "    client_max_body_size 0;\n",
        "",
        "BROKEN   PUT, 4 MiB         PUT: 413",
        "nginx      client_max_body_size 0;",
    ),
    "nginx with another Host": (
        "nginx",
        "    proxy_set_header Host $http_host;\n",
        "",
        "BROKEN   MOVE               MOVE: 502 Bad Gateway (destination is on another server",
        "nginx      proxy_set_header Host $http_host;",
    ),
    "nginx that gathers": (
        "nginx",
        "    proxy_request_buffering off;\n",
        "",
        "warning  buffering ",
        "nginx      proxy_request_buffering off;",
    ),
    "nginx that compresses": (
        "nginx",
        "    gzip off;\n",
        "    gzip on; gzip_types *; gzip_proxied any;\n",
        "BROKEN   compression        GET is encoded with gzip; ETag ",
        "nginx      gzip off;",
    ),
    "nginx that needs the slash": (
        "nginx",
        "location /dav {",
        "location /dav/ {",
        "BROKEN   no slash           PROPFIND of /dav: 301",
        "nginx      location = /dav { proxy_pass",
    ),
    "nginx that decodes": (
        "nginx",
        "    location /dav {\n        proxy_pass http://davserver;",
        "    location /dav {\n        proxy_pass http://davserver/dav;",
        "BROKEN   %2F                is taken for a slash",
        "nginx      proxy_pass http://127.0.0.1:8080;",
    ),
    "nginx that lets no LOCK through": (
        "nginx",
        "    location /dav {\n",
        "    location /dav {\n        if ($request_method = LOCK) { return 405; }\n",
        "BROKEN   LOCK               LOCK: 405",
        "nginx      remove limit_except and `if ($request_method ...)` for LOCK",
    ),
    "Apache that drops Destination": (
        "apache",
        "    ProxyPreserveHost On\n",
        "    ProxyPreserveHost On\n    RequestHeader unset Destination\n",
        "BROKEN   MOVE               MOVE: 400",
        "Apache     remove `RequestHeader unset|edit Destination`",
    ),
    "Apache that drops Range": (
        "apache",
        "    ProxyPreserveHost On\n",
        "    ProxyPreserveHost On\n    RequestHeader unset Range\n",
        "BROKEN   ranges ",
        "Apache     remove `RequestHeader unset|edit Range`",
    ),
    "Apache that compresses": (
        "apache",
        "    SetEnv no-gzip 1\n",
        "    SetOutputFilter DEFLATE\n",
        "warning  compression        GET is encoded with gzip",
        "Apache     SetEnv no-gzip 1",
    ),
    "Apache that needs the slash": (
        "apache",
        '"/dav" "http://127.0.0.1:8080/dav"',
        '"/dav/" "http://127.0.0.1:8080/dav/"',
        "BROKEN   no slash           PROPFIND of /dav: ",
        "Apache     ProxyPass /dav http://127.0.0.1:8080/dav   (in place of ProxyPass /dav/)",
    ),
    "Caddy that strips the path": (
        "caddy",
        "\thandle @dav {\n",
        "\thandle @dav {\n\t\t@f not path /dav/.davserver/*\n\t\turi @f strip_prefix /dav\n",
        "BROKEN   PROPFIND           the href of /dav/ is /",
        "Caddy      handle /dav/* { reverse_proxy 127.0.0.1:8080 }   (not handle_path)",
    ),
    "Caddy that compresses": (
        "caddy",
        "\thandle @dav {\n",
        "\thandle @dav {\n\t\tencode gzip\n",
        "warning  compression        GET is encoded with gzip",
        "Caddy      remove `encode` from this site",
    ),
    "Caddy that needs the slash": (
        "caddy",
        "path / /dav /dav/*",
        "path / /dav/*",
        "BROKEN   no slash           PROPFIND of /dav: 404",
        "Caddy      handle /dav* in place of handle /dav/*",
    ),
    "Caddy that drops If": (
        "caddy",
        "\t\t\theader_up -Forwarded\n",
        "\t\t\theader_up -Forwarded\n\t\t\theader_up -If\n",
        "BROKEN   If                 a PUT with the token in If is refused (423)",
        "Caddy      remove `header_up If ...`",
    ),
}


# One a proxy by default: each starts it anew, and sends it what takes seconds.
ALWAYS = ("nginx with another Host", "Apache that drops Destination", "Caddy that drops If")


@pytest.mark.parametrize(
    ("name", "old", "new", "line", "mends"),
    [
        pytest.param(*case, id=id, marks=[] if id in ALWAYS else [pytest.mark.long])
        for id, case in CASES.items()
    ],
)
def test_what_a_line_is_for_is_found_without_it(
    server: Server,
    client: Callable[[str], str],
    name: str,
    old: str,
    new: str,
    line: str,
    mends: str,
) -> None:
    kind = KINDS[name]
    told = through(changed(kind, old, new), client(kind.program), server)

    assert told.code == (WELL if line.startswith("warning") else BROKEN), told.text
    assert [each for each in told.lines if each.startswith(line)], told.text
    assert [each for each in told.lines if each.strip().startswith(mends)], told.text
    assert remains(server) == ([], 0)
