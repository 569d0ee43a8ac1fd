"""The guides in docs/: their commands and programs, in the order in which they stand there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from e2e.stack import ENCRYPTED, MakeStack, Stack, met
from sample import EXCH01, FILE01, NAS01, OFFSITE01, ROTATING, SQL01, SQL02

from pulumi_vmbackup.recording import read_recording
from pulumi_vmbackup.simulator import Fault, Inventory, Simulator, serve

ROOT = Path(__file__).parents[2]
GUIDES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
LOOKUPS = "from pulumi_vmbackup import *\n\n"
ASSIGN = """\
VmBackupLocationAssignment(
    "{name}-offsite",
    vm_ref=get_virtual_machine(name="{name}"),
    backup_location_id=get_backup_location(kind="offsite", path={path!r}),
)
"""


def assigning(*names: str, path: str = r"\\OFFSITE01\VMBackups") -> str:
    return LOOKUPS + "".join(ASSIGN.format(name=name, path=path) for name in names)


def text(guide: str) -> str:
    return (ROOT / "docs" / guide).read_text("utf-8")


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the text of each block of code of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(console: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console, and the lines of output that stand below it."""
    for each in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        line, _, output = each.partition("\n")
        yield line, [shown.strip() for shown in output.splitlines() if shown.strip()]


def run(stack: Stack, line: str, shown: list[str]) -> None:
    """Run a command of a console, and find in its output what the guide shows of it."""
    line, _, to_file = line.partition(" > ")
    program, *arguments = shlex.split(line)
    if program == "vmbackup":
        is_broken = any(each.startswith("BROKEN:") for each in shown)
        done = stack.vmbackup(*arguments, ends=2 if is_broken else 0)
        printed = done.stdout + done.stderr
        if to_file:
            (stack.folder / to_file).write_text(done.stdout, "utf-8")
    elif to_file:
        printed = stack.pulumi_to_file(to_file, *arguments)
    else:
        assert program == "pulumi", line
        fails = any(each.startswith("error:") for each in shown)
        printed = stack.pulumi(*arguments, fails=fails)
    printed_lines = [re.sub(r" \(\d[\d.]*s\)", "", each).strip() for each in printed.splitlines()]
    for each in shown:
        pattern = re.escape(each).replace(re.escape("..."), ".*")
        assert any(re.fullmatch(pattern, printed_line) for printed_line in printed_lines), (
            f"{each!r} of `{line}` is not in:\n{printed}"
        )


def run_guide(
    guide: str, stack: Stack, *, before: dict[int, Callable[[], object]] | None = None
) -> list[str]:
    """Run a guide, and before its numbered commands what the guide tells of.

    Returns the commands that cannot be run here.
    """
    number, left = 0, []
    for language, block in blocks(text(guide)):
        if language == "python":
            stack.program(block)
        elif language == "console":
            for line, shown in commands(block):
                cannot_run = ("ssh ", "export ", "git ", "pip ", "python -m pulumi_vmbackup.sim")
                if line.startswith(cannot_run) or "--save-certificate" in line:
                    left.append(line)
                    continue
                number += 1
                (before or {}).get(number, lambda: None)()
                run(stack, line, shown)
    return left


def test_connecting(stack: Stack) -> None:
    stack.config({"vmbackup:baseUrl": stack.environment["VMBACKUP_BASE_URL"]})
    left = run_guide("connecting.md", stack)
    assert left == [
        "ssh -N -L 36013:localhost:36013 backup-server",
        # It asks; test_windows_guide.py answers.
        "vmbackup doctor --base-url https://localhost:36013/api/rest --save-certificate "
        "vmbackup.pem",
        "export VMBACKUP_CA_FILE=vmbackup.pem",
    ]


def test_recording(stack: Stack) -> None:
    stack.environment["VMBACKUP_RECORD"] = str(stack.folder / "run.jsonl")
    stack.assignments(first=(SQL01, NAS01))
    left = run_guide("recording.md", stack)
    assert left == [
        "export VMBACKUP_RECORD=$PWD/run.jsonl",
        "python -m pulumi_vmbackup.simulator --replay run.jsonl",
    ]
    calls = {each.path for each in read_recording(stack.folder / "run.jsonl")}
    assert "vms/list/[token]" in calls


