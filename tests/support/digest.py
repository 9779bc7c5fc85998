"""The client's half of Digest (RFC 7616 section 3.4.1), written from the RFC and not from ours."""

from __future__ import annotations

import hashlib
import re

_RESPONSE = re.compile(r"\$response\((.*)\)(?=\")")
_PARAMETER = re.compile(r'([a-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^,\s]+))')
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def sign(value: str, method: str) -> str:
    """Returns an Authorization value with `$response(PASSWORD)` computed from what else it says."""
    found = _RESPONSE.search(value)
    if found is None:
        return value
    rest = value.replace(found[0], "")
    said = {name: quoted or token for name, quoted, token in _PARAMETER.findall(rest)}
    hashed = _HASHES[said.get("algorithm", "MD5")]

    def digest(*parts: str) -> str:
        return hashed(":".join(parts).encode()).hexdigest()

    secret = digest(said["username"], said["realm"], found[1])
    asked = digest(method, said["uri"])
    count = (said["nc"], said["cnonce"], said["qop"])
    return value.replace(found[0], digest(secret, said["nonce"], *count, asked))
