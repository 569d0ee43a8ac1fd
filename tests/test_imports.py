"""What an import of the package costs a program that sends nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["pulumi_vmbackup", "pulumi_vmbackup.plugin", "pulumi_vmbackup.plugin.server"]
)
def test_requests_is_imported_with_the_first_client_only(module: str) -> None:
    program = f"import sys, {module}; print({{'requests', 'urllib3'}} & {{*sys.modules}})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr
