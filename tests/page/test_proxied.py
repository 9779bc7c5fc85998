"""The page below a prefix, behind a proxy with TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.page.driving import Files, put_rename_delete
from tests.support.proxies import KINDS, Proxy
from tests.support.server import Server

Open = Callable[..., Files]


@pytest.mark.parametrize("server", [{"prefix": "/dav"}], indirect=True)
def test_it_works_below_a_prefix_behind_a_proxy_with_tls(
    open_files: Open, server: Server, folder: Path, client: Callable[[str], str]
) -> None:
    kind = KINDS["nginx"]
    with Proxy(kind, client(kind.program), server) as proxy:
        files = open_files(folder, base=proxy.url, ignore_https_errors=True)
        put_rename_delete(files, folder)
