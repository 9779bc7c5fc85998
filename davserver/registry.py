"""Collects what the packages offer: methods, properties, extensions. Refuses duplicates, freezes.

A new method or property is a new file: nothing else has to name it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType, ModuleType

import davserver.extensions
import davserver.methods
import davserver.properties
import davserver.service
from davserver.auth.base import Privilege
from davserver.extensions.base import Extension
from davserver.methods.base import Method
from davserver.properties.base import LiveProperty, LivePropertyRegistry
from davserver.service.base import Route
from davserver.storage.base import Capability, Kind

Can = frozenset[Capability]
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Registry:
    """What this server can do."""

    methods: MappingProxyType[str, Method]
    live: LivePropertyRegistry
    extensions: tuple[Extension, ...]
    routes: MappingProxyType[str, Route]
    _allow: Callable[[Kind | None, bool, Can], bytes]
    _dav: Callable[[bool, Can], bytes]

    def allow(self, kind: Kind | None, can_write: bool, can: Can) -> bytes:
        """The value of Allow for a resource of this kind (RFC 9110 section 10.2.1), in a storage
        that `can` do this."""
        return self._allow(kind, can_write, can)

    def dav(self, can_write: bool, can: Can) -> bytes:
        """The value of DAV (RFC 4918 section 10.1). Class 2 only for who can lock: Finder
        mounts read-only then, instead of failing at the first write."""
        return self._dav(can_write, can)


def build_registry(*, without: Collection[str] = ()) -> Registry:
    """Builds the registry, leaving out the extensions named in `without`."""
    extensions = tuple(
        module.EXTENSION
        for module in _modules(davserver.extensions)
        if module.EXTENSION.name not in without
    )
    methods: dict[str, Method] = {}
    for method in _methods(extensions):
        if method.name in methods:
            raise ValueError(f"method {method.name!r} is offered twice")
        methods[method.name] = method
    live = LivePropertyRegistry(_properties(extensions))
    allow = lru_cache(_REMEMBERED)(partial(_allow, tuple(methods.values())))
    dav = lru_cache(_REMEMBERED)(partial(_dav, extensions))
    routes = MappingProxyType({route.name: route for route in _routes()})
    return Registry(MappingProxyType(methods), live, extensions, routes, allow, dav)


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    for name in names:
        if name != "base" and not name.startswith("_"):
            yield importlib.import_module(f"{package.__name__}.{name}")


def _methods(extensions: tuple[Extension, ...]) -> Iterator[Method]:
    for module in _modules(davserver.methods):
        yield from module.METHODS
    for extension in extensions:
        yield from extension.methods


def _routes() -> Iterator[Route]:
    for module in _modules(davserver.service):
        yield from module.ROUTES


def _properties(extensions: tuple[Extension, ...]) -> Iterator[LiveProperty]:
    for module in _modules(davserver.properties):
        yield from getattr(module, "PROPERTIES", ())
    for extension in extensions:
        yield from extension.properties


def _allow(methods: tuple[Method, ...], kind: Kind | None, can_write: bool, can: Can) -> bytes:
    names = [
        method.name
        for method in methods
        if kind in method.applies_to
        and (can_write or not _writes(method))
        and (method.needs is None or method.needs in can)
    ]
    return ", ".join(sorted(names)).encode()


def _dav(extensions: tuple[Extension, ...], can_write: bool, can: Can) -> bytes:
    told = [
        one
        for one in extensions
        if (can_write or not one.needs_write) and (one.needs is None or one.needs in can)
    ]
    tokens = [token for one in told for token in one.dav_tokens]
    return ", ".join(["1", *(["2"] if can_write else []), "3", *tokens]).encode()


def _writes(method: Method) -> bool:
    return Privilege.WRITE in (method.privilege, method.destination)
