"""One examination: connection, sign-in, and the folder that is worked in and removed again."""

from __future__ import annotations

import contextlib
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from davserver.doctor.address import Address, quoted
from davserver.doctor.messages import Answer, BrokenAnswer, Request
from davserver.doctor.proxies import recognise
from davserver.doctor.signin import Challenge, SignIn, choose, parse_challenges
from davserver.doctor.wire import TIMEOUT_S, Unreachable, Wire

LOCK_S = 30
"""Seconds that a lock of an examination lasts: what cannot be unlocked is free soon."""
_RETRY_S = 2.0
_REMOVED = (200, 202, 204, 404, 410)
Headers = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Visit:
    """Attributes:
    trust: for https.
    sign_in: None where nobody signs in.
    size: bytes of the large upload.
    pause_s: seconds that an upload stands still, 0 leaves that check out.
    folder: path of the folder that is worked in.
    is_made: it may be there, and is to be removed.
    locks: tokens of locks that may hold, with their paths.
    proxies: what stands in front, and what told so.
    has_locks: OPTIONS offers locks, or tells nothing.
    """

    address: Address
    trust: ssl.SSLContext | None
    sign_in: SignIn | None
    size: int
    pause_s: float = 0.0
    folder: str = ""
    is_made: bool = False
    locks: dict[str, str] = field(default_factory=dict)
    proxies: dict[str, str] = field(default_factory=dict)
    has_locks: bool = True
    wire: Wire = field(init=False)
    _refused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.wire = Wire(self.address, self.trust)
        self.folder = f"{self.address.path}davserver-check-{secrets.token_hex(8)}/"

    def turn_to(self, address: Address, trust: ssl.SSLContext | None) -> None:
        """Goes on at another address, before anything was made."""
        name = self.folder.rstrip("/").rpartition("/")[2]
        self.wire.close()
        self.address = address
        self.trust = trust
        self.wire = Wire(address, trust)
        self.folder = f"{address.path}{name}/"

    def path(self, *names: str) -> str:
        """Returns the path of something in the folder; the names are plain text."""
        return self.folder + "/".join(quoted(name) for name in names)

    def url(self, path: str) -> str:
        """Returns a path as clients write it into Destination and If."""
        return self.address.origin + path

    def ask(
        self,
        method: str,
        path: str,
        headers: Headers = (),
        *,
        body: bytes | None = None,
        pieces: Callable[[], Iterator[bytes]] | None = None,
        length: int | None = None,
        expects: bool = False,
        sink: Callable[[bytes], object] | None = None,
        answer_in_s: float = TIMEOUT_S,
    ) -> Answer:
        """Sends a request, signed in where that is asked for. Raises Unreachable,
        BrokenAnswer."""
        for _ in range(4):
            request = Request(
                method,
                path,
                self._signed(method, path, headers),
                body=body,
                pieces=pieces,
                length=length,
                expects=expects,
            )
            answer = self.wire.exchange(request, sink=sink, answer_in_s=answer_in_s)
            self.proxies = recognise(answer) | self.proxies
            if answer.status != 401 or not self._meet(answer):
                break
        return answer

    def probe(self, request: Request, *, wait_s: float) -> Answer | None:
        """As Wire.probe, signed in."""
        signed = self._signed(request.method, request.target, request.headers)
        return self.wire.probe(replace(request, headers=signed), wait_s=wait_s)

    def _signed(self, method: str, path: str, headers: Headers) -> list[tuple[str, str]]:
        value = self.sign_in.authorization(method, path) if self.sign_in is not None else None
        return [*headers, *([] if value is None else [("Authorization", value)])]

    def _meet(self, answer: Answer) -> bool:
        """Takes up a challenge; False when there is none that was not tried in vain."""
        sign_in = self.sign_in
        if sign_in is None:
            return False
        offers = challenges(answer)
        used = sign_in.challenge
        if used is not None and not _is_stale(used, offers):
            self._refused.add(used.shown)
        chosen = choose(offers, without=frozenset(self._refused))
        if chosen is None:
            return False
        sign_in.use(chosen)
        return True

    # --- the end --------------------------------------------------------------------------------

    def clean_up(self) -> str | None:
        """Removes the folder; returns its URL when it stays. Takes a minute at most."""
        if not self.is_made:
            return None
        self.wire.close()
        deadline = time.monotonic() + LOCK_S + 5
        while (status := self._remove()) not in _REMOVED:
            # Locks of ours that cannot be given back end by themselves.
            if status not in (207, 423) or time.monotonic() > deadline:
                return self.url(self.folder)
            time.sleep(_RETRY_S)
        self.is_made = False
        return None

    def _remove(self) -> int | None:
        """Returns the status of DELETE, None when there was no answer."""
        status = None
        with contextlib.suppress(BrokenAnswer, Unreachable):
            for token, path in tuple(self.locks.items()):
                answer = self.ask("UNLOCK", path, [("Lock-Token", f"<{token}>")])
                if answer.status in (204, 404, 409):
                    del self.locks[token]
            condition = " ".join(
                f"<{self.url(path)}> (<{token}>)" for token, path in self.locks.items()
            )
            headers = [("If", condition)] if condition else []
            for path in (self.folder, self.folder.rstrip("/")):
                status = self.ask("DELETE", path, headers).status
                if status in _REMOVED:
                    break
        return status


def challenges(answer: Answer) -> list[Challenge]:
    values = [value for name, value in answer.headers if name == "www-authenticate"]
    return parse_challenges(values)


def _is_stale(used: Challenge, offers: Sequence[Challenge]) -> bool:
    """The password was right, only the nonce is too old (RFC 7616 section 3.3)."""
    return used.scheme == "digest" and any(
        offer.parameters.get("stale", "").lower() == "true" for offer in offers
    )
