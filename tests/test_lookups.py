"""lookups.py: what a program can ask the server for."""

from __future__ import annotations

import inspect
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
import pytest
import responses
from e2e.stack import wait_until
from programs import Recorder, SetConfig, run_program
from pulumi.output import Unknown
from sample import (
    DC01,
    DISK_E,
    EXCH01,
    FILE01,
    NAS01,
    OFFSITE01,
    PASSWORD,
    ROTATING,
    SQL01,
    SQL02,
    TEST01,
)

import pulumi_vmbackup.plugin
from pulumi_vmbackup import (
    ArgumentError,
    BackupLocation,
    LoginError,
    LostAnswerError,
    ProgramError,
    RefusedError,
    SettingsError,
    VirtualMachine,
    get_backup_location,
    get_backup_location_output,
    get_backup_locations,
    get_backup_locations_output,
    get_virtual_machine,
    get_virtual_machine_output,
    get_virtual_machines,
    get_virtual_machines_output,
)
from pulumi_vmbackup.catalog import gather
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.program import end_idle_sessions
from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

TOKEN = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"
UNKNOWN: Any = Unknown()  # type: ignore[no-untyped-call]
PRIMARY = [
    BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary"),
    BackupLocation(DISK_E, r"E:\VMBackups", "primary"),
]
OFFSITE = [
    BackupLocation(OFFSITE01, r"\\OFFSITE01\VMBackups", "offsite"),
    BackupLocation(ROTATING, "Rotating disks", "offsite"),
]


@pytest.fixture(autouse=True)
def account(base_url: str, set_config: SetConfig) -> None:
    set_config("password", baseUrl=base_url, username="Administrator", password=PASSWORD)


def gets(simulator: Simulator) -> list[str]:
    return [
        call.path.removeprefix(simulator.base_path)
        for call in simulator.calls
        if call.method == "GET"
    ]


@pytest.mark.parametrize(
    ("primary", "offsite", "locations"),
    [(True, True, PRIMARY + OFFSITE), (True, False, PRIMARY), (False, True, OFFSITE)],
)
def test_locations_are_listed_by_kind(
    primary: bool, offsite: bool, locations: list[BackupLocation]
) -> None:
    assert get_backup_locations(primary=primary, offsite=offsite) == locations


@pytest.mark.usefixtures("recorder")
def test_any_number_of_lookups_costs_one_session_and_three_gets(simulator: Simulator) -> None:
    for _ in range(25):
        get_virtual_machines()
        get_virtual_machine(name="sql01")
        get_backup_location(path=r"\\OFFSITE01\VMBackups")
        get_backup_locations(primary=False)
    end_idle_sessions()
    assert not simulator.sessions
    assert gets(simulator) == [
        "/vms/list/[token]",
        "/backuplocations/[token]/1/0",
        "/backuplocations/[token]/0/1",
    ]
    assert len(simulator.calls) == 5


@pytest.mark.usefixtures("recorder")
def test_a_refused_list_fails_the_lookups_that_need_it_alone(set_config: SetConfig) -> None:
    set_config("sessionToken", sessionToken=TOKEN)
    with responses.RequestsMock() as api:
        base_url = "http://localhost:36013/api/rest"
        api.get(f"{base_url}/vms/list/{TOKEN}", json={"Success": False, "ErrorMessage": "No list"})
        for flags in ("1/0", "0/1"):
            api.get(
                f"{base_url}/backuplocations/{TOKEN}/{flags}",
                json={
                    "Success": True,
                    "BackupLocations": [{"BackupLocationId": NAS01}] if flags == "1/0" else [],
                },
            )
        assert [each.id for each in get_backup_locations()] == [NAS01]
        for _ in range(2):
            with pytest.raises(RefusedError) as raised:
                get_virtual_machine(name="SQL01")
            assert str(raised.value).startswith("Could not list the virtual machines: ")
            assert str(raised.value).endswith(' "No list".')
            assert raised.value.is_busy is False
            assert raised.value.advice == ()
        assert len(api.calls) == 3


# Virtual machines


