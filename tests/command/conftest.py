"""The ``vmbackup`` command within the test's process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sample import PASSWORD

from pulumi_vmbackup.command.group import vmbackup
from pulumi_vmbackup.simulator import Simulator

log = logging.getLogger(__name__)


@pytest.fixture
def login(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMBACKUP_BASE_URL", base_url)
    monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)


@pytest.fixture
def run(login: None, simulator: Simulator) -> Callable[..., Result]:  # noqa: ARG001  # for its variables
    """Runs a command in this process, and sees that it ended its session."""

    def run(*arguments: str, fails: int = 0, **more: Any) -> Result:
        result = CliRunner().invoke(vmbackup, arguments, **more)
        log.debug("%s", result.output)
        assert result.exit_code == fails, result.output
        assert isinstance(result.exception, SystemExit | None)
        assert not simulator.sessions
        return result

    return run
