from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def processes_that_start_and_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # These tests start thousands, and each would read the certificates that the system trusts.
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)


@pytest.fixture(autouse=True)
def short_lives_of_unknown_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.UNKNOWN_SESSION_SECONDS", 2)