@pytest.mark.parametrize(
    ("configured", "names"),
    [
        (True, ["DC01", "SQL01", "SQL02", "FILE01", "EXCH01", "WEB01", "WEB02"]),
        (False, ["TEST01"]),
        (None, ["DC01", "SQL01", "SQL02", "FILE01", "EXCH01", "WEB01", "WEB02", "TEST01"]),
    ],
)
def test_virtual_machines_are_all_or_those_that_are_configured_or_not(
    configured: bool | None, names: list[str]
) -> None:
    assert [vm.name for vm in get_virtual_machines(configured=configured)] == names


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "SQL01"},
        {"name": "sql01", "host": "hv-01"},
        {"ref": f"{{{SQL01.upper()}}}"},
        {"name": "Sql01", "ref": SQL01},
    ],
    ids=str,
)
def test_a_virtual_machine_is_found_by_name_host_or_ref_in_any_case(wanted: dict[str, str]) -> None:
    vm = get_virtual_machine(**wanted)
    assert (vm.ref, vm.name, vm.host, vm.configured) == (SQL01, "SQL01", "HV-01", True)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "A VM is found by its name or its ref: give one of them."),
        ({"host": "HV-01"}, "A VM is found by its name or its ref: give one of them."),
        ({"name": ""}, "name of get_virtual_machine: '' is empty: give text, or leave it out."),
        ({"name": 7}, "name of get_virtual_machine is 7: give text, or leave it out."),
        (
            {"ref": "SQL01"},
            "ref of get_virtual_machine: 'SQL01' is not a GUID; expected 32 hexadecimal digits "
            "like ba2e9cdc-0d85-48e6-8db7-a45c5a40819e, with or without braces.",
        ),
        (
            {"name": "SQL1"},
            "There is no VM with name 'SQL1': did you mean 'SQL01' or 'SQL02'?",
        ),
        (
            {"name": "SQL01", "host": "HV-02"},
            "There is no VM with name 'SQL01', host 'HV-02'; it is on HV-01: correct the host, or "
            "leave it out.",
        ),
        (
            {"ref": NAS01},
            f"There is no VM with ref '{NAS01}' at {{base_url}}, which lists 8: check the name or "
            "ref, whether its host is off, and whether this is the right server.",
        ),
        (
            {"name": "test01"},
            "The VM 'TEST01' on host HV-01 is not configured in VM Backup, so it cannot be "
            "assigned: add it to VM Backup first.",
        ),
    ],
    ids=str,
)
def test_a_virtual_machine_that_cannot_be_assigned_is_a_sentence(
    wanted: dict[str, Any], says: str, base_url: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        get_virtual_machine(**wanted)
    assert str(raised.value) == says.replace("{base_url}", base_url)
    assert isinstance(raised.value, ProgramError)


async def later(value: Any) -> Any:
    return value


FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "get_virtual_machine": (get_virtual_machine, get_virtual_machine_output),
    "get_virtual_machines": (get_virtual_machines, get_virtual_machines_output),
    "get_backup_location": (get_backup_location, get_backup_location_output),
    "get_backup_locations": (get_backup_locations, get_backup_locations_output),
}
ARGUMENTS = [
    (function, argument)
    for function, (plain, _) in FUNCTIONS.items()
    for argument in inspect.signature(plain).parameters
]


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("wrap", [pulumi.Output.from_input, later])
@pytest.mark.parametrize(("function", "argument"), ARGUMENTS)
def test_an_output_or_an_awaitable_is_named_as_such(
    function: str, argument: str, wrap: Any, simulator: Simulator
) -> None:
    what = "an awaitable" if wrap is later else "an Output"
    use = f"use {function}_output"
    if argument == "connection":
        use = "give the name of a connection as text"
    plain, with_outputs = FUNCTIONS[function]
    with pytest.raises(ArgumentError) as raised:
        plain(**{argument: wrap("x")})
    assert str(raised.value) == f"{argument} of {function} is {what}: {use}."
    assert isinstance(raised.value, ProgramError)
    if argument == "connection":
        with pytest.raises(ArgumentError) as raised:
            with_outputs(**{argument: wrap("x")})
        assert str(raised.value) == f"{argument} of {function}_output is {what}: {use}."
    assert not simulator.calls


