"""The Route record: what a module of this package offers as `ROUTES`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from davserver.auth.base import Privilege
from davserver.context import RequestContext, Response

PREFIX = ".davserver"

Perform = Callable[[RequestContext], Awaitable[Response]]
"""Answers a request for a resource as the pipeline does, every check included. Raises DavError,
StorageError, StateError, ClientDisconnect."""
Handler = Callable[[RequestContext, tuple[str, ...], Perform], Awaitable[Response]]
"""Given the decoded segments after the route's name. Raises as the pipeline does."""


@dataclass(frozen=True, slots=True)
class Route:
    """One name below `<prefix>/.davserver/`.

    Attributes:
        name: the first segment.
        methods: who answers which; HEAD where GET is. Any other is 405, a WebDAV method 404.
        privilege: what the anonymous principal needs to be let in (401); None lets in everybody,
            without a look at who it is. What a route does to resources needs the rights to them.
        is_tree: what is below it are paths of resources, the root's among them.
    """

    name: str
    methods: Mapping[str, Handler]
    privilege: Privilege | None = Privilege.READ
    is_tree: bool = False

    @property
    def allow(self) -> bytes:
        """The value of Allow (RFC 9110 section 10.2.1)."""
        names = {*self.methods, *(("HEAD",) if "GET" in self.methods else ())}
        return ", ".join(sorted(names)).encode()