def test_pull_requests(stack: Stack, simulator: Simulator) -> None:
    def away_from_the_server() -> None:
        del stack.environment["VMBACKUP_PASSWORD"]
        simulator.calls.clear()

    run_guide("pull-requests.md", stack, before={3: away_from_the_server})
    assert simulator.calls == []
    assert "Traceback" not in stack.output


def test_review(stack: Stack, simulator: Simulator) -> None:
    (rules,) = (block for language, block in blocks(text("review.md")) if language == "yaml")

    def with_rules() -> None:
        (stack.folder / "vmbackup-rules.yaml").write_text(rules, "utf-8")

    stack.program(assigning("SQL01"))
    run_guide("review.md", stack, before={8: with_rules})
    assert not simulator.sessions


def test_drift(stack: Stack, simulator: Simulator) -> None:
    stack.program(assigning("SQL01"))
    stack.up()

    def unassign() -> None:
        del simulator.inventory.assignments[SQL01, OFFSITE01]

    def nothing_was_changed() -> None:
        assert stack.resources().keys() == {"SQL01-offsite"}
        assert not simulator.inventory.locations_of(SQL01)

    run_guide("drift.md", stack, before={2: unassign, 3: nothing_was_changed})
    assert simulator.inventory.locations_of(SQL01) == [OFFSITE01]


def exit_code(stack: Stack, command: str) -> int:
    done = subprocess.run(
        ["pulumi", *command.split(), "--non-interactive"],
        cwd=stack.folder,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=600,
    )
    return done.returncode


@pytest.mark.full
def test_each_command_for_drift_sees_what_the_guide_says(
    stack: Stack, simulator: Simulator
) -> None:
    rows = re.findall(r"^\| `pulumi (.+)` \| .+ \| (.+) \| (.+) \|$", text("drift.md"), re.M)
    assert len(rows) == 3
    yes_and_no = {True: 7, False: 0}
    stack.program(assigning("SQL01"))
    stack.up()
    stack.program(assigning("SQL01", "FILE01"))
    for command, _, sees_program in rows:
        assert exit_code(stack, command) == yes_and_no[sees_program.startswith("yes")], command
    stack.program(assigning("SQL01"))
    del simulator.inventory.assignments[SQL01, OFFSITE01]
    for command, sees_drift, _ in rows:
        assert exit_code(stack, command) == yes_and_no[sees_drift.startswith("yes")], command
    with serve(Simulator(password="changed since")) as refusing:
        stack.environment["VMBACKUP_BASE_URL"] = refusing
        assert exit_code(stack, rows[-1][0]) == 1
    assert re.findall(r"^\| (\d) \|", text("drift.md"), re.M) == ["0", "7", "1"]


def test_the_workflow_in_the_guide_is_the_one_of_the_example() -> None:
    workflows = ROOT / "examples" / "pull-request-preview" / ".github" / "workflows"
    (block,) = [block for language, block in blocks(text("drift.md")) if language == "yaml"]
    assert block == (workflows / "drift.yml").read_text("utf-8")


def test_adopting(stack: Stack, simulator: Simulator) -> None:
    simulator.inventory.assignments[FILE01, OFFSITE01] = None
    simulator.inventory.assignments[FILE01, ROTATING] = None
    _, generating = [
        block for language, block in blocks(text("adopting.md")) if language == "python"
    ]
    run_guide("adopting.md", stack)
    generator = stack.folder / "generate.py"
    generator.write_text(generating, "utf-8")
    command = [sys.executable, generator.name]
    subprocess.run(command, cwd=stack.folder, check=True, timeout=600)
    stack.program((stack.folder / "generated.py").read_text("utf-8"))
    stack.up()
    names = stack.resources().keys()
    assert "DC01-primary" in names  # the one that was adopted before, by its name
    assert len(names) == 3
    assert len(simulator.inventory.assignments) == 3
    assert not [call for call in simulator.calls if call.method == "DELETE"]


