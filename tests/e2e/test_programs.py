"""What programs in Python do beside plain assignments: options, outputs, transforms, reading."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from e2e.stack import ENCRYPTED, MakeStack, Stack, has_ended, met, pairs, wait_until
from http_servers import serving
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, NOWHERE, OFFSITE01, PASSWORD, SQL01, SQL02

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator, serve

NEW01 = "5d9a2b4e-0c1f-4f5e-9d57-6f6a6c2f7d11"


@pytest.fixture
def hypervisor(simulator: Simulator) -> Iterator[str]:
    """The URL of something that makes the VM NEW01 on a POST."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:  # the library's name
            vm = dict(simulator.inventory.virtual_machines[SQL01])
            vm |= {"VirtualMachineName": "NEW01", "AltaroVirtualMachineRef": NEW01}
            simulator.inventory.virtual_machines[NEW01] = vm
            self.send_response(200)
            self.end_headers()

    with serving(Handler) as host:
        yield f"http://{host}"


MAKES_A_VM = """\
import os
import time
import urllib.request

import pulumi
from pulumi import dynamic

from pulumi_vmbackup import (
    VmBackupLocationAssignment,
    get_virtual_machine,
    get_virtual_machine_output,
    get_virtual_machines_output,
)


class VmProvider(dynamic.ResourceProvider):
    def create(self, props):
        time.sleep(0.5)
        urllib.request.urlopen(os.environ["HYPERVISOR"], data=b"")
        return dynamic.CreateResult("new01", {"name": props["name"]})


class Vm(dynamic.Resource):
    name: pulumi.Output[str]

    def __init__(self, name, opts=None):
        super().__init__(VmProvider(), name, {"name": name}, opts)


class Site(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("test:index:Site", "site")
        self.vm = Vm("NEW01", pulumi.ResourceOptions(parent=self))
        self.register_outputs({})


get_virtual_machine(name="SQL01")  # which asks for the list
site = Site()
"""
WAYS_TO_WAIT = {
    "a component": 'name="new01", opts=pulumi.InvokeOutputOptions(depends_on=[site])',
    "an output": 'name="new01", opts=pulumi.InvokeOutputOptions(depends_on=site.vm.id.apply('
    "lambda _: [site.vm]))",
    "its argument": "name=site.vm.name",
}


@pytest.mark.parametrize("way", WAYS_TO_WAIT)
def test_a_lookup_waits_for_the_resource_that_makes_its_vm(
    way: str, make_stack: MakeStack, simulator: Simulator, hypervisor: str
) -> None:
    stack = make_stack(HYPERVISOR=hypervisor)
    stack.program(
        f"""{MAKES_A_VM}
vm = get_virtual_machine_output({WAYS_TO_WAIT[way]})
VmBackupLocationAssignment("a", vm_ref=vm, backup_location_id="{OFFSITE01}")
pulumi.export("host", vm.host)
all_vms = get_virtual_machines_output(opts=pulumi.InvokeOutputOptions(depends_on=[site]))
pulumi.export("vms", all_vms.apply(len))
"""
    )
    assert "host: [unknown]" in stack.pulumi("preview", "--diff")
    assert pairs(simulator, "POST") == []
    stack.up()
    assert simulator.inventory.locations_of(NEW01) == [OFFSITE01]
    assert stack.outputs() == {"host": "HV-01", "vms": 9}
    # The look-up, and so what needs it, depends on the VM.
    (assignment,) = stack.resources().values()
    assert any(each.endswith("::NEW01") for each in assignment["dependencies"])
    stack.pulumi("preview", "--expect-no-changes")


def test_twenty_lookups_after_twenty_assignments_share_one_session(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_session="refuse")
    stack.program(
        """
import pulumi

from pulumi_vmbackup import (
    VmBackupLocationAssignment,
    get_backup_locations,
    get_backup_locations_output,
    get_virtual_machines,
)

refs = [vm.ref for vm in get_virtual_machines(configured=True)][:5]
paths = []
for ref in refs:
    for location in get_backup_locations():
        made = VmBackupLocationAssignment(
            f"{ref}-{location.id}", vm_ref=ref, backup_location_id=location.id
        )
        found = get_backup_locations_output(vm_ref=made.vm_ref)
        paths.append(found.apply(lambda found: [each.path for each in found]))
pulumi.export("paths", paths)
"""
    )
    stack.up()
    assert len(stack.ids()) == 20
    assert len(stack.outputs()["paths"]) == 20
    # That of the first look-ups, that of the assignments, and that of the other look-ups.
    assert len(simulator.tokens) == 3
    assert not simulator.sessions


@pytest.mark.parametrize("surface", ["pulumi_vmbackup", "pulumi_vmbackup.plugin"])
def test_a_resource_that_fails_leaves_no_session_of_the_lookups_open(
    surface: str, stack: Stack, simulator: Simulator
) -> None:
    stack.program(
        f"""
from {surface} import VmBackupLocationAssignment
from pulumi_vmbackup import get_virtual_machine_output

vm = get_virtual_machine_output(name="SQL01")
VmBackupLocationAssignment("a", vm_ref=vm, backup_location_id="x")
"""
    )
    assert "'x' is not a GUID" in stack.pulumi("preview", fails=True)
    assert len(simulator.tokens) == 1
    assert not simulator.sessions


