"""Which proxies stand in front: by what they say of themselves, and by the shape of their pages."""

from __future__ import annotations

import re

from davserver.doctor.messages import Answer

NGINX = "nginx"
APACHE = "Apache"
CADDY = "Caddy"
TRAEFIK = "Traefik"
DAVSERVER = "davserver"
"""Not a proxy: what is set in the server itself."""
PROXIES = (NGINX, APACHE, CADDY, TRAEFIK)
CLOUDFLARE = "Cloudflare"

_SERVER = {
    NGINX: re.compile(r"nginx|openresty|tengine|angie|freenginx", re.IGNORECASE),
    APACHE: re.compile(r"apache", re.IGNORECASE),
    CADDY: re.compile(r"caddy", re.IGNORECASE),
    TRAEFIK: re.compile(r"traefik", re.IGNORECASE),
    CLOUDFLARE: re.compile(r"cloudflare", re.IGNORECASE),
}
_PAGES = {
    NGINX: re.compile(rb"<hr><center>(?:nginx|openresty|tengine|angie)", re.IGNORECASE),
    APACHE: re.compile(
        rb'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2\.0//EN">\s*<html><head>\s*<title>\d{3} '
    ),
    CLOUDFLARE: re.compile(rb"cf-error-details|cdn-cgi/styles", re.IGNORECASE),
}


def recognise(answer: Answer) -> dict[str, str]:
    """Returns the proxies that an answer tells of, each with what told it."""
    found: dict[str, str] = {}
    for field in ("server", "via"):
        value = answer.get(field) or ""
        for name, pattern in _SERVER.items():
            if pattern.search(value):
                found.setdefault(name, f"{field.capitalize()}: {value}")
    if answer.get("cf-ray") is not None:
        found.setdefault(CLOUDFLARE, "CF-Ray")
    if answer.status < 400:
        return found
    for name, page in _PAGES.items():
        if page.search(answer.body[:4096]):
            found.setdefault(name, f"its page for {answer.status}")
    if not found and _is_traefik(answer):
        found[TRAEFIK] = "its page for 404"
    return found


def _is_traefik(answer: Answer) -> bool:
    """Go's page for 404, with no Server field: Caddy, written in Go too, names itself."""
    return (
        answer.status == 404
        and answer.body == b"404 page not found\n"
        and answer.get("server") is None
        and answer.get("x-content-type-options") == "nosniff"
    )