def test_handing_over(make_stack: MakeStack, simulator: Simulator, tmp_path: Path) -> None:
    stack = make_stack(init=False)
    stack.init("prod")
    stack.program(assigning("SQL01", "EXCH01"))
    stack.up()
    other = tmp_path / "databases"
    other.mkdir()
    (other / "Pulumi.yaml").write_text("name: databases\nruntime: python\n")
    (other / "__main__.py").write_text(assigning("SQL01"), "utf-8")
    stack.init("prod", other)

    def takes_it_out() -> None:
        stack.program(assigning("EXCH01"))

    def keeps_exch01() -> None:
        file = stack.folder / "__main__.py"
        stack.program(file.read_text("utf-8") + "\n" + assigning("EXCH01"))

    simulator.calls.clear()
    run_guide(
        "handing-over.md",
        stack,
        before={3: takes_it_out, 5: keeps_exch01, 6: keeps_exch01},
    )
    assert not stack.resources()
    stack.program("import pulumi\n")
    stack.up()
    for vm_ref in (SQL01, FILE01, EXCH01):
        assert simulator.inventory.locations_of(vm_ref) == [OFFSITE01]
    assert not [call for call in simulator.calls if call.method == "DELETE"]

    # The new stack is now the one that un-assigns it.
    stack.pulumi("--cwd", str(other), "destroy", "--yes", "--skip-preview")
    assert not simulator.inventory.locations_of(SQL01)


@pytest.mark.full
def test_a_replacement_retains_as_well(stack: Stack, simulator: Simulator) -> None:
    for location in (NAS01, ROTATING):
        stack.program(
            "import pulumi\n\nfrom pulumi_vmbackup import VmBackupLocationAssignment\n\n"
            f'VmBackupLocationAssignment("a", vm_ref="{SQL01}", backup_location_id="{location}",\n'
            "    opts=pulumi.ResourceOptions(retain_on_delete=True))\n"
        )
        stack.up()
    assert simulator.inventory.locations_of(SQL01) == [NAS01, ROTATING]


def test_several_servers(make_stack: MakeStack, simulator: Simulator, base_url: str) -> None:
    stack = make_stack(init=False)
    stack.init("prod")
    site_b = Simulator(Inventory.sample(), password="of site-b")
    with serve(site_b) as url_of_b:
        stack.environment["VMBACKUP_SITE_A_PASSWORD"] = stack.environment.pop("VMBACKUP_PASSWORD")
        stack.environment["VMBACKUP_SITE_B_PASSWORD"] = "of site-b"

        def point_to_the_simulators() -> None:
            account = {"username": "Administrator"}
            urls = {"site-a": base_url, "site-b": url_of_b}
            connections = {site: {"baseUrl": url, **account} for site, url in urls.items()}
            stack.config({"vmbackup:connections": connections})

        run_guide("several-servers.md", stack, before={5: point_to_the_simulators})
    assert simulator.inventory.locations_of(SQL01) == [OFFSITE01]
    assert site_b.inventory.locations_of(FILE01) == [ROTATING]
    snapshot = json.loads((stack.folder / "site-b.json").read_text("utf-8"))
    assert {"vm_ref": FILE01, "backup_location_id": ROTATING} in snapshot["assignments"]


def test_plugin(stack: Stack, simulator: Simulator, base_url: str) -> None:
    stack.init("other")
    stack.init("test")
    stack.config({"backup:siteB": base_url, "backup:siteBPassword": ENCRYPTED})

    def several_servers() -> None:
        programs = [block for language, block in blocks(text("plugin.md")) if language == "python"]
        stack.pulumi("state", "unprotect", "--all", "--yes")  # DC01's, which is not in there
        stack.program(programs[2])
        stack.up()
        assert simulator.inventory.locations_of(FILE01) == [ROTATING]
        stack.program(programs[3])

    run_guide("plugin.md", stack, before={4: several_servers})
    assert simulator.inventory.locations_of(EXCH01) == [OFFSITE01]
    deleted = [call.path for call in simulator.calls if call.method == "DELETE"]
    assert not [path for path in deleted if EXCH01 in path]
    assert stack.resources() == {}


def test_the_plugin_is_found_in_the_folder_that_pulumi_yaml_names(stack: Stack) -> None:
    (project,) = (block for language, block in blocks(text("plugin.md")) if language == "yaml")
    on_path = shutil.which("pulumi-resource-vmbackup", path=stack.environment["PATH"])
    assert on_path
    folder = stack.folder / "venv" / "bin"
    folder.mkdir(parents=True)
    shutil.copy(on_path, folder)
    stack.program(
        next(block for language, block in blocks(text("plugin.md")) if language == "python")
    )
    (stack.folder / "Pulumi.yaml").write_text(project)
    assert "from $PATH" not in stack.pulumi("preview")


