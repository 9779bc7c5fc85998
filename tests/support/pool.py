"""Servers for conversations: one for each set of options, emptied between them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import pytest

from tests.support.carriers import WireCarrier
from tests.support.server import Server

OPTIONS = ("prefix", "workers")
"""Of the servers; any other option is a setting."""


class Pool:
    """Starts servers when they are first asked for; use it as a context manager."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._servers: dict[tuple[tuple[str, str], ...], Server] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def server(self, options: Mapping[str, str]) -> Iterator[Server]:
        """Gives the running server with these options. It is given up after a failure, so that
        what was left in it harms no other test."""
        key = tuple(sorted(options.items()))
        if key not in self._servers:
            settings = {
                f"DAVSERVER_{name.upper()}": value
                for name, value in options.items()
                if name not in OPTIONS
            }
            self._servers[key] = self._stack.enter_context(
                Server(
                    self._folders.mktemp("pool"),
                    prefix=options.get("prefix", ""),
                    workers=int(options.get("workers", 1)),
                    environment=settings,
                )
            )
        try:
            yield self._servers[key]
        except BaseException:
            del self._servers[key]
            raise

    def clear(self, server: Server, carrier: WireCarrier) -> None:
        """Removes the locks that were granted, and everything that is there."""
        with server.connect() as connection:
            for target, token, headers in carrier.granted:
                signed = [pair for pair in headers if pair[0].lower() == "authorization"]
                connection.unlock(target, token, signed)
            for name in os.listdir(os.fsencode(server.root)):
                reply = connection.delete(f"{server.prefix}/{quote(name)}")
                assert reply.status == 204, reply
        assert os.listdir(server.root) == []
