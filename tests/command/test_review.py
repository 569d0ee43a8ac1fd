"""``vmbackup review`` within this process: the forms of its output, its exit codes, its errors."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sample import (
    DC01,
    DISK_E,
    EXCH01,
    FILE01,
    NAS01,
    NOWHERE,
    OFFSITE01,
    ROTATING,
    SQL01,
    SQL02,
)
from test_previews import UNKNOWN, a_set, entry, of_site_b, of_state, provider, single, step

from pulumi_vmbackup.command.markdown import LONGEST_COMMENT
from pulumi_vmbackup.previews import DYNAMIC_ASSIGNMENT
from pulumi_vmbackup.simulator import Inventory, Simulator

EVIL = "<script>alert(1)</script>|*_"
Json = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(
    run: Callable[..., Result],
    folder: Path,  # noqa: ARG001  # the present one
) -> Callable[..., Result]:
    """Runs ``vmbackup review``."""

    def review(*arguments: str, ends: int = 0, **more: Any) -> Result:
        return run("review", *arguments, fails=ends, **more)

    return review


def preview(*steps: Json, name: str = "preview.json", **more: Any) -> str:
    same = sum(each["op"] == "same" for each in steps)
    content = {"steps": steps, "changeSummary": {"same": same}, **more}
    Path(name).write_text(json.dumps(content), "utf-8")
    return name


def everything() -> str:
    """A gained, a lost, a moved, a renamed, an adopted and an unknown pair, and a set."""
    return preview(
        step("create", None, single(SQL01, OFFSITE01, DYNAMIC_ASSIGNMENT), name="gained"),
        step("delete", of_state(FILE01, NAS01), name="lost"),
        step("replace", of_state(EXCH01, OFFSITE01), single(EXCH01, ROTATING), name="moved"),
        step("delete", of_state(SQL02, OFFSITE01), name="old-name"),
        step("create", None, single(SQL02, OFFSITE01), name="new-name"),
        step("create", None, single(DC01, DISK_E), name="adopted"),
        step("create", None, single(DC01, UNKNOWN), name="unknown"),
        step(
            "update",
            a_set({"FILE01": entry(FILE01, OFF=OFFSITE01)}),
            a_set({"FILE01": entry(FILE01, OFF=OFFSITE01, ROT=ROTATING)}),
            name="set",
        ),
    )


@pytest.fixture
def held(simulator: Simulator) -> None:
    assigned = simulator.inventory.assignments
    assigned.update(
        dict.fromkeys(
            [(FILE01, NAS01), (FILE01, OFFSITE01), (EXCH01, OFFSITE01), (SQL02, OFFSITE01)]
        )
    )


def table(result: Result) -> dict[str, list[str]]:
    """The cells of the table, by VM."""
    lines = [re.split(" {2,}", line) for line in result.stdout.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == 5}


@pytest.mark.usefixtures("held")
def test_the_table_says_what_each_change_means(run: Callable[..., Result]) -> None:
    result = run("--preview", everything())
    assert table(result) == {
        "VM": ["Host", "Now", "Afterwards", "What it means"],
        "FILE01": [
            "HV-02",
            r"\\NAS01\VMBackups (primary), \\OFFSITE01\VMBackups (offsite)",
            r"\\OFFSITE01\VMBackups (offsite), Rotating disks (offsite)",
            "loses its last primary location; gains a location",
        ],
        "DC01": [
            "HV-01",
            r"E:\VMBackups (primary)",
            r"E:\VMBackups (primary), 1 that only `pulumi up` knows",
            "gets a location that only `pulumi up` knows",
        ],
        "EXCH01": [
            "HV-01",
            r"\\OFFSITE01\VMBackups (offsite)",
            "Rotating disks (offsite)",
            "moves to another location",
        ],
        "SQL01": [
            "HV-01",
            "none",
            r"\\OFFSITE01\VMBackups (offsite)",
            "gains its first backup location; gains an offsite location",
        ],
    }
    assert "1 assignment exists already and becomes managed." in result.stdout
    assert (
        "4 of 7 VMs have an offsite location afterwards (1 not known yet), 3 now; 5 of 7 VMs have "
        "any location afterwards, 4 now." in result.stdout
    )


@pytest.mark.usefixtures("held")
def test_the_json_has_all_vms(run: Callable[..., Result]) -> None:
    found = json.loads(run("--preview", everything(), "--json").stdout)
    assert found["stacks"] == ["backup/prod"]
    (server,) = found["servers"]
    vms = {vm["name"]: vm for vm in server["vms"]}
    assert len(vms) == 7
    assert vms["EXCH01"]["now"] == [OFFSITE01]
    assert vms["EXCH01"]["after"] == [ROTATING]
    assert vms["EXCH01"]["declared_by"] == {ROTATING: ["moved (backup/prod)"]}
    assert vms["WEB01"]["meanings"] == []
    assert server["backup_locations"][OFFSITE01]["kind"] == "offsite"


@pytest.mark.usefixtures("held")
def test_the_markdown_has_the_same_rows(run: Callable[..., Result], folder: Path) -> None:
    run("--preview", everything(), "--markdown", "comment.md", "--require", "any", ends=2)
    comment = (folder / "comment.md").read_text("utf-8")
    assert comment.startswith("### Backup review of `backup/prod`\n\n- 1 VM loses its last primary")
    assert (
        r"| `EXCH01` | `HV-01` | `\\OFFSITE01\VMBackups (offsite)` | `Rotating disks (offsite)` | "
        "moves to another location |" in comment
    )
    assert "`require any` is broken by 2 VMs: `WEB01`, `WEB02`." in comment


def test_names_of_the_server_are_only_text(
    run: Callable[..., Result], simulator: Simulator, folder: Path
) -> None:
    simulator.inventory.virtual_machines[SQL01]["VirtualMachineName"] = EVIL
    simulator.inventory.virtual_machines[SQL02]["VirtualMachineName"] = "@everyone `#1`\x1b[2J\n| x"
    name = preview(
        step("create", None, single(SQL01, NAS01), name="one"),
        step("create", None, single(SQL02, NAS01), name="two"),
    )
    result = run("--preview", name, "--markdown", "comment.md", "--require", "offsite", ends=2)
    assert EVIL in result.stdout
    assert "\x1b" not in result.stdout
    comment = (folder / "comment.md").read_text("utf-8")
    assert "<script" not in comment
    rows = [line for line in comment.splitlines() if line.startswith("| ")][1:]
    assert [row.count("|") for row in rows] == [6, 6]
    names = re.findall("<code>(.*?)</code>", comment)
    assert {html.unescape(each) for each in names} == {EVIL, "@everyone `#1` [2J | x"}
    assert not re.search("[<>@*_|`#]", "".join(names).replace("&#", ""))


def test_a_comment_has_room_for_the_gravest_of_10_000_changes(
    run: Callable[..., Result], simulator: Simulator, folder: Path
) -> None:
    vms = {f"{n:08x}-0000-4000-8000-000000000000": n for n in range(1, 10_001)}
    simulator.inventory.virtual_machines = {
        ref: {
            "AltaroVirtualMachineRef": ref,
            "VirtualMachineName": f"{EVIL * 3}{n}",
            "HostName": "HV-01",
            "Configured": True,
        }
        for ref, n in vms.items()
    }
    last = list(vms)[-1]
    simulator.inventory.assignments = dict.fromkeys([(last, NAS01)])
    write_inventory(simulator.inventory, folder / "inventory.json")
    declared = {f"VM{n}": entry(ref, OFF=OFFSITE01) for ref, n in vms.items() if ref != last}
    name = preview(
        step("create", None, a_set(declared), name="set"),
        step("delete", of_state(last, NAS01), name="gone"),
    )
    run("--preview", name, "--inventory", "inventory.json", "--markdown", "comment.md")
    comment = (folder / "comment.md").read_text("utf-8")
    assert len(comment) < LONGEST_COMMENT < 65_536
    rows = [line for line in comment.splitlines() if line.startswith("| <code>")]
    assert rows[0].endswith("| loses its last backup location |")
    (more,) = re.findall("And (.*) more VMs that change", comment)
    assert len(rows) + int(more.replace(",", "")) == 10_000


def write_inventory(inventory: Inventory, file: Path) -> None:
    content = {
        "format": "pulumi-vmbackup inventory",
        "version": 1,
        "taken_at": "2026-11-28T04:30:00+00:00",
        "virtual_machines": [
            {
                "ref": ref,
                "name": vm["VirtualMachineName"],
                "host": vm["HostName"],
                "configured": vm["Configured"],
                "hypervisor_uuid": None,
            }
            for ref, vm in inventory.virtual_machines.items()
        ],
        "backup_locations": [
            {"id": NAS01, "path": "N", "kind": "primary"},
            {"id": OFFSITE01, "path": "O", "kind": "offsite"},
        ],
        "assignments": [
            {"vm_ref": ref, "backup_location_id": id_} for ref, id_ in inventory.assignments
        ],
    }
    file.write_text(json.dumps(content), "utf-8")


# Rules


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        (["--require", "any"], 2),
        (["--require", "primary"], 2),
        (["--at-most-removed", "2"], 0),
        (["--at-most-removed", "1"], 2),
        (["--at-most-removed", "40%"], 0),
        (["--at-most-removed", "39%"], 2),
        (["--forbid", "unmanaged"], 0),
    ],
)
def test_the_exit_code_tells_whether_a_rule_is_broken(
    rule: list[str], ends: int, run: Callable[..., Result]
) -> None:
    result = run("--preview", everything(), *rule, ends=ends)
    assert ("BROKEN: " if ends else "KEPT: ") in result.stdout


def test_unmanaged_assignments_are_listed_and_can_be_forbidden(run: Callable[..., Result]) -> None:
    name = preview(step("create", None, single(SQL01, NAS01)))
    result = run("--preview", name, "--forbid", "unmanaged", ends=2)
    assert (
        "Assignments that no resource declares:\n  DC01: E:\\VMBackups (primary)" in result.stdout
    )
    assert "BROKEN: forbid unmanaged is broken by 1 VM: DC01." in result.stdout


def test_what_only_an_update_knows_ends_with_1(run: Callable[..., Result]) -> None:
    vms = ["SQL02", "WEB01", "WEB02", "FILE01", "EXCH01", "DC01"]
    Path("vmbackup-rules.yaml").write_text(
        f"require: any\nexceptions:\n- vms: [{', '.join(vms)}]\n  reason: others\n", "utf-8"
    )
    name = preview(step("create", None, single(SQL01, UNKNOWN)))
    result = run("--preview", name, ends=1)
    assert "UNKNOWN: require any may be broken by 1 VM: SQL01" in result.stdout
    assert "5 VMs excepted." in result.stdout


def test_an_ended_exception_is_named(run: Callable[..., Result]) -> None:
    rules = "require: any\nexceptions:\n- {vms: '*', reason: new site, until: 2020-01-31}\n"
    Path("other.yaml").write_text(rules, "utf-8")
    result = run("--rules", "other.yaml", ends=2)
    assert "The exception in line 3 held until 2020-01-31." in result.stdout


# Without a preview, and from files


def test_without_anything_it_shows_what_there_is(run: Callable[..., Result]) -> None:
    result = run()
    assert result.stdout.startswith(
        "Backup locations\n\n0 of 7 VMs have an offsite location; 1 of 7 VMs have any location.\n"
    )
    assert "no resource" not in result.stdout


def test_it_needs_no_server_if_it_has_files(
    run: Callable[..., Result], simulator: Simulator, folder: Path
) -> None:
    write_inventory(simulator.inventory, folder / "inventory.json")
    name = preview(
        step("create", None, single(SQL01, NAS01)),
        config={"vmbackup:baseUrl": "http://localhost:26013/api/rest"},
    )
    result = run("--preview", name, "--inventory", "inventory.json")
    assert re.search(r"From a snapshot of 2026-11-28 04:30 UTC, \d+ days? old\.", result.stdout)
    assert not simulator.calls


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_preview_may_come_from_standard_input_as_powershell_writes_it(
    encoding: str, run: Callable[..., Result]
) -> None:
    text = Path(preview(step("create", None, single(SQL01, NAS01)))).read_text("utf-8")
    result = run("--preview", "-", input=text.encode(encoding))
    assert "1 VM gains its first backup location." in result.stdout


# Several servers


def of_two_servers() -> str:
    return preview(
        provider(baseUrl="http://localhost:26013/api/rest"),
        step("create", None, of_site_b((SQL01, NAS01)), name="b"),
        step("create", None, single(SQL02, NAS01), name="a"),
    )


def test_each_server_needs_its_inventory(
    run: Callable[..., Result], simulator: Simulator, folder: Path
) -> None:
    write_inventory(simulator.inventory, folder / "b.json")
    name = of_two_servers()
    said = run("--preview", name, "--inventory", "b.json", ends=1).stderr
    assert "no inventory of the server localhost:26013: give --inventory site-b=FILE" in said
    both = ["--inventory", "site-b=b.json", "--inventory", "b.json"]
    result = run("--preview", name, *both)
    first, second = result.stdout.split("\nlocalhost:26013 (site-b)\n")
    assert "SQL02" in first
    assert "SQL01" not in first
    assert "SQL01" in second
    misspelt = run("--preview", name, "--inventory", "sideb=b.json", ends=1).stderr
    assert "does not say from which server it is: write NAME=FILE" in misspelt
    twice = run("--preview", name, *both, "--inventory", "site-b=b.json", ends=1).stderr
    assert "is the second one of localhost:26013" in twice


# Errors


def test_the_wrong_server_is_refused(run: Callable[..., Result], folder: Path) -> None:
    name = preview(step("create", None, single(SQL01, NAS01)))
    settings = ["--base-url", "http://localhost:1/api/rest"]
    said = run("--preview", name, *settings, ends=1).stderr
    assert "lead to localhost:1: give --base-url of the first, or --inventory" in said
    other = Inventory.sample()
    other.virtual_machines = {}
    write_inventory(other, folder / "empty.json")
    said = run("--preview", name, "--inventory", "empty.json", ends=1).stderr
    assert "holds no virtual machine at all" in said
    foreign = preview(step("delete", of_state(NOWHERE, NOWHERE)))
    said = run("--preview", foreign, ends=1).stderr
    assert "has no VM and no location of the resources" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preview", "missing.json"], "missing.json of --preview cannot be read"),
        (["--require", "all"], "'all' is not one of 'primary', 'offsite', 'any'"),
        (["--at-most-removed", "x"], "The value of --at-most-removed: 'x' is neither a number"),
        (["--forbid", "unmanaged"], "give --stack or --preview for each"),
        (["--rules", "missing.yaml"], "missing.yaml cannot be read"),
        (["--markdown", "no/such/folder"], "There is no folder"),
        (["--inventory", "missing.json"], "cannot be read"),
        (["--wrong"], "No such option"),
    ],
)
def test_what_cannot_be_told_ends_with_1(
    arguments: list[str], says: str, run: Callable[..., Result]
) -> None:
    assert says in run(*arguments, ends=1).stderr


def test_a_stack_is_reviewed_once(run: Callable[..., Result]) -> None:
    names = [preview(step("create", None, single(SQL01, NAS01)), name=f"{n}.json") for n in "ab"]
    said = run("--preview", names[0], "--preview", names[1], ends=1).stderr
    assert said == "vmbackup: The stack backup/prod is given twice: give it once.\n"


def test_a_long_list_is_counted(run: Callable[..., Result], simulator: Simulator) -> None:
    refs = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(1, 1_203)]
    simulator.inventory.virtual_machines = {
        ref: {
            "AltaroVirtualMachineRef": ref,
            "VirtualMachineName": f"VM{ref[4:8]}",
            "HostName": "HV-01",
            "Configured": True,
        }
        for ref in refs
    }
    simulator.inventory.assignments = dict.fromkeys((ref, NAS01) for ref in refs)
    write_inventory(simulator.inventory, Path("inventory.json"))
    declared = {ref: entry(ref, OFF=OFFSITE01) for ref in refs[1:]}
    name = preview(step("create", None, a_set(declared), name="set"))
    result = run("--preview", name, "--inventory", "inventory.json")
    assert len(table(result)) == 1 + 1_000
    assert "And 201 more VMs that change; --html shows all." in result.stdout
    assert "And 1,152 more VMs; --json lists all." in result.stdout


def test_a_comment_has_room_for_many_rules_and_long_names(
    run: Callable[..., Result], simulator: Simulator, folder: Path
) -> None:
    for n, vm in enumerate(simulator.inventory.virtual_machines.values()):
        vm["VirtualMachineName"] = "|" * 300 + str(n)
    rules = "".join(f"- {{location: offsite, vms: '{'|' * 300}{n % 7}'}}\n" for n in range(500))
    Path("vmbackup-rules.yaml").write_text(f"require:\n{rules}", "utf-8")
    name = preview(step("create", None, single(SQL01, NAS01)))
    result = run("--preview", name, "--markdown", "comment.md", ends=2)
    assert result.stdout.count("BROKEN: ") > 400
    comment = (folder / "comment.md").read_text("utf-8")
    assert len(comment) < LONGEST_COMMENT
    assert re.search(r"And \d+ more rules\.", comment)


def test_two_outputs_are_not_mixed(run: Callable[..., Result]) -> None:
    assert "are both standard output" in run("--json", "--markdown", "-", ends=1).stderr
    same = ("--markdown", "x", "--html", "x")
    assert "are the same file" in run(*same, ends=1).stderr


def test_the_rules_file_has_one_name(run: Callable[..., Result]) -> None:
    Path("vmbackup-rules.yml").write_text("require: any\n", "utf-8")
    assert "call it vmbackup-rules.yaml, or give --rules" in run(ends=1).stderr
    run("--rules", "vmbackup-rules.yml", ends=2)


def test_a_review_is_shown_though_an_exception_matches_no_vm(run: Callable[..., Result]) -> None:
    rules = "require: any\nexceptions:\n- {vms: 'OLD*', reason: gone}\n- {vms: '*', reason: all}\n"
    Path("vmbackup-rules.yaml").write_text(rules, "utf-8")
    name = preview(step("create", None, single(SQL01, NAS01)))
    result = run("--preview", name, "--markdown", "comment.md", ends=1)
    said = "vmbackup-rules.yaml, line 3: no VM matches this exception (VMs OLD*): correct the"
    assert f"UNKNOWN: {said}" in result.stdout
    assert said in Path("comment.md").read_text("utf-8")
    assert "1 VM gains its first backup location." in result.stdout


def test_only_a_review_is_replaced(run: Callable[..., Result], folder: Path) -> None:
    for option in ("--markdown", "--html"):
        file = folder / "mine"
        file.write_text("a program", "utf-8")
        said = run(option, "mine", ends=1).stderr
        assert f"of {option} exists already and is no review" in said
        assert file.read_text("utf-8") == "a program"
        run(option, "mine", "--overwrite")
        run(option, "mine")
        assert file.read_text("utf-8") != "a program"


def test_without_rules_it_says_so(run: Callable[..., Result]) -> None:
    assert "No rule is given, so none was judged." in run().stdout


def test_without_an_account_it_says_what_to_give(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMBACKUP_PASSWORD")
    assert "Give --stack for the settings of a stack, or --inventory" in run(ends=1).stderr