def test_taking_over(make_stack: MakeStack, simulator: Simulator) -> None:
    stack = make_stack(init=False)
    program = stack.folder / "__main__.py"
    program.unlink()
    (project,) = (block for language, block in blocks(text("taking-over.md")) if language == "yaml")
    (stack.folder / "Pulumi.yaml").write_text(project)
    shown, of_one = (
        block for language, block in blocks(text("taking-over.md")) if language == "python"
    )
    simulator.inventory.assignments[SQL01, OFFSITE01] = None
    simulator.inventory.assignments[SQL01, NAS01] = None

    def the_program_is_the_one_that_is_shown() -> None:
        assert program.read_text("utf-8") == shown

    def sql02_is_assigned() -> None:
        simulator.inventory.assignments[SQL02, OFFSITE01] = None

    def file01_is_assigned() -> None:
        simulator.inventory.assignments[FILE01, OFFSITE01] = None
        programs.append(program.read_text("utf-8"))

    programs: list[str] = []
    run_guide(
        "taking-over.md",
        stack,
        before={
            4: the_program_is_the_one_that_is_shown,
            7: sql02_is_assigned,
            10: file01_is_assigned,
        },
    )
    stack.program(f"{programs[0]}\n{of_one}")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")
    held = {"/".join(pair) for pair in simulator.inventory.assignments}
    assert {each["id"] for each in stack.resources().values()} == held
    about_vms = [call for call in simulator.calls if "/vms/" in call.path]
    assert {call.method for call in about_vms} == {"GET"}


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not killed like this there")
def test_reliability(stack: Stack, simulator: Simulator) -> None:
    simulator.session_seconds = 5  # so long the session of the killed run keeps the next one out
    stack.program(assigning("SQL01"))
    hangs = Fault("stall", "POST /vms/backuplocations")
    simulator.faults.append(hangs)
    with stack.start_up() as run_:
        run_.until(met(hangs))
    warning = "interrupted while creating"  # Pulumi says so until it is cleared
    run_guide("reliability.md", stack)
    assert warning in stack.output
    assert warning not in stack.up("--expect-no-changes")
    assert simulator.inventory.locations_of(SQL01) == [OFFSITE01]


def test_check_your_server(stack: Stack, simulator: Simulator) -> None:
    before = dict(simulator.inventory.assignments)
    run_guide("check-your-server.md", stack)
    assert simulator.inventory.assignments == before
    assert {each.name for each in stack.folder.glob("*.json")} == {"facts.json"}


def test_upgrading(make_stack: MakeStack) -> None:
    stack = make_stack(init=False)
    stack.init("prod")
    stack.program(assigning("SQL01"))
    stack.up()
    left = run_guide("upgrading.md", stack)
    assert left == ["git pull", 'pip install --upgrade ".[cli,simulator]"']
    assert "SQL01-offsite" in (stack.folder / "before.json").read_text("utf-8")


def test_performance(stack: Stack) -> None:
    run_guide("performance.md", stack)
    settings = yaml.safe_load(stack.settings_file().read_text("utf-8"))["config"]
    assert str(settings["vmbackup:parallelRequests"]) == "8"


def test_the_commands_of_the_example_several_servers_are_in_its_guide() -> None:
    readme = (ROOT / "examples" / "several-servers" / "README.md").read_text("utf-8")
    shown = re.findall(r"^\$ pulumi config .+$", readme, re.M)
    assert len(shown) == 4
    assert [line for line in shown if line not in text("several-servers.md")] == []


def test_each_guide_is_run() -> None:
    tested = {
        f"{name.removeprefix('test_').replace('_', '-')}.md"
        for name in globals()
        if name.startswith("test_")
    }
    # test_windows_guide.py, test_linux_guide.py and test_simulator_guide.py run three of them,
    # test_facts.py reads the facts, and test_supported_versions.py the versions.
    elsewhere = {"windows.md", "linux.md", "simulator.md", "server-facts.md"}
    assert set(GUIDES) - elsewhere - {"supported-versions.md"} <= tested
