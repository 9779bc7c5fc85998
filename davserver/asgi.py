"""Types of the ASGI interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

FILE_MESSAGE: Final = "davserver.response.file"
"""A message of our own server's, offered among the scope's extensions: the body of an answer goes
on with "stretch", a FileStretch, as far as that is cached, and with other messages then."""


@dataclass(slots=True)
class FileStretch:
    """Part of a file that is to be sent.

    Attributes:
        fd: the file.
        offset: of what comes next, in bytes: whoever sends moves it on.
        end: of the part.
        is_cached: tells of an offset and a number of bytes whether nothing of them waits for the
            disk.
    """

    fd: int
    offset: int
    end: int
    is_cached: Callable[[int, int], bool]


BODY_LOAN: Final = "davserver.request.loan"
"""Offered among the scope's extensions by our own server, as {"borrow": a function}: that returns
the BodyLoan of a request body of which `receive` has given a part, None where it cannot be had."""


class BodyLoan(Protocol):
    """The rest of a request body, for a thread to read past the event loop.

    From `borrow` to `end` nobody else reads the body, and nobody calls `receive`.

    Attributes:
        here: pieces that had come, and come before the rest.
    """

    here: Sequence[bytes]

    @property
    def size(self) -> int:
        """Bytes so far: of `here`, and what was passed on."""

    def pass_on(self, write: Callable[[memoryview], None], room: memoryview) -> None:
        """Hands on what comes, until it is all here, or comes slowly or not at all: then `receive`
        is to be asked again. Blocks. Raises what `write` does.

        Args:
            write: is done with what it is given when it returns.
            room: what it is given is part of this.
        """

    def stop(self) -> None:
        """Has `pass_on` return soon; from another thread."""

    def end(self) -> None:
        """Gives the rest back; harmless twice. On the loop."""
