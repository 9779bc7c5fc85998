"""Journalled changes as JSON text. Names survive whatever bytes they are made of."""

from __future__ import annotations

import json
from typing import Any

from davserver.errors import StateFailure
from davserver.protocol.path import DavPath
from davserver.state.base import Step, StepKind


def dump_steps(steps: tuple[Step, ...]) -> str:
    """Returns the steps as ASCII JSON, each segment as the hexadecimal of its bytes."""
    return json.dumps([_dump_step(step) for step in steps], separators=(",", ":"))


def load_steps(text: str) -> tuple[Step, ...]:
    """Raises StateFailure (500) for what this version did not write."""
    try:
        return tuple(_load_step(step) for step in json.loads(text))
    except (ValueError, KeyError, TypeError) as exc:
        raise StateFailure(f"the journal holds a change that cannot be read: {exc}") from exc


def _dump_step(step: Step) -> dict[str, object]:
    return {
        "kind": step.kind.value,
        "source": dump_path(step.source),
        "target": dump_path(step.target),
        "aside": dump_path(step.aside),
        "identity": step.identity,
        "values": dict(step.values),
        "tokens": list(step.tokens),
    }


def _load_step(step: dict[str, Any]) -> Step:
    identity = step["identity"]
    return Step(
        kind=StepKind(step["kind"]),
        source=load_path(step["source"]),
        target=load_path(step["target"]),
        aside=load_path(step["aside"]),
        identity=None if identity is None else (identity[0], identity[1], identity[2]),
        values={str(name): int(value) for name, value in step["values"].items()},
        tokens=tuple(map(str, step.get("tokens", ()))),
    )


def dump_path(path: DavPath | None) -> dict[str, object] | None:
    """Returns what `load_path` reads, for JSON."""
    if path is None:
        return None
    # Not every name is UTF-8, and JSON cannot carry lone surrogates everywhere.
    segments = [name.encode("utf-8", "surrogateescape").hex() for name in path.segments]
    return {"segments": segments, "slash": path.slash}


def load_path(value: dict[str, Any] | None) -> DavPath | None:
    """Raises ValueError, KeyError, TypeError for what `dump_path` did not make."""
    if value is None:
        return None
    names = (bytes.fromhex(segment) for segment in value["segments"])
    return DavPath(
        tuple(name.decode("utf-8", "surrogateescape") for name in names), bool(value["slash"])
    )
