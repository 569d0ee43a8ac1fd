from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def short_lives_of_unknown_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.UNKNOWN_SESSION_SECONDS", 5)
    monkeypatch.setattr("pulumi_vmbackup.session.END_SECONDS", 60)  # on a busy machine
