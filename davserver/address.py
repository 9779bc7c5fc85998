"""Addresses as settings: those to listen on, `127.0.0.1:9100`, and those of clients."""

from __future__ import annotations

import ipaddress
import re


def check_address(value: str | None) -> str | None:
    """Returns it as it is. Raises ValueError."""
    if value is not None:
        split_address(value)
    return value


def check_prefix(value: str) -> str:
    """Returns it without a slash at its end, "" for the root. Raises ValueError."""
    stripped = value.rstrip("/")
    if not stripped:
        return ""
    segments = stripped.split("/")
    if segments[0] or not all(segments[1:]) or {".", ".."} & set(segments):
        raise ValueError("must look like /dav")
    if "%" in value or not value.isprintable():
        raise ValueError("must be plain text, not percent-encoded")
    return stripped


def check_urls(value: tuple[str, ...]) -> tuple[str, ...]:
    """Returns them as they are. Raises ValueError."""
    for url in value:
        if re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", url) is None:
            raise ValueError(f"{url!r} must look like https://files.example.org/dav")
    return value


def split_address(value: str) -> tuple[str, int]:
    """Returns host and port. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not host or re.fullmatch(r"[0-9]{1,5}", port) is None or int(port) > 65_535:
        raise ValueError("must look like 127.0.0.1:9100")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """True for an address, or a name of one, that only this machine has."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
