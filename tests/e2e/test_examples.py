"""The programs in Python in examples/, and the quickstart."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.stack import MakeStack, Stack
from e2e.test_guides import run
from sample import FILE01, OFFSITE01, PASSWORD, ROTATING, SQL01

from pulumi_vmbackup.inventory import read_snapshot
from pulumi_vmbackup.simulator import Inventory, Simulator, serve

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(
    path.parent.name
    for path in (ROOT / "examples").glob("*/__main__.py")
    if not path.with_name("PulumiPolicy.yaml").exists()  # test_policy.py runs the policy pack
)


def copied(example: str, stack: Stack) -> Stack:
    shutil.copytree(ROOT / "examples" / example, stack.folder, dirs_exist_ok=True)
    stack.init()
    return stack


def test_each_example_is_run() -> None:
    of_other_languages = {"go", "typescript", "yaml"}
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/Pulumi.yaml")}
    assert folders == {*EXAMPLES, *of_other_languages}
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    for example in EXAMPLES:
        assert f'"{example}"' in tests
    for language in of_other_languages:
        assert Path(__file__).with_name(f"test_{language}.py").exists()


def test_a_whole_site_is_one_resource(make_stack: MakeStack, simulator: Simulator) -> None:
    stack = copied("whole-site", make_stack(init=False))
    stack.up()
    assert stack.outputs()["vms"] == 7
    assert stack.resources().keys() == {"site"}
    assert len(simulator.inventory.assignments) == 1 + 7
    simulator.inventory.virtual_machines[SQL01]["VirtualMachineName"] = "SQL01-renamed"
    stack.up("--expect-no-changes")
    stack.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments


def test_what_a_server_holds_is_taken_over_with_the_commands_of_the_example(
    make_stack: MakeStack,
) -> None:
    folder = ROOT / "examples" / "import-existing"
    server = Simulator(Inventory.load(folder / "server.json"))  # with the account of the README
    with serve(server) as base_url:
        stack = make_stack(init=False, VMBACKUP_BASE_URL=base_url, VMBACKUP_PASSWORD="simulator")
        shutil.copytree(folder, stack.folder, dirs_exist_ok=True)
        run_commands = re.findall(r"^\$ (.+)$", (folder / "README.md").read_text("utf-8"), re.M)
        simulator, account, *four = run_commands
        assert simulator == "python -m pulumi_vmbackup.simulator --inventory server.json"
        assert account == ("export VMBACKUP_USERNAME=Administrator VMBACKUP_PASSWORD=simulator")
        assert len(four) == 4
        for line in four:
            run(stack, line, [])
        program = (stack.folder / "__main__.py").read_text("utf-8")
        assert program == (folder / "__main__.py").read_text("utf-8")
        assert len(stack.resources()) == len(server.inventory.assignments)
        assert not [call for call in server.calls if "/vms/" in call.path and call.method != "GET"]


def test_several_servers_go_up_stay_and_come_down_and_drift_on_one_is_noticed_there(
    make_stack: MakeStack, simulator: Simulator, base_url: str
) -> None:
    site_a, site_b = simulator, Simulator(Inventory.sample(), password="of site-b")
    with serve(site_b) as url_of_b:
        stack = make_stack(init=False)
        for site, url, password in (("A", base_url, PASSWORD), ("B", url_of_b, "of site-b")):
            stack.environment[f"VMBACKUP_SITE_{site}_BASE_URL"] = url
            stack.environment[f"VMBACKUP_SITE_{site}_USERNAME"] = "Administrator"
            stack.environment[f"VMBACKUP_SITE_{site}_PASSWORD"] = password
            stack.environment[f"VMBACKUP_SITE_{site}_SETTLE_SECONDS"] = "0"
        copied("several-servers", stack).up()
        assert site_a.inventory.locations_of(SQL01) == [OFFSITE01]
        assert site_b.inventory.locations_of(FILE01) == [ROTATING]

        del site_b.inventory.assignments[FILE01, ROTATING]
        assert "- 1 deleted" in stack.refresh()
        assert stack.resources().keys() == {"SQL01-offsite"}
        site_a.calls.clear()
        stack.up()
        assert site_b.inventory.locations_of(FILE01) == [ROTATING]
        assert not [call for call in site_a.calls if SQL01 in call.path]

        stack.destroy()
    for server in (site_a, site_b):
        assert server.inventory.assignments == Inventory.sample().assignments
        assert not server.sessions


def test_every_vm_leaves_the_rest_alone_when_a_vm_of_the_same_name_is_added(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = copied("every-vm", make_stack(init=False))
    stack.up()
    before = stack.resources().keys()
    names = {each["outputs"]["vm_name"] for each in stack.resources().values()}
    assert names == {"DC01", "SQL01", "SQL02", "FILE01", "EXCH01"}  # without the exceptions
    ref = "00000000-0000-4000-8000-000000000001"
    sql01 = simulator.inventory.virtual_machines[SQL01]
    simulator.inventory.virtual_machines[ref] = {**sql01, "AltaroVirtualMachineRef": ref}
    output = stack.up()
    assert "+ 1 created" in output
    assert stack.resources().keys() == {*before, f"vm-{ref}"}
    assert not [call for call in simulator.calls if call.method == "DELETE"]

    for command in re.findall(r"^\$ pulumi (.+)$", (stack.folder / "README.md").read_text(), re.M):
        stack.pulumi(*shlex.split(command))
    simulator.inventory.virtual_machines[SQL01]["VirtualMachineName"] = "SQL-NEW"
    stack.pulumi("preview", "--expect-no-changes")
    stack.pulumi("config", "set", "--path", "exceptions[0]", "SQL1")
    assert "No configured VM has the name of an exception: ['sql1']." in stack.pulumi(
        "preview", fails=True
    )
    stack.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments


def test_the_snapshot_of_the_example_is_one_of_the_simulator() -> None:
    file = ROOT / "examples" / "pull-request-preview" / "inventory.json"
    snapshot = read_snapshot(file)
    assert snapshot.dump() == file.read_text("utf-8")
    sample = Inventory.sample()
    assert {vm.ref for vm in snapshot.virtual_machines} == set(sample.virtual_machines)
    assert {each.id: each.kind for each in snapshot.backup_locations} == sample.kinds


# The quickstart


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the quickstart needs of the repository, below a path with a space."""
    copy = tmp_path / "a path" / "with spaces"
    for folder in ("examples", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for file in ("Pulumi.yaml", "pyproject.toml"):
        shutil.copy2(ROOT / file, copy)
    for folder in (".venv", "provider"):
        (copy / folder).symlink_to(ROOT / folder, target_is_directory=True)
    return copy


def quickstart(copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", copy / "scripts" / "quickstart.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        timeout=600,
    )


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_the_quickstart_works_from_a_path_with_spaces_and_cleans_up(copy: Path) -> None:
    before = files(copy)
    done = quickstart(copy)
    assert done.returncode == 0, done.stdout
    assert files(copy) == before  # so that it works again
    steps = [line for line in done.stdout.splitlines() if line.startswith("=== ")]
    assert [step[:6] for step in steps] == [f"=== {number}." for number in range(1, len(steps) + 1)]
    held = [part.splitlines()[1:] for part in done.stdout.split("=== ") if "server" in part[:60]]
    before_up, after_up = ([line.split() for line in lines] for lines in held[:2])
    assert ["SQL01", "HV-01", "none", "none", "Success"] in before_up
    assert ["SQL01", "HV-01", "-", r"\\OFFSITE01\VMBackups", "Success"] in after_up
    assert "+-3 to replace" in done.stdout  # the preview of the changed program
    assert "- 1 deleted" in done.stdout  # the refresh
    assert "warning" not in done.stdout
    assert "@ " not in done.stdout  # which begins Pulumi's dots of progress
    *_, what_next = done.stdout.partition("\nDone. What to do next, ")
    assert "vmbackup doctor --username Administrator\n" in what_next


def test_a_failing_quickstart_says_which_step_failed_and_cleans_up(copy: Path) -> None:
    (copy / "examples" / "quickstart" / "__main__.py").write_text("raise SystemExit(3)\n")
    before = files(copy)
    done = quickstart(copy)
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1].startswith(
        "Step 3. Assign three VMs to an offsite location"
    )
    assert "failed: `pulumi up --yes --skip-preview` ended with exit code" in done.stdout
    assert files(copy) == before