@pytest.mark.parametrize(
    ("function", "argument", "value", "says"),
    [
        ("get_virtual_machines", "configured", "true", "is 'true': give True or False, or leave"),
        ("get_virtual_machines", "configured", 1, "is 1: give True or False, or leave it out."),
        ("get_virtual_machines", "configured", [True], "is of the type list: give True or False"),
        ("get_backup_locations", "primary", "false", "is 'false': give True or False."),
        ("get_backup_locations", "offsite", None, "is None: give True or False."),
        ("get_backup_locations", "vm_ref", 123, "is 123: give a VM or its ref, or leave it out."),
        ("get_backup_locations", "vm_ref", [DC01], "is of the type list: give a VM or its ref"),
        ("get_virtual_machine", "host", ["HV-01"], "is of the type list: give text, or leave it"),
        ("get_virtual_machine", "ref", b"SQL01", "is of the type bytes: give text"),
        ("get_backup_location", "path", Path("x"), "Path: give text, or leave it out."),
        ("get_backup_location", "id", 1.5, "is 1.5: give text, or leave it out."),
        ("get_backup_location", "kind", False, "is False: give text, or leave it out."),
    ],
)
@pytest.mark.usefixtures("recorder")
def test_an_argument_of_another_type_is_an_error_and_never_finds_nothing(
    function: str, argument: str, value: Any, says: str, simulator: Simulator
) -> None:
    plain, with_outputs = FUNCTIONS[function]
    with pytest.raises(ArgumentError) as raised:
        plain(**{argument: value})
    assert str(raised.value).startswith(f"{argument} of {function} is ")
    assert says in str(raised.value)
    with pytest.raises(ArgumentError) as raised:
        run_program(lambda: with_outputs(**{argument: pulumi.Output.from_input(value)}))
    assert str(raised.value).startswith(f"{argument} of {function}_output is ")
    assert says in str(raised.value)
    assert not simulator.calls


def test_a_location_is_no_vm() -> None:
    location: Any = BackupLocation(NAS01, "x", "primary")
    with pytest.raises(ArgumentError, match="vm_ref is a BackupLocation: are two arguments swap"):
        get_backup_locations(vm_ref=location)


def test_a_vm_of_another_server_is_an_error(
    base_url: str, set_config: SetConfig, simulator: Simulator
) -> None:
    other = {"baseUrl": base_url, "serverAddress": "VMBACKUP02"}
    same = {"baseUrl": base_url, "username": "Administrator", "password": PASSWORD}
    set_config("connections", connections=json.dumps({"site-a": same, "b": same, "other": other}))
    vm = get_virtual_machine(name="DC01", connection="site-a")
    assert get_backup_locations(vm_ref=vm, connection="b") == [PRIMARY[1]]
    simulator.calls.clear()
    address = base_url.split("/")[2].replace("127.0.0.1", "localhost")
    with pytest.raises(ArgumentError) as raised:
        get_backup_locations(vm_ref=vm, connection="other")
    assert str(raised.value) == (
        f"vm_ref of get_backup_locations was looked up on {address} (connection 'site-a'), but it "
        f"is used with {address}/vmbackup02 (connection 'other'): look it up over the same "
        "connection."
    )
    assert not simulator.calls


def test_what_was_looked_up_tells_its_connection(base_url: str, set_config: SetConfig) -> None:
    site = {"baseUrl": base_url, "username": "Administrator", "password": PASSWORD}
    set_config("connections", connections=json.dumps({"site-b": site}))
    assert get_virtual_machine(name="SQL01", connection="site-b").connection == "site-b"
    assert get_backup_location(id=NAS01, connection="site-b").connection == "site-b"
    assert [each.connection for each in get_backup_locations(vm_ref=DC01, connection="site-b")] == [
        "site-b"
    ]


def test_two_virtual_machines_of_one_name_are_told_apart_by_their_hosts(
    simulator: Simulator,
) -> None:
    simulator.inventory.virtual_machines[SQL02]["VirtualMachineName"] = "sql01"
    with pytest.raises(ArgumentError) as raised:
        get_virtual_machine(name="SQL01")
    assert str(raised.value) == (
        f"There are 2 VMs with name 'SQL01': on host HV-01 (ref {SQL01}) and on host HV-02 (ref "
        f"{SQL02}). Add ref, which stays the same when a VM moves, or host."
    )
    assert get_virtual_machine(name="SQL01", host="HV-02").ref == SQL02


# Backup locations


