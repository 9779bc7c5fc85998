"""Every `backend_*.py` beside this file, with its variants, as the fixture `storage`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from davserver.protocol.path import DavPath
from davserver.storage.base import Storage
from tests.support.descriptors import open_descriptors

Make = Callable[..., Storage]


def _backends() -> list[Any]:
    found = []
    for file in sorted(Path(__file__).parent.glob("backend_*.py")):
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        name = file.stem.removeprefix("backend_")
        found.append(pytest.param((module.make, {}), id=name))
        variants: Mapping[str, Mapping[str, Any]] = getattr(module, "VARIANTS", {})
        found += [
            pytest.param((module.make, options), id=f"{name} {label}")
            for label, options in variants.items()
        ]
    return found


@pytest.fixture(params=_backends())
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    make, options = request.param
    made: Storage = make(tmp_path, **options)
    yield made
    made.close()


@pytest.fixture
def no_leak() -> Iterator[None]:
    """Fails the test that leaves a descriptor open."""
    before = open_descriptors()
    yield
    assert open_descriptors() - before == set()


@pytest.fixture
def p() -> Callable[[str], DavPath]:
    """Makes a DavPath of text like "a/b"."""
    return lambda text: DavPath(tuple(part for part in text.split("/") if part))
