"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): by which a client says that a
request is the same one again. No I/O here."""

from __future__ import annotations

import re

from davserver.errors import BadRequest
from davserver.protocol.headers import DavHeaders

FIELD = b"idempotency-key"
_STRING = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
_BARE = re.compile(rb"[!#-+\--:<-~]{1,255}")


def parse_key(headers: DavHeaders) -> str | None:
    """Returns the key, None when there is none. It is a string (RFC 9651 section 3.3.3); one
    without its quotes is taken, too. Raises BadRequest (400)."""
    value = headers.single(FIELD)
    if value is None:
        return None
    match = _STRING.fullmatch(value)
    if match is not None:
        return re.sub(rb"\\(.)", rb"\1", match[1]).decode("ascii")
    if _BARE.fullmatch(value) is None:
        raise BadRequest(f"Idempotency-Key is no string of 1 to 255 characters: {value[:60]!r}")
    return value.decode("ascii")
