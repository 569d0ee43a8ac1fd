"""plugin/resources.py: what programs in Python give the plugin, and what they get back."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pulumi
import pytest
from programs import Recorder, SetConfig, run_program
from pulumi.output import Unknown
from pulumi.runtime.mocks import MockResourceArgs
from sample import DC01, DISK_E, NAS01, OFFSITE01, SQL01, SQL02, TEST01

from pulumi_vmbackup import (
    ArgumentError,
    BackupLocation,
    ProgramError,
    VirtualMachine,
    VmBackupError,
)
from pulumi_vmbackup.plugin import (
    Provider,
    VmBackupLocationAssignment,
    VmBackupLocationAssignmentSet,
)
from pulumi_vmbackup.settings import SECRET_SETTINGS, SETTINGS

VM = VirtualMachine(SQL01, "SQL01", host="HV-01", configured=True)
TWIN = VirtualMachine(SQL02, "SQL01", host="HV-02", configured=True)
UNCONFIGURED = VirtualMachine(TEST01, "TEST01", host="HV-01", configured=False)
NAS = BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary")
OFFSITE = BackupLocation(OFFSITE01, r"\\OFFSITE01\VMBackups", "offsite")


class Server(Recorder):
    """An engine whose plugin has assigned what it was given."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        super().new_resource(args)
        told = {"vmName": "SQL01", "locationPath": "x", "kind": "primary", "assignedAt": "now"}
        return f"{args.name}-id", {**args.inputs, **told}


@pytest.fixture
def server(recorder: Recorder) -> Iterator[Server]:
    server = Server()
    pulumi.runtime.mocks.set_mocks(server)
    yield server
    assert not recorder.registered


def known(*outputs: pulumi.Output[Any]) -> list[Any]:
    found: list[Any] = []
    pulumi.Output.all(*outputs).apply(found.extend)
    return found


def as_output(value: Any) -> Any:
    return pulumi.Output.from_input(None).apply(lambda _: value)


async def later(value: Any) -> Any:
    return value


@pytest.mark.parametrize("wrap", [lambda value: value, as_output], ids=["plain", "output"])
@pytest.mark.parametrize(("vm", "location"), [(VM, NAS), (SQL01, NAS01)], ids=["object", "id"])
def test_an_assignment_takes_objects_and_ids_and_gives_the_outputs(
    wrap: Any, vm: Any, location: Any, server: Server
) -> None:
    found: list[list[Any]] = []

    def program() -> None:
        made = VmBackupLocationAssignment("it", vm_ref=wrap(vm), backup_location_id=wrap(location))
        outputs = (made.vm_ref, made.backup_location_id, made.vm_name, made.location_path)
        found.append(known(*outputs, made.kind, made.assigned_at))

    run_program(program)
    (registered,) = server.registered
    assert registered.typ == "vmbackup:index:VmBackupLocationAssignment"
    assert registered.inputs == {"vmRef": SQL01, "backupLocationId": NAS01}
    assert found == [[SQL01, NAS01, "SQL01", "x", "primary", "now"]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"vm_ref": NAS}, "vm_ref is a BackupLocation: are two arguments swapped?"),
        (
            {"backup_location_id": VM},
            "backup_location_id is a VirtualMachine: are two arguments swapped?",
        ),
        ({"vm_ref": UNCONFIGURED}, "The VM 'TEST01' on host HV-01 is not configured in VM Backup"),
    ],
    ids=["location", "VM", "not configured"],
)
@pytest.mark.usefixtures("server")
def test_an_object_that_does_not_fit_is_a_sentence(arguments: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"vm_ref": SQL01, "backup_location_id": NAS01, **arguments}
    with pytest.raises(ArgumentError) as raised:
        run_program(lambda: VmBackupLocationAssignment("it", **given))
    assert str(raised.value).startswith(says)
    assert isinstance(raised.value, ProgramError)
    outputs = {key: as_output(each) for key, each in given.items()}
    with pytest.raises(ValueError, match=re.escape(says)):  # Pulumi wraps what an apply raises
        run_program(lambda: VmBackupLocationAssignment("it", **outputs))


