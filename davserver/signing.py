"""Builds the sign-in and the rights that the settings describe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from davserver.auth.accounts import Accounts, Source
from davserver.auth.base import Authenticator
from davserver.auth.basic import Remembered
from davserver.auth.digest import Digest
from davserver.auth.htpasswd import read_htpasswd
from davserver.auth.nonces import BUCKETS as NONCE_BUCKETS
from davserver.auth.nonces import Nonces
from davserver.auth.rules import RuleAuthorizer, Spell
from davserver.auth.secret import SharedKey
from davserver.auth.sessions import BUCKETS as SESSION_BUCKETS
from davserver.auth.sessions import Sessions
from davserver.auth.signin import SignIn
from davserver.auth.table import SharedTable
from davserver.auth.throttle import BUCKETS as FAILURE_BUCKETS
from davserver.auth.throttle import Throttle
from davserver.auth.usersfile import read_users
from davserver.config import Settings
from davserver.configtables import Access
from davserver.protocol.path import DavPath
from davserver.storage.base import Storage


def users_path(settings: Settings) -> Path:
    """Returns where `davserver user` keeps accounts, be there any or not."""
    return settings.users or settings.state_folder / "users.toml"


def account_files(settings: Settings) -> Sequence[Path]:
    """Returns the files that accounts are read from, where they are there."""
    users = users_path(settings)
    return (users,) if settings.htpasswd is None else (users, settings.htpasswd)


def read_accounts(settings: Settings, known: Collection[Path] = ()) -> Accounts:
    """Returns who has an account; for `known` see there. Raises AccountsError."""
    sources = [Source(users_path(settings), read_users, optional=True)]
    if settings.htpasswd is not None:
        sources.append(Source(settings.htpasswd, read_htpasswd))
    return Accounts(
        settings.user,
        sources,
        realm=settings.realm,
        must_sign_in=settings.proxy_header is not None,
        known=known,
    )


def build_sign_in(
    settings: Settings, *, clock: Callable[[], float], known: Collection[Path] = ()
) -> SignIn:
    """Returns the Authenticator of the settings; for `known` see Accounts. Raises
    AccountsError."""
    folder = settings.state_folder
    key = SharedKey(folder / "signin.key")
    failures = SharedTable(folder / "signin.failures", buckets=FAILURE_BUCKETS)
    nonces = SharedTable(folder / "signin.nonces", buckets=NONCE_BUCKETS)
    ended = SharedTable(folder / "signin.ended", buckets=SESSION_BUCKETS)
    return SignIn(
        read_accounts(settings, known),
        realm=settings.realm,
        digest=Digest(
            Nonces(nonces, key, realm=settings.realm, lifetime_s=settings.nonce_s),
            realm=settings.realm,
            md5=settings.digest_md5,
        ),
        throttle=Throttle(
            failures, key, limit=settings.sign_in_failures, lockout_s=settings.sign_in_lockout_s
        ),
        remembered=Remembered(settings.password_memory_s),
        sessions=Sessions(ended, key, lifetime_s=settings.session_s),
        clock=clock,
        tables=(failures, nonces, ended),
    )


def build_authorizer(
    settings: Settings, authenticator: Authenticator, storage: Storage
) -> RuleAuthorizer:
    """Returns the Authorizer of the settings. What `anonymous` leaves open follows the accounts:
    nothing is for everybody once somebody has one."""

    said = settings.anonymous
    accounts = authenticator.accounts if isinstance(authenticator, SignIn) else None
    unsaid: Access = "write" if settings.is_loopback else "none"

    def anonymous() -> Access:
        if said is not None:
            return said
        return unsaid if accounts is not None and accounts.roster.is_open else "none"

    return RuleAuthorizer(
        settings.served,
        settings.rule,
        anonymous=anonymous,
        read_only=settings.read_only,
        spell=_speller(storage) if settings.rule or settings.share else None,
    )


def _speller(storage: Storage) -> Spell:
    """Returns how the storage spells a path that nobody has looked up."""
    top = storage.canonical(DavPath(()))

    def spell(path: DavPath) -> DavPath:
        key = top
        for name in path.segments:
            key = storage.child_key(key, name.encode("utf-8", "surrogateescape"))
        return storage.path_of(key)

    return spell


def build_home_limit(
    settings: Settings, authenticator: Authenticator
) -> Callable[[str], int | None]:
    """Returns what tells the quota of a user's home, by the user's name."""
    listed = {user.name: user.quota for user in settings.user}

    def limit(name: str) -> int | None:
        if not isinstance(authenticator, SignIn):
            return listed.get(name)
        account = authenticator.accounts.roster.accounts.get(name)
        return None if account is None else account.quota

    return limit
