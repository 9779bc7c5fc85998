"""What has come of a request body, taken without waiting for more."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import cast

from davserver.asgi import Message, Receive


def take_arrived(receive: Receive) -> Message | None:
    """Returns the next message if it is here; None where it would have to be waited for.

    Args:
        receive: of our own server: it loses nothing when it is given up while it waits.
    """
    waiting = cast(Coroutine[object, None, Message], receive())
    try:
        waiting.send(None)
    except StopIteration as ended:
        message: Message = ended.value
        return message
    waiting.close()
    return None


def again(message: Message, receive: Receive) -> Receive:
    """Returns a `receive` that begins with a message that was taken before."""
    taken = [message]

    async def receive_again() -> Message:
        return taken.pop() if taken else await receive()

    return receive_again
