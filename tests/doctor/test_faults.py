"""check-url through a proxy with one fault: it is found and named, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from davserver.doctor.command import BROKEN, WELL
from tests.support.brokenproxy import Faults, Proxy
from tests.support.examining import SIZE, examine, remains
from tests.support.server import Server

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("examined")) as running:
        yield running


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("below"), prefix="/dav") as running:
        yield running


def test_our_own_server_is_well(server: Server) -> None:
    told = examine(server.url)

    assert (told.code, told.complaints) == (WELL, [])
    assert told.lines[-1] == "All is well."
    assert told.checks("BROKEN") == told.checks("warning") == []
    assert len(told.checks("ok")) > 25
    assert remains(server) == ([], 0)


def test_our_own_server_below_a_prefix_is_well_with_and_without_the_slash(below: Server) -> None:
    for url in (below.url, below.url.rstrip("/")):
        told = examine(url)

        assert (told.code, told.lines[-1]) == (WELL, "All is well."), told.text
    assert remains(below) == ([], 0)


def test_a_proxy_without_fault_is_well_and_named(server: Server) -> None:
    with Proxy(server.port, Faults(name="Caddy")) as proxy:
        told = examine(proxy.url)

    assert told.code == WELL, told.text
    assert "Caddy (Server: Caddy)" in told.text


# Faults, the checks that find them, and what the remedy for nginx begins with.
CASES: dict[str, tuple[Faults, list[str], str]] = {
    "Destination with a wrong host": (
        Faults(destination="backend.internal"),
        ["COPY", "MOVE", "MOVE"],
        "proxy_set_header Host $http_host;",
    ),
    "Host replaced": (
        Faults(host="backend.internal:8080"),
        ["COPY", "MOVE", "MOVE", "If"],
        "proxy_set_header Host $http_host;",
    ),
    "Destination dropped": (
        Faults(drops=("destination",)),
        ["COPY", "MOVE", "MOVE"],
        "remove `proxy_set_header Destination",
    ),
    "If dropped": (Faults(drops=("if",)), ["If", "refresh"], "remove `proxy_set_header If "),
    "Lock-Token dropped": (
        Faults(drops=("lock-token",)),
        ["UNLOCK"],
        "remove `proxy_set_header Lock-Token",
    ),
    "Lock-Token hidden": (
        Faults(hides=("lock-token",)),
        ["LOCK"],
        "remove `proxy_set_header Lock-Token",
    ),
    "Timeout dropped": (Faults(drops=("timeout",)), ["LOCK"], "remove `proxy_set_header Timeout"),
    "Depth dropped": (
        Faults(drops=("depth",)),
        ["PROPFIND 0", "PROPFIND 1"],
        "remove `proxy_set_header Depth",
    ),
    "Overwrite dropped": (
        Faults(drops=("overwrite",)),
        ["Overwrite"],
        "remove `proxy_set_header Overwrite",
    ),
    "If-Match dropped": (
        Faults(drops=("if-match",)),
        ["conditions"],
        "remove `proxy_set_header If-Match",
    ),
    "If-None-Match dropped": (
        Faults(drops=("if-none-match",)),
        ["conditions"],
        "remove `proxy_set_header If-None-Match",
    ),
    "Range dropped": (Faults(drops=("range",)), ["ranges"], "remove `proxy_set_header Range"),
    "LOCK blocked": (Faults(blocks=("LOCK",)), ["LOCK"], "remove limit_except"),
    "UNLOCK blocked": (Faults(blocks=("UNLOCK",)), ["UNLOCK"], "remove limit_except"),
    "PROPFIND blocked": (
        Faults(blocks=("PROPFIND",)),
        ["PROPFIND", "PROPFIND 0", "no slash", "PROPPATCH"],
        "remove limit_except",
    ),
    "PROPPATCH blocked": (Faults(blocks=("PROPPATCH",)), ["PROPPATCH"], "remove limit_except"),
    "MOVE blocked": (
        Faults(blocks=("MOVE",)),
        ["MOVE", "MOVE", "MOVE"],
        "remove limit_except",
    ),
    "MKCOL blocked": (Faults(blocks=("MKCOL",)), ["MKCOL"], "remove limit_except"),
    "bodies over 1 MiB": (
        Faults(limit=1 << 20),
        [f"PUT, {SIZE >> 20} MiB"],
        "client_max_body_size 0;",
    ),
    "chunks refused": (Faults(needs_length=True), ["PUT, chunked"], "proxy_http_version 1.1;"),
    "chunks lost": (Faults(is_empty=True), ["PUT, chunked"], "proxy_http_version 1.1;"),
    "Expect refused": (Faults(refuses_expect=True), ["Expect"], "nothing: it understands"),
    "compression": (Faults(compresses=True), ["compression"], "gzip off;"),
    "Content-Length hidden": (Faults(hides=("content-length",)), ["length"], "gzip off;"),
    "ETag hidden": (Faults(hides=("etag",)), ["ETag"], "remove sub_filter"),
    "cache": (Faults(caches=True), ["conditions"], "proxy_cache off;"),
    "bodies rewritten": (
        Faults(replaces=(b"quick", b"quack")),
        ["length", "ranges"],
        "remove sub_filter",
    ),
    "path decoded": (Faults(decodes=True), ["names"], "proxy_pass http://127.0.0.1:8080;"),
    "encoded slash decoded": (
        Faults(merges_encoded=True),
        ["%2F"],
        "proxy_pass http://127.0.0.1:8080;",
    ),
    "slash redirected": (
        Faults(redirects_slash=True),
        ["no slash", "MOVE"],
        "location = ",
    ),
    "OPTIONS answered": (
        Faults(answers_options=True),
        ["OPTIONS"],
        "remove `if ($request_method = OPTIONS)",
    ),
    "hrefs of another host": (
        Faults(href="http://backend.internal"),
        ["hrefs"] * 4,
        "proxy_set_header Host $http_host;",
    ),
    "LOCK times out": (Faults(fails=("LOCK",)), ["LOCK"], "proxy_read_timeout 3600s;"),
    "LOCK is cut off": (Faults(cuts=("LOCK",)), ["locks"], "proxy_read_timeout 3600s;"),
}


@pytest.mark.parametrize(("faults", "checks", "mends"), CASES.values(), ids=CASES.keys())
def test_a_fault_is_found_named_and_mended(
    server: Server, faults: Faults, checks: list[str], mends: str
) -> None:
    with Proxy(server.port, faults) as proxy:
        told = examine(proxy.url)

    assert told.code == BROKEN, told.text
    found = told.checks("BROKEN")
    assert found[: len(checks)] == checks, told.text
    remedies = told.text.partition("What to do:")[2]
    assert f"     nginx      {mends}" in remedies, told.text
    assert told.complaints == []
    assert remains(server) == ([], 0)
