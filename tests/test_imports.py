"""What is imported by those who need only a part of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sample import PASSWORD


@pytest.mark.parametrize(
    "module", ["pulumi_vmbackup", "pulumi_vmbackup.plugin", "pulumi_vmbackup.plugin.server"]
)
def test_requests_is_imported_with_the_first_client_only(module: str) -> None:
    program = f"import sys, {module}; print({{'requests', 'urllib3'}} & {{*sys.modules}})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(
    "program",
    [
        "import pulumi_vmbackup.simulator.__main__",
        "sys.argv[1:] = ['--version']; from pulumi_vmbackup.command import main; main()",
        "sys.argv[1:] = ['vms']; from pulumi_vmbackup.command import main; main()",
        "sys.argv[1:] = ['review']; from pulumi_vmbackup.command import main; main()",
        "from pulumi_vmbackup.plugin.schema import schema; schema()",
    ],
    ids=["simulator", "vmbackup --version", "vmbackup vms", "vmbackup review", "schema"],
)
def test_what_needs_no_pulumi_imports_neither_pulumi_nor_grpc(
    program: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_BASE_URL", base_url)
    monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)
    at_exit = "print('imported:', {'pulumi', 'grpc'} & {*sys.modules})"
    program = f"import atexit, sys; atexit.register(lambda: {at_exit}); {program}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported: set()\n")


@pytest.mark.parametrize(
    "program",
    [
        "from pulumi_vmbackup import *; import pulumi_vmbackup.plugin",
        "sys.argv[1:] = ['review', '--help']; from pulumi_vmbackup.command import main; main()",
    ],
    ids=["programs", "vmbackup review"],
)
def test_only_a_policy_pack_imports_what_policies_need(program: str) -> None:
    at_exit = "print('imported:', {'pulumi_policy'} & {*sys.modules})"
    program = f"import atexit, sys; atexit.register(lambda: {at_exit}); {program}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported: set()\n")


@pytest.mark.parametrize("is_on", [False, True], ids=["off", "on"])
def test_the_recorder_is_imported_only_if_it_is_on(
    is_on: bool, base_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VMBACKUP_BASE_URL", base_url)
    monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)
    if is_on:
        monkeypatch.setenv("VMBACKUP_RECORD", str(tmp_path / "run.jsonl"))
    program = (
        "import sys; from pulumi_vmbackup import get_virtual_machines; "
        "print(len(get_virtual_machines())); "
        "print(sorted(name for name in sys.modules if 'record' in name or 'standins' in name))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    loaded = [f"pulumi_vmbackup.{name}" for name in ("recorder", "recording", "standins")]
    assert done.stdout == f"8\n{loaded if is_on else []}\n", done.stderr
