"""How long the races last."""

from __future__ import annotations

import pytest


@pytest.fixture(params=[0.6, pytest.param(5.0, marks=pytest.mark.long)], ids=["short", "long"])
def seconds(request: pytest.FixtureRequest) -> float:
    """How long each race goes on."""
    return float(request.param)