@pytest.mark.parametrize(
    "wanted",
    [
        {"path": r"\\offsite01\vmbackups"},
        {"id": OFFSITE01.upper()},
        {"path": r"\\OFFSITE01\VMBackups", "kind": "offsite"},
    ],
    ids=str,
)
def test_a_backup_location_is_found_by_path_id_or_kind(wanted: dict[str, Any]) -> None:
    assert get_backup_location(**wanted) == OFFSITE[0]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "A backup location is found by its path, its id or its kind: give one of them."),
        (
            {"kind": "Offsite"},
            "kind of get_backup_location: 'Offsite' is not a kind of location: use 'primary' or "
            "'offsite'.",
        ),
        ({"id": "x"}, "id of get_backup_location: 'x' is not a GUID;"),
        (
            {"path": r"\\OFFSITE01\VMBackup"},
            r"There is no backup location with path '\\OFFSITE01\VMBackup': did you mean "
            r"'\\OFFSITE01\VMBackups' or ",
        ),
        (
            {"path": r"\\OFFSITE01\VMBackups", "kind": "primary"},
            r"There is no backup location with path '\\OFFSITE01\VMBackups', kind 'primary'",
        ),
        (
            {"kind": "offsite"},
            rf"There are 2 backup locations with kind 'offsite': offsite \\OFFSITE01\VMBackups "
            rf"({OFFSITE01}) and offsite Rotating disks ({ROTATING}). Add path, id or kind.",
        ),
    ],
    ids=str,
)
def test_a_backup_location_that_is_not_the_only_one_is_a_sentence(
    wanted: dict[str, Any], says: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        get_backup_location(**wanted)
    assert str(raised.value).startswith(says)


# The locations of one VM


def test_the_locations_of_one_vm_are_those_it_is_assigned_to(simulator: Simulator) -> None:
    simulator.inventory.assignments[DC01, ROTATING] = None
    assert get_backup_locations(vm_ref=f"{{{DC01.upper()}}}") == [PRIMARY[1], OFFSITE[1]]
    assert get_backup_locations(vm_ref=DC01, primary=False) == [OFFSITE[1]]
    assert get_backup_locations(vm_ref=SQL01) == []
    assert get_backup_locations(vm_ref=get_virtual_machine(name="dc01")) == [PRIMARY[1], OFFSITE[1]]
    assert not simulator.sessions


def test_asking_for_no_kind_is_an_error_before_any_call(simulator: Simulator) -> None:
    with pytest.raises(ProgramError, match="asks for no location: leave out one") as raised:
        get_backup_locations(primary=False, offsite=False)
    assert isinstance(raised.value.__cause__, ArgumentError)
    assert not simulator.calls


def test_a_vm_that_is_no_guid_is_an_error_before_any_call(simulator: Simulator) -> None:
    with pytest.raises(ProgramError, match="vm_ref of get_backup_locations: 'SQL01' is not a GUID"):
        get_backup_locations(vm_ref="SQL01")
    assert not simulator.calls


def test_errors_are_ones_that_pulumi_prints_as_a_sentence(
    simulator: Simulator, base_url: str, set_config: SetConfig
) -> None:
    set_config("password", baseUrl=base_url, username="Administrator", password="wrong-one")
    with pytest.raises(pulumi.RunError, match="refused the login of Administrator") as raised:
        get_backup_locations()
    assert isinstance(raised.value.__cause__, LoginError)
    assert "wrong-one" not in str(raised.value)
    assert len(simulator.calls) == 1


@pytest.mark.usefixtures("recorder")
def test_a_refused_password_is_sent_once_in_a_program(
    simulator: Simulator, base_url: str, set_config: SetConfig
) -> None:
    set_config("password", baseUrl=base_url, username="Administrator", password="wrong-one")
    for _ in range(3):
        with pytest.raises(LoginError, match="refused the login of Administrator") as raised:
            get_backup_locations()
    # The program has the present configuration, so `--run-program` would not help.
    assert str(raised.value).endswith("domain, serverAddress and serverPort.")
    assert len(simulator.calls) == 1


def test_without_any_setting_the_error_says_what_to_set(set_config: SetConfig) -> None:
    set_config()
    with pytest.raises(ProgramError) as raised:
        get_backup_locations()
    assert isinstance(raised.value.__cause__, SettingsError)
    assert str(raised.value) == (
        "Could not list the backup locations: No username for VM Backup is known, and no password. "
        "Set VMBACKUP_USERNAME or run `pulumi config set vmbackup:username`. "
        "Set VMBACKUP_PASSWORD or run `pulumi config set --secret vmbackup:password`."
    )


def test_the_session_is_ended_when_a_call_fails(simulator: Simulator) -> None:
    with pytest.raises(RefusedError) as raised:
        get_backup_locations(vm_ref=NAS01)
    assert isinstance(raised.value, ProgramError)
    assert str(raised.value) == (
        f'Could not list the backup locations of VM {NAS01}: the server says "InvalidParameter / '
        'The virtual machine was not found". Check that this server manages the VM.'
    )
    assert len(simulator.tokens) == 1
    assert not simulator.sessions


def test_a_location_of_both_kinds_is_not_guessed_at(set_config: SetConfig) -> None:
    set_config("sessionToken", sessionToken=TOKEN)
    item = {"BackupLocationId": NAS01, "LocationPath": "x"}
    with responses.RequestsMock() as api:
        base_url = "http://localhost:36013/api/rest"
        api.get(f"{base_url}/vms/list/{TOKEN}", json={"Success": True, "VirtualMachines": []})
        for flags in ("1/0", "0/1"):
            api.get(
                f"{base_url}/backuplocations/{TOKEN}/{flags}",
                json={"Success": True, "BackupLocations": [item]},
            )
        with pytest.raises(ProgramError, match=f"lists {NAS01} \\(x\\) as a primary and") as raised:
            get_backup_locations()
        assert isinstance(raised.value.__cause__, LostAnswerError)
        assert get_backup_locations(offsite=False) == [BackupLocation(NAS01, "x", "primary")]


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(
    ("lookup", "arguments", "found"),
    [
        (get_virtual_machine_output, {"name": "SQL01"}, SQL01),
        (get_virtual_machines_output, {"configured": False}, TEST01),
        (get_backup_location_output, {"path": "Rotating disks"}, ROTATING),
    ],
    ids=["VM", "VMs", "location"],
)
def test_each_lookup_takes_outputs(lookup: Any, arguments: dict[str, Any], found: str) -> None:
    results: list[Any] = []

    def program() -> None:
        outputs = {key: pulumi.Output.from_input(value) for key, value in arguments.items()}
        lookup(**outputs).apply(results.append)

    run_program(program)
    (result,) = results
    (one,) = result if isinstance(result, list) else [result]
    assert (one.ref if hasattr(one, "ref") else one.id) == found


@pytest.mark.usefixtures("recorder")
def test_the_output_form_takes_outputs(simulator: Simulator) -> None:
    found: list[BackupLocation] = []

    def program() -> pulumi.Output[None]:
        return get_backup_locations_output(
            primary=pulumi.Output.from_input(False), vm_ref=pulumi.Output.from_input(None)
        ).apply(found.extend)

    run_program(program)
    assert found == OFFSITE
    assert len(simulator.tokens) == 1


@pytest.mark.usefixtures("recorder")
def test_the_output_form_asks_nothing_of_what_is_not_known_yet(simulator: Simulator) -> None:
    def program() -> None:
        get_backup_locations_output(vm_ref=pulumi.Output.from_input(UNKNOWN))

    run_program(program)
    assert not simulator.calls


def test_a_program_that_is_not_previewed_reads_no_snapshot(
    set_config: SetConfig, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    file.write_text(gather(client).dump(), "utf-8")
    set_config(inventoryFile=str(file))
    with pytest.raises(SettingsError, match="No username for VM Backup is known"):
        get_virtual_machine(name="SQL01")


# Providers of the plugin


@pytest.mark.usefixtures("recorder")
def test_a_lookup_with_a_provider_takes_no_credentials_of_another_server(
    simulator: Simulator, base_url: str, set_config: SetConfig
) -> None:
    elsewhere = "http://localhost:1/api/rest"
    set_config("password", baseUrl=elsewhere, username="Administrator", password=PASSWORD)

    def look_up(**settings: Any) -> None:
        provider = pulumi_vmbackup.plugin.Provider("site-b", base_url=base_url, **settings)
        opts = pulumi.InvokeOptions(provider=provider)
        get_virtual_machine_output(name="SQL01", opts=opts).apply(found.append)

    found: list[VirtualMachine] = []
    with pytest.raises(SettingsError, match="No username for VM Backup at provider 'site-b'"):
        run_program(look_up)
    assert not simulator.calls
    password = pulumi.Output.secret(PASSWORD)
    run_program(lambda: look_up(username="Administrator", password=password, timeout_seconds=9.0))
    assert [vm.ref for vm in found] == [SQL01]


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"connection": "site-a"}, "has a provider and the connection 'site-a': leave out one of"),
        ({}, "is not a Provider of pulumi_vmbackup.plugin, so its server is unknown: give one of"),
    ],
)
def test_a_provider_that_does_not_tell_its_server_is_an_error(
    options: dict[str, Any], says: str
) -> None:
    opts = pulumi.InvokeOptions(provider=pulumi.ProviderResource("vmbackup", "generated", {}))
    with pytest.raises(ArgumentError, match=says):
        get_virtual_machines_output(opts=opts, **options)