LABELLED = {
    "SQL01 (HV-01)": {
        "vmRef": SQL01,
        "host": "HV-01",
        "backupLocationIds": {r"\\NAS01\VMBackups": NAS01, OFFSITE01: OFFSITE01},
    },
    "SQL01 (HV-02)": {
        "vmRef": SQL02,
        "host": "HV-02",
        "backupLocationIds": {r"\\NAS01\VMBackups": NAS01},
    },
    DC01: {"vmRef": DC01, "backupLocationIds": {DISK_E: DISK_E}},
}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda given: given,
        as_output,
        lambda given: {vm: as_output(locations) for vm, locations in given.items()},
        lambda given: {vm: [*map(as_output, locations)] for vm, locations in given.items()},
        lambda given: {vm: iter(locations) for vm, locations in given.items()},
    ],
    ids=["plain", "output", "output of lists", "list of outputs", "iterators"],
)
def test_a_set_is_labelled_with_what_people_call_its_vms_and_locations(
    wrap: Any, server: Server
) -> None:
    found: list[list[Any]] = []

    def program() -> None:
        given = {VM: [NAS, OFFSITE01], TWIN: [NAS], f"{{{DC01.upper()}}}": [DISK_E]}
        made = VmBackupLocationAssignmentSet("it", assignments=wrap(given), exclusive=True)
        found.append(known(made.assignments, made.exclusive, made.assigned_at))

    run_program(program)
    (registered,) = server.registered
    assert registered.typ == "vmbackup:index:VmBackupLocationAssignmentSet"
    assert registered.inputs == {"assignments": LABELLED, "exclusive": True}
    assert found == [[LABELLED, True, "now"]]


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        ({VM: [NAS], SQL01.upper(): [OFFSITE]}, "The VM SQL01 is given twice: give all its"),
        ({SQL01: [NAS], f"{{{SQL01}}}": [NAS]}, f"The VM {SQL01} is given twice"),
        ({VM: NAS}, "The VM SQL01 is given BackupLocation("),
        ({VM: NAS01}, f"The VM SQL01 is given '{NAS01}': give a list of locations."),
        ({VM: [[NAS01]]}, f"The VM SQL01 is given the location ['{NAS01}']: give a location or"),
        ({VM: [None]}, "The VM SQL01 is given the location None: give a location or its id."),
        ({5: [NAS]}, "5 is not a GUID"),
        ([VM], "assignments is [VirtualMachine("),
        ({NAS: [VM]}, "vm_ref is a BackupLocation: are two arguments swapped?"),
        ({VM: [VM]}, "backup_location_id is a VirtualMachine: are two arguments swapped?"),
        ({UNCONFIGURED: [NAS]}, "The VM 'TEST01' on host HV-01 is not configured"),
        ({"SQL01": [NAS]}, "'SQL01' is not a GUID"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("server")
def test_a_set_of_something_else_is_a_sentence(assignments: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        run_program(lambda: VmBackupLocationAssignmentSet("it", assignments=assignments))
    assert str(raised.value).startswith(says)
    assert isinstance(raised.value, ProgramError)


def test_a_provider_has_an_argument_for_each_setting_and_keeps_secrets(server: Server) -> None:
    arguments = [*inspect.signature(Provider).parameters][1:-1]
    camel = {_camel(name): name for name in arguments}
    assert camel.keys() == {*SETTINGS}
    secrets: list[bool] = []

    def program() -> None:
        given: dict[str, Any] = {name: f"the {key}" for key, name in camel.items()}
        provider = Provider("site-b", **given)
        VmBackupLocationAssignment(
            "it",
            vm_ref=SQL01,
            backup_location_id=NAS01,
            opts=pulumi.ResourceOptions(provider=provider),
        )

    run_program(program)
    provider, assignment = server.registered
    assert provider.typ == "pulumi:providers:vmbackup"
    for key in SETTINGS:
        value = provider.inputs[key]
        is_secret = isinstance(value, dict)
        secrets.append(is_secret)
        assert (value["value"] if is_secret else value) == f"the {key}"
        assert is_secret is (key in SECRET_SETTINGS)
    assert "site-b" in str(assignment.provider)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


# Servers


A, B = "http://localhost:36013/api/rest", "https://127.0.0.1:26013/api/rest"
VM_OF_B = replace(VM, server="localhost:26013", connection="site-b")
NAS_OF_B = replace(NAS, server="localhost:26013")


def provider(name: str = "b", address: Any = B) -> Provider:
    password = pulumi.Output.secret("Pa55")
    return Provider(name, base_url=address, username="x", password=password)


class Site(pulumi.ComponentResource):
    def __init__(self, name: str, **options: Any) -> None:
        super().__init__("test:index:Site", name, None, pulumi.ResourceOptions(**options))


def by_transformation() -> pulumi.ResourceOptions:
    chosen = provider()

    def change(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        opts = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(provider=chosen))
        return pulumi.ResourceTransformationResult(args.props, opts)

    return pulumi.ResourceOptions(transformations=[change])


WAYS_TO_B: dict[str, Any] = {
    "provider": lambda: pulumi.ResourceOptions(provider=provider()),
    "providers": lambda: pulumi.ResourceOptions(providers=[provider()]),
    "providers by name": lambda: pulumi.ResourceOptions(providers={"vmbackup": provider()}),
    "parent": lambda: pulumi.ResourceOptions(parent=Site("site", providers=[provider()])),
    "output": lambda: pulumi.ResourceOptions(provider=provider(address=as_output(B))),
    "transformation": by_transformation,
}


def declare(vm: Any, location: Any, make_options: Any, as_set: bool) -> Any:
    opts = make_options()
    if as_set:
        return VmBackupLocationAssignmentSet("it", assignments={vm: [location]}, opts=opts)
    return VmBackupLocationAssignment("it", vm_ref=vm, backup_location_id=location, opts=opts)


def registered_names(server: Server) -> list[str]:
    return [each.name for each in server.registered]


@pytest.mark.parametrize("as_set", [False, True], ids=["single", "set"])
@pytest.mark.parametrize("way", WAYS_TO_B)
def test_objects_fit_the_server_of_their_resource_alone(
    way: str, as_set: bool, server: Server, set_config: SetConfig
) -> None:
    set_config(baseUrl=A)
    run_program(lambda: declare(VM_OF_B, NAS_OF_B, WAYS_TO_B[way], as_set) and None)
    assert server.registered[-1].name == "it"
    server.registered.clear()
    for vm, location, key in (
        (replace(VM, server="localhost:36013"), NAS_OF_B, "vm_ref"),
        (VM_OF_B, replace(NAS, server="localhost:36013"), "backup_location_id"),
    ):
        says = (
            f"{key} was looked up on localhost:36013, but it is used with localhost:26013: give "
            "the resource the connection or the provider of that server."
        )
        # Pulumi wraps what an apply raises.
        with pytest.raises(ValueError, match=says):
            run_program(lambda: declare(vm, location, WAYS_TO_B[way], as_set) and None)  # noqa: B023
        given: list[Any] = [as_output(vm), as_output(location)]
        with pytest.raises(ValueError, match=says):
            run_program(lambda: declare(given[0], given[1], WAYS_TO_B[way], as_set) and None)  # noqa: B023
    assert "it" not in registered_names(server)


@pytest.mark.parametrize("as_set", [False, True], ids=["single", "set"])
def test_objects_of_another_server_do_not_fit_the_default_provider(
    as_set: bool, server: Server, set_config: SetConfig
) -> None:
    set_config(baseUrl=A)
    with pytest.raises(ArgumentError) as raised:
        run_program(lambda: declare(VM, NAS_OF_B, lambda: None, as_set))
    assert str(raised.value) == (
        "backup_location_id was looked up on localhost:26013, but it is used with "
        "localhost:36013: give the resource the connection or the provider of that server."
    )
    assert isinstance(raised.value, ProgramError)
    assert not server.registered
    set_config(baseUrl=B)
    run_program(lambda: declare(VM_OF_B, NAS_OF_B, lambda: None, as_set) and None)
    assert registered_names(server) == ["it"]


def over(connection: Any, vm: Any, location: Any, as_set: bool, **options: Any) -> Any:
    opts = pulumi.ResourceOptions(**options)
    if as_set:
        return VmBackupLocationAssignmentSet(
            "it", assignments={vm: [location]}, connection=connection, opts=opts
        )
    return VmBackupLocationAssignment(
        "it", vm_ref=vm, backup_location_id=location, connection=connection, opts=opts
    )


@pytest.mark.parametrize("as_set", [False, True], ids=["single", "set"])
def test_a_resource_has_the_server_of_its_connection(
    as_set: bool, server: Server, set_config: SetConfig
) -> None:
    set_config(baseUrl=A, connections=json.dumps({"site-b": {"baseUrl": B}}))
    found: list[list[Any]] = []

    def program() -> None:
        found.append(known(over("site-b", VM_OF_B, NAS_OF_B, as_set).connection))

    run_program(program)
    assert server.registered[-1].inputs["connection"] == "site-b"
    assert found == [["site-b"]]
    server.registered.clear()
    other = replace(VM, server="localhost:36013")
    for connection, vm, provider_of, says in (
        ("site-b", other, None, "vm_ref was looked up on localhost:36013, but it is used with "),
        ("site-c", VM_OF_B, None, "There is no connection 'site-c' in vmbackup:connections"),
        (5, VM_OF_B, None, "connection of VmBackupLocationAssignment"),
        ("site-b", VM_OF_B, provider, "has a provider and the connection 'site-b': leave out one"),
    ):
        options = {"provider": provider_of()} if provider_of else {}
        with pytest.raises(VmBackupError, match=says):
            run_program(lambda: over(connection, vm, NAS_OF_B, as_set, **options))  # noqa: B023
    assert "it" not in registered_names(server)


@pytest.mark.parametrize("as_set", [False, True], ids=["single", "set"])
def test_a_provider_of_another_class_is_not_compared(as_set: bool, server: Server) -> None:
    def options() -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(provider=pulumi.ProviderResource("vmbackup", "generated", {}))

    run_program(lambda: declare(VM_OF_B, NAS_OF_B, options, as_set) and None)
    assert registered_names(server) == ["generated", "it"]


@pytest.mark.parametrize("as_set", [False, True], ids=["single", "set"])
def test_the_ids_are_known_where_the_address_of_the_provider_is_not(
    as_set: bool, server: Server
) -> None:
    pulumi.runtime.mocks.set_mocks(server, preview=True)

    def options() -> pulumi.ResourceOptions:
        unknown = pulumi.Output.from_input(Unknown())  # type: ignore[no-untyped-call]
        return pulumi.ResourceOptions(provider=provider(address=unknown))

    run_program(lambda: declare(VM_OF_B, NAS_OF_B, options, as_set) and None)
    inputs = server.registered[-1].inputs
    if as_set:
        inputs = inputs["assignments"]["SQL01"]
        assert inputs["backupLocationIds"] == {NAS.path: NAS01}
    else:
        assert inputs["backupLocationId"] == NAS01
    assert inputs["vmRef"] == SQL01


@pytest.mark.parametrize("wrap", [as_output, later])
def test_vms_of_a_set_may_be_outputs_and_two_of_the_same_are_an_error(
    wrap: Any, server: Server
) -> None:
    run_program(
        lambda: (
            VmBackupLocationAssignmentSet(
                "it", assignments={wrap(VM): [NAS, OFFSITE01], wrap(TWIN): [NAS], DC01: [DISK_E]}
            )
            and None
        )
    )
    assert server.registered[-1].inputs["assignments"] == LABELLED
    for again in (wrap(SQL01), VM, wrap(VM)):
        with pytest.raises(ValueError, match="The VM SQL01 is given twice: give all its locations"):
            run_program(
                lambda: (
                    VmBackupLocationAssignmentSet(
                        "it",
                        assignments=as_output({wrap(VM): [NAS], again: [OFFSITE]}),  # noqa: B023
                    )
                    and None
                )
            )
