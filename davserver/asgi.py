"""Types of the ASGI interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

FILE_MESSAGE: Final = "davserver.response.file"
"""A message of our own server's, offered among the scope's extensions: part of an answer's body is
"count" bytes of "fd" from "offset", which the page cache holds, and "more_body"."""
