"""Sign-in: Basic and Digest against the accounts, or a trusted proxy's word.

What can be told without hashing a password is told at once: nobody signs in, a proxy says who it
is, a password was verified a short time ago, Digest. Only a Basic password that is not remembered
is verified in a thread.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence

from davserver.auth.accounts import Account, Accounts, Roster
from davserver.auth.base import ANONYMOUS, Attempt, Principal
from davserver.auth.basic import Remembered, challenge, is_basic, parse_basic
from davserver.auth.digest import Digest, is_digest, parse_digest
from davserver.auth.passwords import verify_password
from davserver.auth.sessions import Sessions
from davserver.auth.table import SharedTable
from davserver.auth.throttle import Throttle, shown
from davserver.configtables import check_user_name
from davserver.errors import BadRequest, DavError, Forbidden, Unauthorized

failures = logging.getLogger("davserver.signin")
"""A name of its own, for config/fail2ban-davserver.conf reads its lines."""


class SignIn:
    """The Authenticator of the accounts.

    Args:
        remembered: passwords that were right.
        sessions: of those who signed in with the page's form.
        clock: seconds since the epoch.
        tables: that the others use, to be closed.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        realm: str,
        digest: Digest,
        throttle: Throttle,
        remembered: Remembered,
        sessions: Sessions,
        clock: Callable[[], float],
        tables: Sequence[SharedTable] = (),
    ) -> None:
        self._accounts = accounts
        self._basic = challenge(realm)
        self._digest = digest
        self._throttle = throttle
        self._remembered = remembered
        self._sessions = sessions
        self._clock = clock
        self._tables = tables

    def close(self) -> None:
        for table in self._tables:
            table.close()

    @property
    def accounts(self) -> Accounts:
        return self._accounts

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        """RFC 4918 section 20.1: Basic only where the connection is secure. There it is alone:
        a client that has the choice takes Digest, and not every user has one."""
        return self._challenges(secure=secure, stale=False)

    def _challenges(self, *, secure: bool, stale: bool) -> Sequence[bytes]:
        roster = self._accounts.roster
        if roster.is_open:
            return ()
        if secure and not stale and roster.names:
            return (self._basic,)
        return self._digest.challenges(roster, self._clock(), stale=stale)

    def recall(self, attempt: Attempt) -> Principal | None:
        if self._accounts.is_stale:
            return None
        return self._tell(attempt, self._accounts.roster)

    def _tell(self, attempt: Attempt, roster: Roster) -> Principal | None:
        """Returns who it is; None where a password has to be verified."""
        if roster.is_open:
            return ANONYMOUS
        if attempt.asserted is not None:
            return _asserted(attempt.asserted, roster)
        authorization = attempt.authorization
        if authorization is None:
            return self._of_session(attempt, roster)
        if is_digest(authorization):
            return self._judge(attempt, authorization, roster)
        if not is_basic(authorization):
            raise self._refusal(attempt)
        if not attempt.secure:
            raise self._refusal(attempt, "a password must not be sent over http: use https")
        return self._remembered.get(authorization, roster, attempt.now)

    def _of_session(self, attempt: Attempt, roster: Roster) -> Principal:
        if attempt.session is None or not attempt.secure:
            return ANONYMOUS
        account = self._sessions.find(attempt.session, roster, attempt.now)
        return ANONYMOUS if account is None else account.principal

    @property
    def is_open(self) -> bool:
        return not self._accounts.is_stale and self._accounts.roster.is_open

    @property
    def session_s(self) -> float:
        return 0.0 if self._accounts.roster.is_open else self._sessions.lifetime_s

    def begin_session(self, principal: Principal, now: float) -> bytes | None:
        account = self._accounts.roster.accounts.get(principal.name)
        return None if account is None else self._sessions.begin(account, now)

    def end_session(self, token: bytes) -> None:
        self._sessions.end(token)

    def authenticate(self, attempt: Attempt) -> Principal | None:
        roster = self._accounts.refresh()
        principal = self._tell(attempt, roster)
        if principal is not None:
            return principal
        authorization = attempt.authorization or b""
        found = parse_basic(authorization)
        if found is None:
            return None
        name, password = found
        account = roster.find(name)
        tried = name if account is None else account.principal.name
        self._throttle.check(attempt.address, tried, attempt.now)
        if not _is_right(account, password, tried, roster) or account is None:
            raise self._failure(attempt, tried)
        self._throttle.succeeded(attempt.address, tried, attempt.now)
        self._remembered.add(authorization, account, attempt.now)
        return account.principal

    def _judge(self, attempt: Attempt, authorization: bytes, roster: Roster) -> Principal:
        proof = parse_digest(authorization)
        account = self._digest.judge(proof, attempt, roster)
        name = proof.username if account is None else account.principal.name
        if account is None or not self._digest.is_in_use(proof):
            # Whoever has signed in goes on, whatever others at the same address guess.
            self._throttle.check(attempt.address, name, attempt.now)
        if account is None:
            raise self._failure(attempt, name)
        if not self._digest.is_fresh(proof, attempt.now):
            raise self._refusal(attempt, stale=True)
        return account.principal

    def _failure(self, attempt: Attempt, name: str) -> DavError:
        error = self._refusal(attempt)
        error.delay_s = self._throttle.failed(attempt.address, name, attempt.now)
        failures.warning("sign-in failed from %s as %s", attempt.address, shown(name))
        return error

    def _refusal(
        self, attempt: Attempt, detail: str = "sign in", *, stale: bool = False
    ) -> DavError:
        challenges = self._challenges(secure=attempt.secure, stale=stale)
        if not challenges:
            return Forbidden("nobody can sign in here: passwords need https")
        headers = tuple((b"www-authenticate", challenge) for challenge in challenges)
        return Unauthorized(detail, headers=headers)


def _is_right(account: Account | None, password: str, name: str, roster: Roster) -> bool:
    """Verifies a password. An unknown user costs what a known one does: the hash of another is
    computed in its place, always the same one for the same name."""
    if account is not None:
        return verify_password(password, account.password)
    if roster.names:
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        decoy = roster.accounts[roster.names[number % len(roster.names)]]
        verify_password(password, decoy.password)
    return False


def _asserted(value: bytes, roster: Roster) -> Principal:
    """Returns who a trusted proxy says it is: a user with an account, or one without groups.
    Raises BadRequest (400) for what cannot be a name."""
    try:
        name = value.decode("utf-8")
    except UnicodeDecodeError:
        name = value.decode("latin-1")
    account = roster.find(name)
    if account is not None:
        return account.principal
    try:
        return Principal(check_user_name(name.rpartition("\\")[2]))
    except ValueError as error:
        raise BadRequest(f"the proxy's word for the user: {error}") from None
