"""examples/typescript, and what else programs in TypeScript do with the plugin."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from e2e.node import EXAMPLE, OLDEST, link_packages, node_modules
from e2e.stack import ENCRYPTED, MakeStack, Stack, assigned, met, pairs, replaced
from environment import ROOT
from sample import (
    DC01,
    DISK_E,
    EXCH01,
    FILE01,
    NAS01,
    NOWHERE,
    OFFSITE01,
    PASSWORD,
    ROTATING,
    SQL01,
)

from pulumi_vmbackup.simulator import Fault, Inventory, Simulator, serve

README = (EXAMPLE / "README.md").read_text("utf-8")
REGISTRY = (ROOT / "docs" / "registry" / "_index.md").read_text("utf-8")
NEW01 = "5d9a2b4e-0c1f-4f5e-9d57-6f6a6c2f7d11"
TOGETHER = {f"{EXCH01}/{OFFSITE01}", f"{FILE01}/{OFFSITE01}", f"{FILE01}/{ROTATING}"}


@pytest.fixture(scope="session")
def packages() -> Path:
    return node_modules()


@pytest.fixture
def make_example(
    packages: Path, make_stack: MakeStack, tmp_path_factory: pytest.TempPathFactory
) -> MakeStack:
    """Makes a stack with a copy of the example, in which its packages are linked."""

    def make(**settings: str) -> Stack:
        # What is compiled once is compiled for all tests; types are checked once, below.
        settings["TS_NODE_CACHE_DIRECTORY"] = str(tmp_path_factory.getbasetemp() / "ts-node")
        settings["PULUMI_NODEJS_TRANSPILE_ONLY"] = "true"
        stack = make_stack(init=False, **settings)
        ignored = shutil.ignore_patterns("node_modules")
        shutil.copytree(EXAMPLE, stack.folder, dirs_exist_ok=True, ignore=ignored)
        link_packages(stack.folder, packages)
        stack.init()
        return stack

    return make


@pytest.fixture
def example(make_example: MakeStack) -> Stack:
    return make_example()


def assert_says(output: str, sentence: str) -> None:
    """The error of a look-up has its sentence in its first line. A few lines of Node.js follow."""
    begins = r"Error: .*invocation of vmbackup:index:\w+ returned an error: .*"
    assert re.search(begins + re.escape(sentence), output, re.MULTILINE), output
    assert len(re.findall(r"^ +at .*node_modules", output, re.MULTILINE)) < 10, output


def test_the_example_lives_as_its_program_says(example: Stack, simulator: Simulator) -> None:
    example.edit("index.ts", '"SQL01"', '"SLQ01"')
    preview = example.pulumi("preview", fails=True)
    assert_says(preview, "There is no VM with name 'SLQ01': did you mean 'SQL01'")
    assert pairs(simulator, "POST") == []

    example.edit("index.ts", '"SLQ01"', '"SQL01"')
    example.edit("index.ts", "vmRef: sql01.ref", f'vmRef: "{NOWHERE}"')
    up = example.up("--continue-on-error", "--diff", fails=True)
    assert re.search(rf"error: .*{NOWHERE}.*\n", up)
    assert "node_modules" not in up
    assert re.search(rf'FILE01: {{\s+backupLocationIds: {{\s+offsite : "{OFFSITE01}"', up)
    assert assigned(simulator) == TOGETHER

    example.edit("index.ts", f'vmRef: "{NOWHERE}"', "vmRef: sql01.ref")
    up = example.up()
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}", *TOGETHER}
    assert re.search(r'vmName +: .*"SQL01"', up)
    assert re.search(r'locationPath: .*"\\\\\\\\OFFSITE01\\\\VMBackups"', up)
    assert example.resources()["sql01-offsite"]["id"] == f"{SQL01}/{OFFSITE01}"

    example.refresh("--expect-no-changes")

    example.edit("index.ts", "backupLocationId: offsite.id", "backupLocationId: rotating.id")
    example.edit("index.ts", ", rotating: rotating.id", "")
    simulator.calls.clear()
    changed = example.up("--diff")
    assert f'- rotating: "{ROTATING}"' in changed
    assert "EXCH01" not in changed
    assert pairs(simulator, "POST") == [f"{SQL01}/{ROTATING}"]
    assert sorted(pairs(simulator, "DELETE")) == sorted(
        [f"{FILE01}/{ROTATING}", f"{SQL01}/{OFFSITE01}"]
    )

    example.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments
    assert not simulator.sessions
    assert PASSWORD not in example.output


WITH_A_PROVIDER = """\
import * as pulumi from "@pulumi/pulumi";
import * as vmbackup from "pulumi-vmbackup";

