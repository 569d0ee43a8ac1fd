"""Inline programs of Pulumi's Automation API: several runs and stacks in one process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.stack import MakeStack, Stack, assigned, wait_until
from e2e.test_providers import without_the_plugin
from environment import ROOT
from sample import EXCH01, FILE01, OFFSITE01, PASSWORD, ROTATING, SQL01

from pulumi_vmbackup.simulator import Behavior, Inventory, Simulator, serve

ALL = {f"{SQL01}/{OFFSITE01}", f"{FILE01}/{ROTATING}", f"{EXCH01}/{OFFSITE01}"}
DRIVER = r"""
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pulumi
from pulumi import automation

from pulumi_vmbackup import *
from pulumi_vmbackup import plugin


def program():
    sql01 = get_virtual_machine(name=pulumi.Config().get("vm") or "SQL01")
    offsite = get_backup_location(path=r"\\OFFSITE01\VMBackups")
    rotating = get_backup_location_output(path="Rotating disks")
    dynamic = VmBackupLocationAssignment("dynamic", vm_ref=sql01, backup_location_id=offsite)
    single = plugin.VmBackupLocationAssignment(
        "single", vm_ref=get_virtual_machine_output(name="FILE01"), backup_location_id=rotating
    )
    assignments = {get_virtual_machine(name="EXCH01"): [offsite]}
    plugin.VmBackupLocationAssignmentSet("set", assignments=assignments)
    pulumi.export("host", sql01.host)
    pulumi.export("names", [dynamic.vm_name, single.vm_name])
    of_vm = get_backup_locations_output(vm_ref=dynamic.vm_ref)
    pulumi.export("paths", of_vm.apply(lambda found: [each.path for each in found]))


def stack(name, config):
    made = automation.create_stack(name, "backup", program)
    secret = "vmbackup:password" if name == "a" else None
    values = {
        key: automation.ConfigValue(text, secret=key == secret) for key, text in config.items()
    }
    made.set_all_config(values)
    return made


def run(name, operation, config):
    for key, text in config.items():
        stacks[name].set_config(key, automation.ConfigValue(text))
    try:
        result = getattr(stacks[name], operation)()
    except Exception as error:
        return {"error": isinstance(error, automation.CommandError), "said": str(error)}
    outputs = getattr(result, "outputs", {})
    return {"said": result.stdout, **{key: outputs[key].value for key in outputs}}


stacks = {name: stack(name, config) for name, config in json.loads(sys.argv[1]).items()}
print(flush=True)
for line in sys.stdin:
    names, *arguments = json.loads(line)
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(run, name, *arguments) for name in names]
        print(json.dumps([each.result() for each in running]), flush=True)
"""


class Process:
    """A process that runs the program of DRIVER."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._stdin, self._stdout = process.stdin, process.stdout
        self._stdout.readline()

    def all(self, names: str, operation: str, **config: str) -> list[dict[str, Any]]:
        """What an operation on each of the stacks came to, of all at the same time."""
        of_package = {key.replace("_", ":"): text for key, text in config.items()}
        self._stdin.write(json.dumps([names, operation, of_package]) + "\n")
        self._stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self._stdout.readline())
        return answers

    def one(self, name: str, operation: str, **config: str) -> dict[str, Any]:
        """What an operation on a stack came to."""
        (answer,) = self.all(name, operation, **config)
        return answer


