"""The layers hold: imports go downward only, and each dependency has its one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "davserver"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES = 400

# From the bottom up. A module may import what stands in an earlier line; within one line only
# its own package.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "asgi", "jsonlog"),
    ("protocol",),
    ("asked",),
    ("configlines", "configtables", "address"),
    ("quotas", "progress"),
    ("storage", "state", "auth", "config", "accesslog", "metrics"),
    ("properties",),
    ("turnstile",),
    ("aio",),
    ("inthread", "arrived"),
    ("context",),
    ("web",),
    ("origin", "refusing", "faces", "representing"),
    ("signing", "usage"),
    ("copies", "uploading"),
    ("leaving", "binding"),
    ("undoing",),
    ("recovery",),
    ("changes", "handover", "checks", "digests", "counting", "jobends"),
    ("jobs",),
    ("homes", "atomic"),
    ("methods",),
    ("extensions",),
    ("admission", "documents", "fields"),
    ("service",),
    ("registry",),
    ("sending", "pipeline"),
    ("shortwrites",),
    ("shortreads",),
    ("shortcut",),
    ("claiming",),
    ("opening",),
    ("app",),
    ("check", "doctor"),
    ("wire",),
    ("serving",),
    ("cli",),
    ("__main__",),
)
# The same inside of packages that are layers of their own.
WITHIN: dict[str, tuple[tuple[str, ...], ...]] = {
    "wire": (
        ("filesending", "lending", "requesthead", "chunks"),
        ("cycle",),
        ("edge",),
        ("connection",),
        ("bodies",),
        ("quick",),
        ("guard",),
    ),
    "serving": (
        ("tls", "container"),
        ("selfsigned", "reload", "announcing"),
        ("metering",),
        ("worker",),
        ("supervisor",),
        ("server",),
    ),
    "cli": (("base",), ("users", "locks"), ("main",)),
}
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Who may import a dependency, as prefixes of module names below the package.
PLACES: dict[str, tuple[str, ...]] = {
    "apsw": ("state.sql",),
    "lxml": ("protocol.", "properties."),
    "defusedxml": ("protocol.",),
    "anyio": ("aio",),
    "aiofiles": ("aio",),
    "cryptography": ("serving.selfsigned",),
    "pydantic": ("config",),
    "click": ("cli",),
    "pwdlib": ("auth.passwords",),
    "starlette": ("app", "web."),
    "prometheus_client": ("metrics.exposition",),
    "uvicorn": ("serving.worker", "serving.metering", "wire."),
    "httptools": ("wire.guard",),
    "uvloop": ("serving.server",),
}
NEVER_IN_PROTOCOL = {
    *("os", "asyncio", "socket", "io", "pathlib", "threading", "random", "secrets"),
    *("subprocess", "tempfile", "shutil", "ssl", "selectors", "multiprocessing"),
}


def module_name(path: Path) -> str:
    """Returns the name below the package: `storage.base`, `storage`, `cli`; "" for the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Yields (full name, line) of everything that a module imports, wherever in it. `from a
    import b` gives `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def own_imports(path: Path) -> Iterator[tuple[str, int]]:
    for name, line in imports_of(path):
        if name.split(".")[0] == "davserver" and name != "davserver.__version__":
            yield name.removeprefix("davserver").removeprefix("."), line


def ids(path: Path) -> str:
    return module_name(path) or "davserver"


# The package itself only offers create_app, lazily.
LAYERED = [path for path in MODULES if module_name(path)]


ORDERED = [path for path in LAYERED if path.parent.name in WITHIN and path.stem != "__init__"]


@pytest.mark.parametrize("path", ORDERED, ids=ids)
def test_imports_go_downward_inside_of_a_package(path: Path) -> None:
    package, own = module_name(path).split(".")
    rank = {name: rank for rank, names in enumerate(WITHIN[package]) for name in names}
    assert own in rank, "give it a line in WITHIN"

    wrong = []
    for name, line in own_imports(path):
        inner = name.split(".")
        if inner[0] == package and rank[inner[1]] >= rank[own]:
            wrong.append(f"line {line}: {own} imports {name}")

    assert wrong == []


@pytest.mark.parametrize("path", LAYERED, ids=ids)
def test_imports_go_downward(path: Path) -> None:
    own = module_name(path).split(".")[0]
    assert own in RANK, "give it a line in LAYERS"

    wrong = []
    for name, line in own_imports(path):
        other = name.split(".")[0]
        if other != own and RANK.get(other, len(LAYERS)) >= RANK[own]:
            wrong.append(f"line {line}: {own} imports {name}")

    assert wrong == []


METHODS = [path for path in LAYERED if module_name(path).startswith(("methods.", "extensions."))]


@pytest.mark.parametrize("path", METHODS, ids=ids)
def test_methods_never_import_each_other(path: Path) -> None:
    """They share the records of `base`, and modules whose names begin with an underscore."""
    package = module_name(path).split(".")[0]
    wrong = []
    for name, line in own_imports(path):
        parts = name.split(".")
        if parts[0] in ("methods", package) and len(parts) > 1:
            shared = parts[1] == "base" or parts[1].startswith("_")
            if not shared:
                wrong.append(f"line {line}: {name}")

    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_dependency_is_imported_in_its_place_only(path: Path) -> None:
    own = module_name(path)
    wrong = []
    for name, line in imports_of(path):
        places = PLACES.get(name.split(".")[0])
        if places is not None and not own.startswith(places):
            wrong.append(f"line {line}: {name}")

    assert wrong == []


def test_only_aio_and_its_turnstile_know_threads_of_the_loop() -> None:
    """Everything else is synchronous, or awaits what they give."""
    wrong = [
        f"{module_name(path)}:{line}: {name}"
        for path in MODULES
        for name, line in imports_of(path)
        if name.startswith(("anyio", "concurrent.futures", "asgiref"))
        and path.name not in ("aio.py", "turnstile.py")
    ]

    assert wrong == []


PROTOCOL = [path for path in MODULES if module_name(path).split(".")[0] in ("protocol", "errors")]


@pytest.mark.parametrize("path", PROTOCOL, ids=ids)
def test_protocol_does_no_io(path: Path) -> None:
    wrong = [
        f"line {line}: {name}"
        for name, line in imports_of(path)
        if name.split(".")[0] in NEVER_IN_PROTOCOL
    ]
    source = path.read_text(encoding="utf-8")

    assert wrong == []
    assert "time.time(" not in source, "the time is an argument"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_module_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
