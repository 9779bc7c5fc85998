"""Addresses to listen on, as one setting: `127.0.0.1:9100`, `[::1]:9100`."""

from __future__ import annotations

import re


def check_address(value: str | None) -> str | None:
    """Returns it as it is. Raises ValueError."""
    if value is not None:
        split_address(value)
    return value


def split_address(value: str) -> tuple[str, int]:
    """Returns host and port. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not host or re.fullmatch(r"[0-9]{1,5}", port) is None or int(port) > 65_535:
        raise ValueError("must look like 127.0.0.1:9100")
    return host.strip("[]"), int(port)
