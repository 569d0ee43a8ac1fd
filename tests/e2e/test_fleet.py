"""examples/fleet: many servers in one stack, and the plugin's `connection`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from e2e.stack import MakeStack, Stack
from sample import NAS01, OFFSITE01, PASSWORD, SQL01, SQL02

from pulumi_vmbackup.simulator import Inventory, Simulator, serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "fleet"
PROGRAM_OF_IDS = f"""
from pulumi_vmbackup.plugin import VmBackupLocationAssignment

VmBackupLocationAssignment(
    "it", vm_ref="{SQL01}", backup_location_id="{NAS01}", connection="cadiz"
)
"""


class Site:
    """A server of the fleet, which can be stopped and started again at its address."""

    def __init__(self) -> None:
        self.simulator = Simulator(password=PASSWORD)
        self.port = 0
        self._running = ExitStack()
        self.start()

    def start(self) -> None:
        self.url = self._running.enter_context(serve(self.simulator, port=self.port))
        self.port = int(self.url.split(":")[2].partition("/")[0])

    def stop(self) -> None:
        self._running.close()

    def locations_of(self, vm_ref: str) -> list[str]:
        return self.simulator.inventory.locations_of(vm_ref)


@pytest.fixture
def sites() -> Iterator[dict[str, Site]]:
    sites = {name: Site() for name in ("amsterdam", "berlin", "cadiz")}
    yield sites
    for site in sites.values():
        site.stop()


@pytest.fixture
def stack(make_stack: MakeStack, sites: dict[str, Site]) -> Stack:
    stack = make_stack(init=False, VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    shutil.copytree(EXAMPLE, stack.folder, dirs_exist_ok=True)
    stack.init()
    connections: dict[str, dict[str, object]] = {}
    for name, site in sites.items():
        stack.environment[f"VMBACKUP_{name.upper()}_PASSWORD"] = PASSWORD
        login = {"username": "Administrator", "settleSeconds": 0}
        connections[name] = {"baseUrl": site.url, **login}
    stack.config({"vmbackup:connections": connections})
    return stack


def test_a_fleet_goes_up_and_a_server_that_is_down_is_named_and_stops_no_other(
    stack: Stack, sites: dict[str, Site]
) -> None:
    stack.up()
    assert stack.resources().keys() == sites.keys()
    for site in sites.values():
        assert site.locations_of(SQL01) == [NAS01]
        assert site.locations_of(SQL02) == [OFFSITE01]
        assert len(site.simulator.tokens) == 2  # that of the look-ups, and that of the plugin
        assert not site.simulator.sessions
    stack.up("--expect-no-changes")

    berlin = sites["berlin"]
    berlin.stop()
    stack.pulumi("config", "set", "--path", "rules[0].vms", "*")
    stack.pulumi("config", "set", "--path", "rules[0].locations[0]", r"\\NAS01\VMBackups")
    for output in (stack.pulumi("preview", fails=True), stack.up(fails=True)):
        assert (
            f"error: berlin stays as it is: Could not list the virtual machines: No VM Backup "
            f"API answers at {berlin.url}: " in output
        )
        assert re.search(r"~ 2 (to update|updated)", output)
        assert "Traceback" not in output
    assert [site.locations_of(SQL02) for site in sites.values()] == [[NAS01], [OFFSITE01], [NAS01]]

    output = stack.refresh(fails=True)
    assert "VmBackupLocationAssignmentSet (berlin):\n    error: Could not list the " in output
    assert "(amsterdam)" not in output
    berlin.start()
    stack.up()
    assert berlin.locations_of(SQL02) == [NAS01]
    stack.destroy()
    for site in sites.values():
        assert site.simulator.inventory.assignments == Inventory.sample().assignments
        assert not site.simulator.sessions


def test_a_site_is_removed_as_the_readme_says(stack: Stack, sites: dict[str, Site]) -> None:
    stack.up()
    settings = stack.settings_file().read_text("utf-8")
    stack.pulumi("config", "rm", "--path", "vmbackup:connections.berlin")
    output = stack.up(fails=True)
    assert "A resource in the state has the connection 'berlin': keep that connection" in output
    assert sites["berlin"].locations_of(SQL01) == [NAS01]

    stack.settings_file().write_text(settings, "utf-8")
    readme = (EXAMPLE / "README.md").read_text("utf-8")
    (urn,) = re.findall(r"--target (\S+)", readme)
    stack.pulumi("destroy", "--target", urn.replace(":prod:", ":test:"), "--yes", "--skip-preview")
    stack.pulumi("config", "rm", "--path", "vmbackup:connections.berlin")
    stack.up("--expect-no-changes")
    located = {name: site.locations_of(SQL01) for name, site in sites.items()}
    assert located == {"amsterdam": [NAS01], "berlin": [], "cadiz": [NAS01]}


@pytest.mark.parametrize("misspelt", ["vm", "host", "location"])
def test_a_misspelt_rule_fails_the_preview(misspelt: str, stack: Stack) -> None:
    stack.pulumi("config", "set", "--path", f"rules[0].{misspelt}", "SQL*")
    if misspelt != "location":
        stack.pulumi("config", "set", "--path", "rules[0].locations[0]", r"\\NAS01\VMBackups")
    output = stack.pulumi("preview", fails=True)
    assert re.search(rf"error: The rule .*'{misspelt}': .* needs locations\. It may", output)


def test_a_vm_without_a_rule_fails_the_preview(stack: Stack) -> None:
    stack.pulumi("config", "set", "--path", "rules[0].vms", "SQL*")
    stack.pulumi("config", "set", "--path", "rules[0].locations[0]", r"\\NAS01\VMBackups")
    output = stack.pulumi("preview", fails=True)
    assert "error: No rule is about the VM DC01 of amsterdam.\n" in output


def test_an_assignment_of_a_connection_is_imported_and_managed(
    stack: Stack, sites: dict[str, Site]
) -> None:
    cadiz = sites["cadiz"].simulator
    cadiz.inventory.assignments[SQL01, NAS01] = None
    type_, id_ = "vmbackup:index:VmBackupLocationAssignment", f"cadiz/{SQL01}/{NAS01}"
    options = ["--yes", "--protect=false", "--skip-preview", "--generate-code=false"]
    stack.pulumi("import", type_, "it", id_, *options)
    (found,) = stack.resources().values()
    assert found["id"] == f"{SQL01}/{NAS01}"
    assert found["inputs"]["connection"] == "cadiz"
    stack.program(PROGRAM_OF_IDS)
    stack.up("--expect-no-changes")
    stack.refresh("--expect-no-changes")
    del cadiz.inventory.assignments[SQL01, NAS01]
    assert "- 1 deleted" in stack.refresh()
    stack.up()
    assert sites["cadiz"].locations_of(SQL01) == [NAS01]
    assert sites["amsterdam"].locations_of(SQL01) == []
    stack.destroy()
    assert sites["cadiz"].locations_of(SQL01) == []
