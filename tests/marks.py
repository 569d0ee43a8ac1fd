"""The marks of what only ``make test-all`` runs, and of what cannot run under Wine."""

from __future__ import annotations

import sys
from typing import Any

import pytest

if sys.platform == "win32":
    import ctypes

    UNDER_WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
else:
    UNDER_WINE = False


def only_full(*values: object) -> list[Any]:
    """Values of a parameter that the full run alone has."""
    return [pytest.param(each, marks=pytest.mark.full) for each in values]


def not_under_wine(reason: str) -> pytest.MarkDecorator:
    """What Windows can do, and Wine cannot: ``make test-windows`` skips it."""
    return pytest.mark.skipif(UNDER_WINE, reason=f"under Wine, {reason}")
