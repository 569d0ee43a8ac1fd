from __future__ import annotations

import pytest

from pulumi_vmbackup.retries import pauses


def test_pauses_are_between_half_and_one_and_a_half_times_a_second_or_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.retries.FIRST_PAUSE_SECONDS", 0.5)
    for _ in range(100):
        first, second = pauses()
        assert 0.25 <= first <= 0.75
        assert 0.5 <= second <= 1.5
