"""Which proxy it is: by its fields, or by the page that it makes for an error."""

from __future__ import annotations

import pytest

from davserver.doctor.messages import Answer
from davserver.doctor.proxies import APACHE, CADDY, CLOUDFLARE, NGINX, TRAEFIK, recognise

NGINX_PAGE = (
    b"<html>\r\n<head><title>405 Not Allowed</title></head>\r\n<body>\r\n"
    b"<center><h1>405 Not Allowed</h1></center>\r\n<hr><center>nginx</center>\r\n"
)
APACHE_PAGE = (
    b'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n'
    b"<title>403 Forbidden</title>\n</head><body>\n<h1>Forbidden</h1>\n"
)
GO_PAGE = b"404 page not found\n"
NOSNIFF = ("x-content-type-options", "nosniff")


@pytest.mark.parametrize(
    ("status", "headers", "body", "names"),
    [
        (200, [("server", "nginx/1.22.1")], b"", [NGINX]),
        (200, [("server", "openresty/1.25.3.1")], b"", [NGINX]),
        (200, [("server", "Apache/2.4.66 (Debian)")], b"", [APACHE]),
        (200, [("server", "Caddy")], b"", [CADDY]),
        (200, [("via", "1.1 Caddy")], b"", [CADDY]),
        (200, [("server", "cloudflare"), ("cf-ray", "1")], b"", [CLOUDFLARE]),
        (200, [("server", "cloudflare"), ("via", "1.1 Caddy")], b"", [CLOUDFLARE, CADDY]),
        (405, [], NGINX_PAGE, [NGINX]),
        (403, [], APACHE_PAGE, [APACHE]),
        (404, [NOSNIFF], GO_PAGE, [TRAEFIK]),
        (404, [NOSNIFF, ("server", "Caddy")], GO_PAGE, [CADDY]),
        (404, [], GO_PAGE, []),
        (200, [], NGINX_PAGE, []),
        (404, [("server", "gunicorn")], b"not found", []),
    ],
)
def test_proxies_are_recognised(
    status: int, headers: list[tuple[str, str]], body: bytes, names: list[str]
) -> None:
    assert list(recognise(Answer(status, "", headers, body))) == names