const config = new pulumi.Config();
const provider = new vmbackup.Provider("site-b", {
    baseUrl: config.require("url"),
    username: "Administrator",
    password: config.requireSecret("password"),
    hostHeader: "localhost",
    settleSeconds: 0,
});
const vms = vmbackup.getVirtualMachinesOutput({ configured: true }, { provider });
const vm = vms.virtualMachines.apply((all) => all.find((each) => each.name === "SQL01")!);
const locations = vmbackup.getBackupLocationsOutput({ offsite: false }, { provider });
const assignment = new vmbackup.VmBackupLocationAssignment("sql01", {
    vmRef: vm.apply((each) => each.ref!),
    backupLocationId: locations.backupLocations.apply((all) => all[0].id),
}, { provider });
export const vmName = assignment.vmName;
export const kind = assignment.kind;
export const hosts = vms.virtualMachines.apply((all) => all.length);
"""


def test_a_provider_resource_with_a_secret_password_leads_to_its_own_server(
    make_example: MakeStack, simulator: Simulator
) -> None:
    site_b = Simulator(Inventory.sample(), password=PASSWORD)
    # Of the default provider; nothing of it may be needed by, or taken for, the other one.
    example = make_example(VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    (example.folder / "index.ts").write_text(WITH_A_PROVIDER, "utf-8")
    with serve(site_b) as url_of_b:
        project = "vmbackup-typescript"
        example.config({f"{project}:url": url_of_b, f"{project}:password": ENCRYPTED})
        assert re.search(r"password +: \[secret\]", example.up("--diff"))
        outputs = example.outputs()
        configured = [vm for vm in site_b.inventory.virtual_machines.values() if vm["Configured"]]
        assert outputs == {"vmName": "SQL01", "kind": "primary", "hosts": len(configured)}
        assert len(site_b.inventory.locations_of(SQL01)) == 1
        assert '"ciphertext"' in json.dumps(example.state())
        example.destroy()
    assert site_b.inventory.assignments == Inventory.sample().assignments
    assert not site_b.sessions
    assert simulator.calls == []
    assert PASSWORD not in example.output


WAITS_AND_READS = f"""\
import * as pulumi from "@pulumi/pulumi";
import * as vmbackup from "pulumi-vmbackup";

class Site extends pulumi.ComponentResource {{
    constructor() {{
        super("test:index:Site", "site");
        new vmbackup.VmBackupLocationAssignment(
            "sql01",
            {{ vmRef: "{SQL01}", backupLocationId: "{OFFSITE01}" }},
            {{ parent: this }},
        );
    }}
}}

const dependsOn = [new Site()];
const found = vmbackup.getBackupLocationsOutput({{ vmRef: "{SQL01}" }}, {{ dependsOn }});
export const paths = found.backupLocations.apply((all) => all.map((each) => each.path));
const one = vmbackup.VmBackupLocationAssignment.get("one", "{DC01}/{DISK_E}");
export const vmName = one.vmName;
const some = vmbackup.VmBackupLocationAssignmentSet.get("some", "{DC01}");
export const labels = some.assignments.apply(Object.keys);
"""
WRONG = "const wrong: any = 1;\nvmbackup.getVirtualMachinesOutput({ configured: wrong });\n"


def test_a_lookup_waits_for_what_it_depends_on_and_what_exists_is_read(
    example: Stack, simulator: Simulator
) -> None:
    program = example.folder / "index.ts"
    program.write_text(WAITS_AND_READS, "utf-8")
    preview = example.pulumi("preview", "--diff")
    assert re.search(r"paths +: \[unknown\]", preview)
    assert re.search(r'vmName: "DC01"', preview)
    example.up()
    assert example.outputs() == {
        "paths": [r"\\OFFSITE01\VMBackups"],
        "vmName": "DC01",
        "labels": ["DC01"],
    }
    program.write_text(WAITS_AND_READS + WRONG, "utf-8")
    preview = example.pulumi("preview", fails=True)
    assert_says(preview, "configured of getVirtualMachines is 1")
    example.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments


SERVERS = f"""\
import * as pulumi from "@pulumi/pulumi";
import * as vmbackup from "pulumi-vmbackup";

const config = new pulumi.Config();
const login = {{ username: "CONTOSO\\\\svc-backup", password: config.requireSecret("password") }};
const atB = new vmbackup.Provider("default", {{ baseUrl: config.require("b"), ...login }});
const atC = new vmbackup.Provider("default_site_c", {{ baseUrl: config.require("c"), ...login }});

