"""Who asks, as a property (RFC 5397): the URL of the asker's own principal resource."""

from __future__ import annotations

from davserver.extensions.base import Extension
from davserver.properties.base import LiveProperty, Resource
from davserver.protocol.names import CURRENT_USER_PRINCIPAL
from davserver.protocol.principals import principal_href
from davserver.storage.base import Kind

_UNAUTHENTICATED = b"<D:current-user-principal><D:unauthenticated/></D:current-user-principal>"
_ELEMENT = b"<D:current-user-principal><D:href>%s</D:href></D:current-user-principal>"


def current_user_principal(resource: Resource) -> bytes:
    if not resource.principal:
        return _UNAUTHENTICATED
    return _ELEMENT % principal_href(resource.base, resource.principal)


EXTENSION = Extension(
    "rfc5397-principal",
    properties=(
        LiveProperty(
            CURRENT_USER_PRINCIPAL,
            current_user_principal,
            kinds=frozenset(Kind),
            # Section 3: "SHOULD NOT be returned by a PROPFIND DAV:allprop request"; and Finder
            # takes any href in an answer for a member's.
            in_allprop=False,
        ),
    ),
)