# Sessions and threads of a program


REFS = [DC01, SQL01, SQL02, EXCH01, FILE01] * 4


def locations_of(vm_ref: str) -> pulumi.Output[list[BackupLocation]]:
    return get_backup_locations_output(vm_ref=pulumi.Output.from_input(vm_ref), offsite=False)


@pytest.mark.usefixtures("recorder")
def test_lookups_in_outputs_share_one_session_and_do_not_wait_for_one_another(
    simulator: Simulator, base_url: str, set_config: SetConfig
) -> None:
    simulator.behavior = Behavior(second_session="refuse")
    account = {"username": "Administrator", "password": PASSWORD}
    set_config("password", baseUrl=base_url, parallelRequests="20", **account)
    found: list[Any] = []
    held = Fault("hold", "GET /vms/backuplocations", times=None)

    def release() -> None:
        wait_until(lambda: held.hits == len(REFS))
        simulator.faults.clear()

    def program() -> None:
        get_backup_locations(vm_ref=DC01)
        simulator.faults.append(held)
        pulumi.Output.all(*map(locations_of, REFS)).apply(found.extend)

    with ThreadPoolExecutor(1) as threads:
        released = threads.submit(release)
        run_program(program)
        released.result()
    assert found == [[PRIMARY[1]] if vm_ref == DC01 else [] for vm_ref in REFS]
    of_vms = [get for get in gets(simulator) if get.startswith("/vms/backuplocations/")]
    assert len(of_vms) == len(REFS) + 2
    assert len(simulator.tokens) == 1


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("surface", [pulumi_vmbackup, pulumi_vmbackup.plugin])
def test_a_resource_ends_the_session_of_the_lookups_before_it_is_registered(
    surface: Any, simulator: Simulator
) -> None:
    def program() -> None:
        get_backup_locations(vm_ref=DC01)
        assert simulator.sessions
        surface.VmBackupLocationAssignment("a", vm_ref=SQL01, backup_location_id=NAS01)
        assert not simulator.sessions
        get_backup_locations(vm_ref=DC01)  # in another one
        assert len(simulator.tokens) == 2
        surface.VmBackupLocationAssignment("b", vm_ref=SQL02, backup_location_id=NAS01)
        assert not simulator.sessions
        calls = len(simulator.calls)
        surface.VmBackupLocationAssignment("c", vm_ref=DC01, backup_location_id=NAS01)
        assert len(simulator.calls) == calls

    run_program(program)


@pytest.mark.usefixtures("recorder")
def test_a_lookup_in_an_output_that_fails_leaves_no_session_open(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.IDLE_SECONDS", 0.05)
    with pytest.raises(RefusedError, match=f"Could not list the backup locations of VM {NAS01}"):
        run_program(lambda: [locations_of(vm_ref) and None for vm_ref in (DC01, NAS01, SQL01)])
    give_up_at = time.monotonic() + 10
    while simulator.sessions and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert not simulator.sessions


def test_a_lookup_in_an_output_warns_on_the_thread_of_the_program(
    recorder: Recorder,
    set_config: SetConfig,
    client: Client,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "inventory.json"
    file.write_text(gather(client).dump(), "utf-8")
    set_config(inventoryFile=str(file))
    pulumi.runtime.set_mocks(recorder, preview=True)
    found: list[Any] = []
    run_program(lambda: locations_of(DC01).apply(found.extend) and None)
    assert found == [PRIMARY[1]]
    (warning,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "This preview takes VMs and backup locations from the inventory" in warning.getMessage()
    assert warning.thread == threading.get_ident()