class Site extends pulumi.ComponentResource {{
    constructor(name: string, provider: vmbackup.Provider) {{
        super("test:index:Site", name, {{}}, {{ providers: [provider] }});
    }}
}}

const siteC = new Site("c", atC);
const ids = {{ vmRef: "{SQL01}", backupLocationId: "{OFFSITE01}" }};
new vmbackup.VmBackupLocationAssignment("b", ids, {{ provider: atB }});
new vmbackup.VmBackupLocationAssignment("c", ids, {{ parent: siteC }});
export const host = vmbackup.getVirtualMachineOutput({{ name: "SQL01" }}, {{ parent: siteC }}).host;
if (config.getBoolean("nobody")) {{
    const nobody = new vmbackup.Provider("nobody", {{ baseUrl: config.require("b") }});
    vmbackup.getVirtualMachineOutput({{ name: "SQL01" }}, {{ provider: nobody }});
}}
"""


def test_providers_of_any_name_lead_to_their_servers_with_their_own_credentials(
    make_example: MakeStack, simulator: Simulator
) -> None:
    example = make_example()
    (example.folder / "index.ts").write_text(SERVERS, "utf-8")
    site_b, site_c = (Simulator(username="svc-backup", password=PASSWORD) for _ in range(2))
    site_c.inventory.virtual_machines[SQL01]["HostName"] = "HV-C"
    with serve(site_b) as url_b, serve(site_c) as url_c:
        settings = {"b": url_b, "c": url_c, "password": ENCRYPTED}
        example.config({f"vmbackup-typescript:{key}": each for key, each in settings.items()})
        example.up()
        assert example.outputs() == {"host": "HV-C"}
        assert assigned(site_b) == assigned(site_c) == {f"{SQL01}/{OFFSITE01}"}
        del site_b.inventory.assignments[SQL01, OFFSITE01]
        example.refresh()
        assert list(example.ids()) == ["c"]
        example.config({"vmbackup-typescript:nobody": "true"})
        logins = site_b.logins.copy()
        preview = example.pulumi("preview", fails=True)
        assert_says(preview, f"No username for VM Backup at provider 'nobody' ({url_b}) is known")
        assert site_b.logins == logins
        assert {(each.username, each.domain) for each in logins} == {("svc-backup", "CONTOSO")}
        example.destroy()
    assert simulator.calls == []


CONNECTIONS = f"""\
import * as vmbackup from "pulumi-vmbackup";

for (const connection of ["site-a", "site-b"]) {{
    const sql01 = vmbackup.getVirtualMachineOutput({{ name: "SQL01", connection }});
    new vmbackup.VmBackupLocationAssignment(
        connection, {{ vmRef: sql01.ref, backupLocationId: "{OFFSITE01}", connection }},
    );
    new vmbackup.VmBackupLocationAssignmentSet(`${{connection}}-more`, {{
        assignments: {{ FILE01: {{ vmRef: "{FILE01}", backupLocationIds: {{ nas: "{NAS01}" }} }} }},
        connection,
    }});
}}
"""


def test_one_process_serves_all_connections(make_example: MakeStack, simulator: Simulator) -> None:
    passwords = {f"VMBACKUP_SITE_{site}_PASSWORD": PASSWORD for site in "AB"}
    example = make_example(**passwords)
    (example.folder / "index.ts").write_text(CONNECTIONS, "utf-8")
    site_a, site_b = (Simulator(password=PASSWORD) for _ in range(2))
    with serve(site_a) as url_a, serve(site_b) as url_b:
        login = {"username": "Administrator", "settleSeconds": 0}
        urls = {"site-a": url_a, "site-b": url_b}
        connections = {site: {"baseUrl": url, **login} for site, url in urls.items()}
        example.config({"vmbackup:connections": connections})
        example.up()
        everything = {f"{SQL01}/{OFFSITE01}", f"{FILE01}/{NAS01}"}
        assert assigned(site_a) == assigned(site_b) == everything
        types = [each["type"] for each in example.state()["resources"]]
        assert types.count("pulumi:providers:vmbackup") == 1
        del site_b.inventory.assignments[SQL01, OFFSITE01]
        example.refresh()
        assert sorted(example.ids()) == ["site-a", "site-a-more", "site-b-more"]
        example.destroy()
        assert assigned(site_a) == assigned(site_b) == set()
    assert simulator.calls == []


EVERY_VM = f"""\
import * as pulumi from "@pulumi/pulumi";
import * as vmbackup from "pulumi-vmbackup";

