"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from collections.abc import Iterator

FIRST_PAUSE_SECONDS = 0.5


def pauses() -> Iterator[float]:
    """How long to wait before each of two retries: the second time twice as long.

    Spread by chance, so that threads that failed together do not come back together.
    """
    for factor in (1, 2):
        yield FIRST_PAUSE_SECONDS * factor * random.uniform(0.5, 1.5)
