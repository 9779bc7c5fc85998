"""What the container image needs: a user of its own by PUID, PGID and UMASK, a health check.

The image starts as root only for this; root is given up before anything is opened. Started as
another user (`--user`), it stays that user.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

DEFAULT_ID = 1000


class IdentityError(ValueError):
    """An identity that cannot be had. The message is one line."""


def is_container(environment: Mapping[str, str]) -> bool:
    """True within our image, which sets the mark."""
    return bool(environment.get("DAVSERVER_CONTAINER"))


def take_identity(environment: Mapping[str, str], state: Path | None) -> None:
    """Becomes the user that the environment names, for good. Raises IdentityError.

    Without root, or without the mark or PUID or PGID, everything stays as it is.

    Args:
        state: the state folder, which is made that user's.
    """
    asked = is_container(environment) or "PUID" in environment or "PGID" in environment
    if not asked:
        return
    umask = environment.get("UMASK")
    if umask:
        os.umask(_number("UMASK", umask, base=8, most=0o777))
    if os.geteuid() != 0:
        return
    uid = _number("PUID", environment.get("PUID") or str(DEFAULT_ID))
    gid = _number("PGID", environment.get("PGID") or str(DEFAULT_ID))
    if state is not None and uid != 0:
        _give(state, uid, gid)
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise IdentityError(f"cannot become user {uid}:{gid}: {error.strerror}") from error
    if uid != 0:
        os.environ["HOME"] = "/"


def _number(name: str, value: str, *, base: int = 10, most: int = 2**32 - 2) -> int:
    with contextlib.suppress(ValueError):
        number = int(value, base)
        if 0 <= number <= most:
            return number
    raise IdentityError(f"{name}={value!r} is no {'octal ' if base == 8 else ''}number of a kind")


def _give(state: Path, uid: int, gid: int) -> None:
    """Makes the state folder, a volume that the runtime created for root, the user's."""
    with contextlib.suppress(OSError):
        found = os.stat(state, follow_symlinks=False)
        if (found.st_uid, found.st_gid) == (uid, gid):
            return
        for folder, folders, files in os.walk(state):
            for name in [*folders, *files]:
                os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)
        os.chown(state, uid, gid, follow_symlinks=False)


def check_health(environment: Mapping[str, str]) -> int:
    """Asks the server within this container how it is; returns the exit code."""
    from davserver.config import load_settings

    settings = load_settings(environment=environment, any_folder=True)
    scheme = "https" if settings.has_tls else "http"
    prefix = urllib.parse.quote(settings.prefix)
    url = f"{scheme}://127.0.0.1:{settings.port}{prefix}/.davserver/health"
    context = ssl.create_default_context()
    # It is this very container that answers: the certificate names another host.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return 0 if answer.status == 200 else 1
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(check_health(os.environ))