const config = new pulumi.Config();
const wanted = config.getObject<string[]>("wanted");
const all = vmbackup.getVirtualMachinesOutput({{ configured: true }}).virtualMachines;
const assignments = all.apply((vms) => Object.fromEntries(
    vms.filter((vm) => !wanted || wanted.includes(vm.name!)).map((vm) => [vm.name!, {{
        vmRef: vm.ref!,
        host: vm.host!,
        backupLocationIds: {{ offsite: "{OFFSITE01}", rotating: "{ROTATING}", nas: "{NAS01}" }},
    }}]),
));
const site = new vmbackup.VmBackupLocationAssignmentSet("site", {{ assignments }});
export const labels = site.assignments.apply((found) => Object.keys(found).sort());
"""


def test_a_list_that_is_empty_or_much_shorter_unassigns_nothing(
    example: Stack, simulator: Simulator
) -> None:
    (example.folder / "index.ts").write_text(EVERY_VM, "utf-8")
    example.up()
    held = assigned(simulator)
    assert len(held) == 21
    simulator.behavior = replace(simulator.behavior, vm_list="none")
    simulator.calls.clear()
    said = example.up(fails=True)
    assert_says(said, "The server lists no virtual machines at all.")
    simulator.behavior = replace(simulator.behavior, vm_list="all")
    example.config({"vmbackup-typescript:wanted": '["SQL01"]'})
    said = example.up(fails=True)
    assert "The set site would un-assign 18 of its 21 pairs in this update: those of" in said
    assert pairs(simulator, "DELETE") == []
    assert assigned(simulator) == held
    example.config({"vmbackup:allowMassRemoval": "true"})
    example.up()
    assert example.outputs() == {"labels": ["SQL01"]}


OPTIONS = f"""\
import * as pulumi from "@pulumi/pulumi";
import * as vmbackup from "pulumi-vmbackup";

