"""The mark of what only ``make test-all`` runs."""

from __future__ import annotations

from typing import Any

import pytest


def only_full(*values: object) -> list[Any]:
    """Values of a parameter that the full run alone has."""
    return [pytest.param(each, marks=pytest.mark.full) for each in values]
