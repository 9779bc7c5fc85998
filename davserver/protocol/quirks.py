"""What some clients need beyond the RFCs: one named rule each, pure, with the clients it is for.

Nothing here bends a default: each rule only ever helps the requests it describes, and none lets
a resource be changed that another principal has locked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from davserver.errors import BadRequest
from davserver.protocol.headers import DavHeaders, parse_lock_token
from davserver.protocol.prefer import Preferences, Return

if TYPE_CHECKING:
    from davserver.protocol.ifheader import IfHeader
    from davserver.protocol.names import PropertyChange
    from davserver.protocol.path import DavPath

_LOCK_TOKEN_SUBMITS = frozenset({"PUT", "PROPPATCH", "DELETE", "MOVE"})
_IF_TOKENS_IGNORED = frozenset({"GET", "HEAD", "OPTIONS"})
_RAW_TOKEN = re.compile(rb"<?([A-Za-z][A-Za-z0-9+.\-]*:[\x21-\x27*-\x3b=\x3f-\x7e]+)>?")
_REDIRECTOR = b"Microsoft-WebDAV-MiniRedir/"
_WINDOWS_NAMESPACE = "{urn:schemas-microsoft-com:}"


def submitted_by_lock_token_header(method: str, header: bytes | None) -> str | None:
    """Returns the token that a `Lock-Token` header submits on PUT, PROPPATCH, DELETE and MOVE.

    Microsoft Office and Finder send it there instead of `If` (RFC 4918 section 10.5 knows it on
    UNLOCK only); what cannot be read is passed over, as any unknown header.
    """
    if header is None or method not in _LOCK_TOKEN_SUBMITS:
        return None
    try:
        return parse_lock_token(header)
    except BadRequest:
        return None


def is_if_true_by_member_tokens(
    method: str, *, is_collection: bool, header: IfHeader, tokens_beneath: Collection[str]
) -> bool:
    """True when `If` counts as true though by RFC 4918 section 10.4.4 it is false: on MOVE or
    DELETE of a collection, for un-negated tokens alone, each of a lock rooted inside the tree.

    Finder renames and deletes folders with the token of a file in them that it has open.

    Args:
        tokens_beneath: tokens of the locks rooted strictly below the Request-URI.
    """
    if method not in ("MOVE", "DELETE") or not is_collection:
        return False
    return all(
        one.resource is None
        and condition.token is not None
        and not condition.negated
        and condition.token in tokens_beneath
        for one in header.lists
        for condition in one.conditions
    )


def is_windows_proppatch_exempt(
    changes: Iterable[PropertyChange], *, principal: str, lock_creators: Iterable[str]
) -> bool:
    """True when a PROPPATCH needs no token: it names `urn:schemas-microsoft-com:` properties
    only, and every lock on the resource is the asker's own.

    The Windows redirector (Explorer) sets Win32 times and attributes on files that it has locked
    itself, without `If`, and shows "insufficient space" when that is refused.

    Args:
        principal: the asker; "" (anonymous) is nobody in particular, so it is never exempt.
        lock_creators: principals of the locks that cover the resource.
    """
    if not principal:
        return False
    names = [change.name for change in changes]
    return (
        bool(names)
        and all(name.startswith(_WINDOWS_NAMESPACE) for name in names)
        and all(creator == principal for creator in lock_creators)
    )


def is_unreadable_none_match_ignored(value: bytes) -> bool:
    """True when an `If-None-Match` that cannot be read compares as a list that never matches.

    Joplin and other scripts send free text there on every method. Not so for `*` beside
    something else: that may mean "only if there is nothing", and stays 400.
    """
    return b"*" not in value


def is_if_ignored(method: str, header: IfHeader) -> bool:
    """True for an `If` of tokens alone on GET, HEAD and OPTIONS, which no lock ever hinders.

    webdavclient3 sends the token of a locked member on HEAD of its parent.
    """
    return method in _IF_TOKENS_IGNORED and header.is_only_tokens


def refresh_token_without_list(values: Sequence[bytes]) -> str | None:
    """Returns the token of an `If` that is nothing but a token, in no list, or None.

    For LOCK alone: webdav (npm) refreshes so, with the body of its first LOCK beside it (5.11).
    No `If` of RFC 4918 is written like that, so nothing that could mean something else is guessed.
    """
    if len(values) != 1:
        return None
    value = values[0].strip(b" \t")
    match = _RAW_TOKEN.fullmatch(value)
    if match is None or value.startswith(b"<") != value.endswith(b">"):
        return None
    return match[1].decode("ascii")


def is_supportedlock_of_members_left_out(headers: DavHeaders, body: bytes) -> bool:
    """True when a listing without a body (allprop) has `supportedlock` of the collection alone.

    The Windows redirector refuses a listing of more than 1,000,000 bytes
    (FileAttributesLimitInBytes), and shows an empty folder: the same 250 bytes for every member
    would make 1,300 files too many. Where it is about to lock it asks the file itself.
    """
    return not body and (headers.get(b"user-agent") or b"").startswith(_REDIRECTOR)


def leaves_out_missing_properties(headers: DavHeaders) -> bool:
    """True when a PROPFIND's 404 propstats may be left out.

    `Brief: t` is sent by Microsoft and Apple clients; `Prefer: return=minimal` is its standard
    form (RFC 8144 section 2.1).
    """
    if (headers.get(b"brief") or b"").lower() == b"t":
        return True
    return headers.recall(Preferences.from_headers).returns is Return.MINIMAL


def announces_executable(headers: DavHeaders) -> bool:
    """True when OPTIONS names mod_dav_fs's class, which stands for its `executable` property.

    cadaver tries `chexec`, and sitecopy `permissions exec`, only where they saw that class. Nobody
    else is told: Material Files takes it, beside a `Server` of Apache's (which a proxy may well
    write), for leave to write parts of a file with PUT and `Range`, which would replace the whole.
    """
    return (headers.get(b"user-agent") or b"").startswith((b"cadaver/", b"sitecopy/"))


def is_class_2_for_shares(path: DavPath, writable: Iterable[bool]) -> bool:
    """True for the collection above several shares when the asker can write to one of them,
    though nothing can be locked in that collection itself.

    Finder mounts what does not say class 2 read-only, and with it everything below.
    """
    return path.is_root and any(writable)