const step = new pulumi.Config().requireNumber("step");
const sql01 = vmbackup.getVirtualMachineOutput({{ name: "SQL01" }}).ref;
const dc01 = {{ vmRef: "{DC01}", backupLocationId: "{DISK_E}" }};
new vmbackup.VmBackupLocationAssignment("dc01", dc01, {{ import: "{DC01}/{DISK_E}" }});
if (step === 1) {{
    const first = new vmbackup.VmBackupLocationAssignment(
        "first", {{ vmRef: sql01, backupLocationId: "{OFFSITE01}" }},
    );
    // That the VM is looked up depends on a resource, by an argument.
    const name = pulumi.interpolate`NEW-${{first.kind}}`;
    const late = vmbackup.getVirtualMachineOutput({{ name }});
    new vmbackup.VmBackupLocationAssignment(
        "late", {{ vmRef: late.ref, backupLocationId: "{OFFSITE01}" }},
    );
}} else if (step === 2) {{
    pulumi.runtime.registerStackTransformation(({{ type, props, opts }}) =>
        type.startsWith("vmbackup:") && props.backupLocationId === "{NAS01}"
            ? {{ props: {{ ...props, backupLocationId: "{ROTATING}" }}, opts }}
            : undefined,
    );
    const ignoreChanges = ["backupLocationId"];
    new vmbackup.VmBackupLocationAssignment(
        "renamed",
        {{ vmRef: sql01, backupLocationId: "{DISK_E}" }},
        {{ aliases: [{{ name: "first" }}], ignoreChanges, retainOnDelete: true }},
    );
    new vmbackup.VmBackupLocationAssignment(
        "late", {{ vmRef: "{FILE01}", backupLocationId: "{NAS01}" }}, {{ retainOnDelete: true }},
    );
}} else if (step === 3) {{
    vmbackup.VmBackupLocationAssignment.get("gone", "{EXCH01}/{NAS01}");
}} else if (step === 4) {{
    const backupLocationIds = {{ nas: "{NAS01}" }};
    new vmbackup.VmBackupLocationAssignmentSet("site", {{
        assignments: {{ EXCH01: {{ vmRef: "{EXCH01}", backupLocationIds }} }},
        exclusive: true,
    }});
    new vmbackup.VmBackupLocationAssignment(
        "exch01", {{ vmRef: "{EXCH01}", backupLocationId: "{OFFSITE01}" }},
    );
}}
"""


def test_options_of_resources_and_a_lookup_that_asks_again(
    example: Stack, simulator: Simulator
) -> None:
    def step(number: int) -> None:
        example.config({"vmbackup-typescript:step": str(number)})
        simulator.calls.clear()

    (example.folder / "index.ts").write_text(OPTIONS, "utf-8")
    step(1)
    hold = Fault("hold", "POST /vms/backuplocations")
    simulator.faults.append(hold)
    with example.start_up() as run:
        run.until(met(hold))
        vm = dict(simulator.inventory.virtual_machines[SQL01])
        vm |= {"VirtualMachineName": "NEW-offsite", "AltaroVirtualMachineRef": NEW01}
        simulator.inventory.virtual_machines[NEW01] = vm
        simulator.faults.remove(hold)
        assert "= 1 imported" in run.end()
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}", f"{NEW01}/{OFFSITE01}"}

    step(2)
    example.up()
    assert pairs(simulator, "POST") == [f"{FILE01}/{ROTATING}"]
    assert pairs(simulator, "DELETE") == [f"{NEW01}/{OFFSITE01}"]
    outputs = example.resources()["renamed"]["outputs"]
    assert outputs["backupLocationId"] == OFFSITE01
    assert (outputs["locationPath"], outputs["kind"]) == (r"\\OFFSITE01\VMBackups", "offsite")
    assert example.resources()["late"]["outputs"]["locationPath"] == "Rotating disks"

    step(3)
    preview = example.pulumi("preview", fails=True)
    assert f"resource '{EXCH01}/{NAS01}' does not exist" in preview
    step(4)
    preview = example.pulumi("preview", fails=True)
    assert "AssignmentSet::site is exclusive and lists VM" in preview
    assert "Assignment::exch01 assigns the VM to it: give the location to the set" in preview
    assert pairs(simulator, "POST") == []

    step(5)
    example.up()
    assert list(example.ids()) == ["dc01"]
    assert pairs(simulator, "DELETE") == []  # both are retained
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}", f"{FILE01}/{ROTATING}"}


def test_the_compiler_takes_the_programs_and_finds_a_misspelt_argument(example: Stack) -> None:
    index = (example.folder / "index.ts").read_text("utf-8")
    (block,) = re.findall(r"^```typescript\n(.+?)^```$", README, re.M | re.S)
    (of_registry,) = re.findall(r"^```typescript\n(.+?)^```$", REGISTRY, re.M | re.S)
    programs = {
        "index.ts": index,
        "readme.ts": index.replace("file01", "other") + block,
        "registry.ts": of_registry,
        "with_a_provider.ts": WITH_A_PROVIDER,
        "waits_and_reads.ts": WAITS_AND_READS,
        "servers.ts": SERVERS,
        "connections.ts": CONNECTIONS,
        "every_vm.ts": EVERY_VM,
        "options.ts": OPTIONS,
        "misspelt.ts": replaced(index, "vmRef: exch01.ref", "vmref: exch01.ref"),
    }
    for name, text in programs.items():
        (example.folder / name).write_text(text, "utf-8")
    project = {
        "extends": "./tsconfig.json",
        "files": list(programs),
        "compilerOptions": {"skipLibCheck": True},  # which are Pulumi's and Node's
    }
    (example.folder / "tsconfig.all.json").write_text(json.dumps(project))
    done = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", "--project", "tsconfig.all.json"],
        cwd=example.folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    complaints = re.findall(r"^(\S+?)\(\d.*$", done.stdout, re.M)
    assert complaints == ["misspelt.ts"], done.stdout + done.stderr
    assert "'vmref' does not exist in type" in done.stdout


def test_the_commands_of_its_readme_are_those_that_are_run_for_yaml() -> None:
    of_yaml = (EXAMPLE.parent / "yaml" / "README.md").read_text("utf-8")
    sdks, npm, *commands = re.findall(r"^\$ (.+)$", README, re.M)
    assert (sdks, npm) == ("make -C ../.. sdks", "npm ci")
    assert commands == re.findall(r"^\$ (.+)$", of_yaml, re.M)
    assert f"Node.js {'.'.join(map(str, OLDEST))} or later" in README
    package = json.loads((EXAMPLE / "package.json").read_text("utf-8"))
    assert package["engines"] == {"node": f">={'.'.join(map(str, OLDEST))}"}


def test_the_lock_file_names_no_registry_but_npms_own() -> None:
    lock = json.loads((EXAMPLE / "package-lock.json").read_text("utf-8"))
    for name, package in lock["packages"].items():
        if name == "node_modules/pulumi-vmbackup":
            assert package["resolved"] == "file:../../sdk/nodejs/bin"
        elif name:
            assert package["integrity"].startswith("sha512-"), name
            url = package.get("resolved", "https://registry.npmjs.org/")
            assert url.startswith("https://registry.npmjs.org/"), name