@contextmanager
def process(stack: Stack, **servers: tuple[str, str]) -> Iterator[Process]:
    """A process with a stack for each name, for the server with this URL and password."""
    (stack.folder / "driver.py").write_text(DRIVER, "utf-8")
    stacks = {
        name: {
            "vmbackup:baseUrl": url,
            "vmbackup:username": "Administrator",
            "vmbackup:password": password,
            "vmbackup:settleSeconds": "0",
        }
        for name, (url, password) in servers.items()
    }
    with subprocess.Popen(
        [sys.executable, "driver.py", json.dumps(stacks)],
        cwd=stack.folder,
        env=stack.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as started:
        try:
            yield Process(started)
        finally:
            assert started.stdin
            started.stdin.close()
            started.wait(600)


@pytest.fixture
def bare(make_stack: MakeStack) -> Stack:
    """The folder and the environment of an automation program, without settings."""
    stack = make_stack(init=False, VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    (stack.folder / "Pulumi.yaml").unlink()
    (stack.folder / "__main__.py").unlink()
    return stack


def test_the_runs_and_stacks_of_one_process_know_nothing_of_each_other(
    bare: Stack, simulator: Simulator, base_url: str
) -> None:
    # With the same ids, but on another host, and with a password that may be read.
    other = Simulator(password="plain", behavior=Behavior(second_session="accept"))
    other.inventory.virtual_machines[SQL01]["HostName"] = "HV-B"
    with (
        serve(other) as url,
        process(bare, a=(base_url, PASSWORD), b=(url, "plain")) as automation,
    ):

        def no_session_is_open() -> None:
            wait_until(lambda: not simulator.sessions and not other.sessions)

        first, second = automation.all("ab", "up")
        assert (first["host"], second["host"]) == ("HV-01", "HV-B")
        for answer in (first, second):
            assert answer["names"] == ["SQL01", "FILE01"]
            assert answer["paths"] == [r"\\OFFSITE01\VMBackups"]
        plain = "vmbackup:password is in the stack configuration as plain text"
        assert (plain in first["said"], plain in second["said"]) == (False, True)
        assert assigned(simulator) == assigned(other) == ALL
        no_session_is_open()

        del other.inventory.assignments[SQL01, OFFSITE01]
        assert "- 1 deleted" in automation.one("b", "refresh")["said"]
        # Another run asks and warns anew.
        other.inventory.virtual_machines[SQL01]["HostName"] = "HV-C"
        again = automation.one("b", "up")
        assert again["host"] == "HV-C"
        assert plain in again["said"]
        assert assigned(other) == ALL
        no_session_is_open()
        # What the other stack's program declares does not keep the pairs of this one assigned.
        automation.all("ba", "destroy")
        assert not assigned(simulator)
        assert not assigned(other)
        no_session_is_open()


def test_errors_are_exceptions_with_our_sentence_and_a_later_run_may_log_in_again(
    bare: Stack, simulator: Simulator, base_url: str
) -> None:
    with process(bare, a=(base_url, PASSWORD)) as automation:
        simulator.password = "another one"
        for logins in (1, 2):  # once in each run
            refused = automation.one("a", "up")
            assert refused["error"]
            assert (
                "Could not list the virtual machines: VM Backup refused the login of"
                in (refused["said"])
            )
            assert len(simulator.logins) == logins
        simulator.password = PASSWORD
        misspelt = automation.one("a", "preview", backup_vm="SLQ01")
        assert misspelt["error"]
        assert "error: There is no VM with name 'SLQ01': did you mean 'SQL01'" in misspelt["said"]
        wrong = automation.one("a", "preview", backup_vm="SQL01", vmbackup_timeoutSeconds="soon")
        assert (
            "The value 'soon' of vmbackup:timeoutSeconds in the stack configuration"
            in (wrong["said"])
        )
        # This run may begin while the session of a run before it is open.
        right = automation.one("a", "preview", vmbackup_timeoutSeconds="9")
        assert "+ 3 to create" in right["said"]
        for answer in (refused, misspelt, wrong):
            assert "Traceback" not in answer["said"]
        assert not assigned(simulator)
    assert not simulator.sessions


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_the_program_of_the_guide_runs_though_its_environment_is_not_active(
    make_stack: MakeStack, simulator: Simulator, tmp_path: Path
) -> None:
    guide = (ROOT / "docs" / "plugin.md").read_text("utf-8")
    section = guide.partition("\n## The Automation API\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"^```python\n(.+?)^```$", section, re.M | re.S)
    stack = make_stack(init=False)
    without_the_plugin(stack, tmp_path)
    del stack.environment["PULUMI_PYTHON_CMD"]
    (stack.folder / "automate.py").write_text(program, "utf-8")
    done = subprocess.run(
        [sys.executable, "automate.py"],
        cwd=stack.folder,
        env=stack.environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert simulator.inventory.assignments == {
        **Inventory.sample().assignments,
        (SQL01, OFFSITE01): None,
        (FILE01, OFFSITE01): None,
    }
    assert not simulator.sessions