@pytest.mark.parametrize("lookup", ["get_backup_locations", "get_backup_locations_output"])
def test_a_lookup_that_fails_is_a_sentence_and_leaves_no_session_open(
    lookup: str, stack: Stack, simulator: Simulator
) -> None:
    stack.program(
        f"""
from pulumi_vmbackup import {lookup}, get_virtual_machine

get_virtual_machine(name="SQL01")
{lookup}(vm_ref="{NOWHERE}")
"""
    )
    output = stack.up(fails=True)
    assert f"error: Could not list the backup locations of VM {NOWHERE}: " in output
    assert "Traceback" not in output
    assert not simulator.sessions


# Names in the state


NAMED = """\
import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment, get_backup_location, get_virtual_machine

vm = get_virtual_machine(name="SQL01")
location = get_backup_location(path={path!r})
made = VmBackupLocationAssignment("{name}", vm_ref=vm, backup_location_id=location, opts={opts})
pulumi.export("names", [made.backup_location_id, made.location_path, made.kind, made.vm_name])
"""
ON_NAS01 = [NAS01, r"\\NAS01\VMBackups", "primary", "SQL01"]


def names_in_state(stack: Stack) -> list[list[str]]:
    keys = ("backup_location_id", "location_path", "kind", "vm_name")
    (assignment,) = stack.resources().values()
    assert not {"__vm_name_of", "__location_names_of"} & {
        *assignment["inputs"],
        *assignment["outputs"],
    }
    return [[assignment[part].get(key) for key in keys] for part in ("inputs", "outputs")]


def test_names_in_the_state_are_those_of_the_id_that_a_program_keeps(stack: Stack) -> None:
    ignores = 'pulumi.ResourceOptions(ignore_changes=["backup_location_id"])'
    stack.program(NAMED.format(name="a", path=ON_NAS01[1], opts="None"))
    stack.up()
    stack.program(NAMED.format(name="a", path="Rotating disks", opts=ignores))
    stack.up("--expect-no-changes")
    assert names_in_state(stack) == [ON_NAS01, ON_NAS01]
    renamed = f'pulumi.ResourceOptions.merge({ignores}, pulumi.ResourceOptions(aliases=["a"]))'
    renamed = renamed.replace('aliases=["a"]', 'aliases=[pulumi.Alias(name="a")]')
    stack.program(NAMED.format(name="b", path="Rotating disks", opts=renamed))
    stack.up()
    assert stack.ids() == {"b": f"{SQL01}/{NAS01}"}
    assert names_in_state(stack) == [ON_NAS01, ON_NAS01]


TRANSFORMS = f"""\
import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment


def to_nas01(args):
    if "VmBackup" not in args.type_:
        return None
    return RESULT({{**args.props, "backup_location_id": "{NAS01}"}}, args.opts)


"""


@pytest.mark.parametrize(
    ("register", "result"),
    [
        ("register_stack_transformation", "ResourceTransformationResult"),
        ("register_resource_transform", "ResourceTransformResult"),
    ],
)
def test_names_in_the_state_are_those_of_the_id_that_a_transform_gives(
    register: str, result: str, stack: Stack, simulator: Simulator
) -> None:
    transform = TRANSFORMS.replace("RESULT", f"pulumi.{result}")
    transform += f"pulumi.runtime.{register}(to_nas01)\n"
    stack.program(transform + NAMED.format(name="a", path="Rotating disks", opts="None"))
    preview = stack.pulumi("preview", "--diff")
    assert re.search(r'vm_name +: "SQL01"', preview)
    assert "location_path" not in preview
    assert "Rotating disks" not in preview
    stack.up()
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert names_in_state(stack) == [[NAS01, None, None, "SQL01"], ON_NAS01]
    stack.pulumi("preview", "--expect-no-changes")


# Imports and reading


def test_an_import_of_a_dynamic_resource_is_an_error_that_is_one_sentence(stack: Stack) -> None:
    opts = f'pulumi.ResourceOptions(import_="{SQL01}/{NAS01}")'
    stack.program(NAMED.format(name="a", path=ON_NAS01[1], opts=opts))
    output = stack.up(fails=True)
    assert "error: Pulumi cannot import a dynamic resource: leave out the option import_" in output
    assert "Traceback" not in output
    assert "KeyError" not in output


READS = f"""\
import pulumi

from pulumi_vmbackup.plugin import VmBackupLocationAssignment, VmBackupLocationAssignmentSet

one = VmBackupLocationAssignment.get("one", "{DC01}/{DISK_E}")
some = VmBackupLocationAssignmentSet.get("some", id="{DC01.upper()},{SQL01}")
pulumi.export("one", [one.vm_name, one.location_path, one.kind, one.assigned_at, one.vm_ref])
pulumi.export("some", [some.assignments, some.exclusive, some.other_assignments])
"""


