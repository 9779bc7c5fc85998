"""Servers for conversations: one for each set of options, emptied between them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.carriers import WireCarrier
from tests.support.scenario import Scenario
from tests.support.server import Server

OPTIONS = ("prefix", "workers", "config", "from")
"""Of the conversations; any other is a setting. `config` is a file beside the conversation; `from`
the address that the client has, told by a proxy: of loopback a password would be taken."""
CLEARING = {"users.toml": "Basic YW5uYTpTw6lzYW1lLCDDtmZmbmUgZGljaA=="}
"""Who clears the servers that have this file: anna."""


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
    def server(self, scenario: Scenario) -> Iterator[Server]:
        """Gives the running server that a conversation asks for. It is given up after a failure,
        so that what was left in it harms no other test."""
        options = {name: value for name, value in scenario.server.items() if name != "from"}
        key = tuple(sorted(options.items()))
        if key not in self._servers:
            folder = self._folders.mktemp("pool")
            arguments = []
            if "config" in options:
                # A copy for nobody else to read: it has password hashes.
                copied = folder / options["config"]
                copied.write_bytes((scenario.path.parent / copied.name).read_bytes())
                copied.chmod(0o600)
                arguments = ["--config", str(copied)]
            settings = {
                f"DAVSERVER_{name.upper()}": value
                for name, value in options.items()
                if name not in OPTIONS
            }
            self._servers[key] = self._stack.enter_context(
                Server(
                    folder,
                    prefix=options.get("prefix", ""),
                    workers=int(options.get("workers", 1)),
                    environment=settings,
                    arguments=arguments,
                )
            )
        try:
            yield self._servers[key]
        except BaseException:
            del self._servers[key]
            raise

    def clear(self, scenario: Scenario, server: Server, carrier: WireCarrier) -> None:
        """Removes the locks that were granted, and everything that is there."""
        clearing = may_everything(scenario)
        with server.connect() as connection:
            for target, token, headers in carrier.granted:
                own = {name: value for name, value in headers if value.startswith("Basic ")}
                connection.unlock(target, token, own or clearing)
            for name in os.listdir(os.fsencode(server.root)):
                if "read_only" in scenario.server:
                    os.unlink(os.fsencode(server.root) + b"/" + name)
                    continue
                reply = connection.delete(f"{server.prefix}/{quote(name)}", clearing)
                assert reply.status == 204, reply
        assert os.listdir(server.root) == []


def may_everything(scenario: Scenario) -> dict[str, str]:
    """Returns the header fields of somebody who may do everything."""
    authorization = CLEARING.get(scenario.server.get("config", ""))
    return {} if authorization is None else {"Authorization": authorization}