def test_what_exists_is_read_with_the_plugin(stack: Stack, simulator: Simulator) -> None:
    stack.program(READS)
    stack.up()
    assert stack.outputs() == {
        "one": ["DC01", r"E:\VMBackups", "primary", None, DC01],
        "some": [
            {
                "DC01": {"vmRef": DC01, "backupLocationIds": {r"E:\VMBackups": DISK_E}},
                "SQL01": {"vmRef": SQL01, "backupLocationIds": {}},
            },
            False,
            None,
        ],
    }
    stack.program(READS.replace(DISK_E, NAS01) + "# which does not exist\n")
    output = stack.pulumi("preview", fails=True)
    assert f"resource '{DC01}/{NAS01}' does not exist" in output
    stack.destroy()
    assert pairs(simulator, "POST") == pairs(simulator, "DELETE") == []


# Sets and providers


def test_a_set_takes_outputs_as_keys(stack: Stack, simulator: Simulator) -> None:
    stack.program(
        f"""
from pulumi_vmbackup import get_backup_location_output, get_virtual_machine_output
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

offsite = get_backup_location_output(id="{OFFSITE01}")
vms = [get_virtual_machine_output(name=name) for name in ("SQL01", "FILE01")]
assignments = {{vms[0]: [offsite], vms[1]: [offsite, "{NAS01}"], "{EXCH01}": ["{NAS01}"]}}
VmBackupLocationAssignmentSet("set", assignments=assignments)
"""
    )
    assert re.search(r"FILE01 *: {\s+backupLocationIds: {", stack.pulumi("preview", "--diff"))
    stack.up()
    assert {ref: simulator.inventory.locations_of(ref) for ref in (SQL01, FILE01, EXCH01)} == {
        SQL01: [OFFSITE01],
        FILE01: [NAS01, OFFSITE01],
        EXCH01: [NAS01],
    }
    stack.program((stack.folder / "__main__.py").read_text("utf-8").replace('"FILE01"', '"sql01"'))
    assert "The VM SQL01 is given twice: give all its locations at" in stack.up(fails=True)


TWO_SERVERS = """\
import pulumi

from pulumi_vmbackup import get_virtual_machine_output
from pulumi_vmbackup.plugin import Provider, VmBackupLocationAssignment

config = pulumi.Config("b")
site_b = Provider(
    "site-b",
    base_url={address},
    username="Administrator",
    password=config.require_secret("password"),
)
at_b = pulumi.InvokeOptions(provider=site_b)
at_a = None


class Site(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("test:index:Site", "b", {{}}, pulumi.ResourceOptions(providers=[site_b]))


below = pulumi.InvokeOptions(parent=Site())
vm = get_virtual_machine_output(name="SQL01", opts={of_vm})
VmBackupLocationAssignment(
    "a",
    vm_ref=vm,
    backup_location_id="{location}",
    opts=pulumi.ResourceOptions(provider=site_b),
)
pulumi.export("vm", vm.name)
"""


@pytest.mark.parametrize("address", ["plain", "output"])
def test_a_lookup_with_a_provider_is_of_its_server(
    address: str, make_stack: MakeStack, simulator: Simulator, base_url: str
) -> None:
    site_b = Simulator(password=PASSWORD)
    del site_b.inventory.virtual_machines[SQL02]
    with serve(site_b) as url:
        stack = make_stack()
        stack.config({"b:password": ENCRYPTED, "b:url": url})
        given = repr(url) if address == "plain" else 'config.require("url")'
        if address == "output":
            given = f"pulumi.Output.from_input({given})"
        for of_vm in ("at_b", "below"):
            stack.program(TWO_SERVERS.format(address=given, of_vm=of_vm, location=OFFSITE01))
            stack.up()
        assert stack.outputs()["vm"] == "SQL01"  # no secret, though the password is one
        assert site_b.inventory.locations_of(SQL01) == [OFFSITE01]
        assert simulator.calls == []

        stack.program(TWO_SERVERS.format(address=given, of_vm="at_a", location=NAS01))
        output = stack.up(fails=True)
        hosts = [each.split("/")[2].replace("127.0.0.1", "localhost") for each in (base_url, url)]
        assert f"vm_ref was looked up on {hosts[0]}, but it is used with {hosts[1]}: give" in output
        assert site_b.inventory.locations_of(SQL01) == [OFFSITE01]


def test_a_program_that_is_interrupted_while_it_looks_up_ends_at_once(
    stack: Stack, simulator: Simulator
) -> None:
    stall = Fault("stall", "GET /vms/backuplocations", times=None)
    simulator.faults = [stall]
    lookups = f"""
from pulumi_vmbackup import get_backup_locations_output

for _ in range(30):
    get_backup_locations_output(vm_ref="{SQL01}")
"""
    stack.program(lookups)
    with stack.start_up() as run:
        run.until(met(stall, 4))
        processes = run.processes()
        run.interrupt(group=True)
        started = time.monotonic()
        run.end(fails=True)
        wait_until(lambda: all(map(has_ended, processes)))
    assert time.monotonic() - started < 20
    assert stall.hits == 4
