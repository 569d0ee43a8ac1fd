"""lookups.py: what a program can ask the server for."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
import responses
from programs import SetConfig, run_program
from pulumi.output import Unknown
from sample import DC01, DISK_E, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01

from pulumi_vmbackup import (
    ArgumentError,
    BackupLocation,
    LoginError,
    LostAnswerError,
    ProgramError,
    RefusedError,
    SettingsError,
    get_backup_locations,
    get_backup_locations_output,
)
from pulumi_vmbackup.simulator import Simulator

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
def configured(base_url: str, set_config: SetConfig) -> None:
    set_config("password", baseUrl=base_url, username="Administrator", password=PASSWORD)


def gets(simulator: Simulator) -> list[str]:
    return [
        call.path.removeprefix(simulator.base_path)
        for call in simulator.calls
        if call.method == "GET"
    ]


@pytest.mark.parametrize(
    ("primary", "offsite", "locations", "calls"),
    [
        (True, True, PRIMARY + OFFSITE, ["/1/0", "/0/1"]),
        (True, False, PRIMARY, ["/1/0"]),
        (False, True, OFFSITE, ["/0/1"]),
    ],
)
def test_locations_are_listed_by_kind_and_the_session_is_ended(
    primary: bool,
    offsite: bool,
    locations: list[BackupLocation],
    calls: list[str],
    simulator: Simulator,
) -> None:
    assert get_backup_locations(primary=primary, offsite=offsite) == locations
    assert gets(simulator) == [f"/backuplocations/[token]{flags}" for flags in calls]
    assert len(simulator.tokens) == 1
    assert not simulator.sessions


def test_the_locations_of_one_vm_are_those_it_is_assigned_to(simulator: Simulator) -> None:
    simulator.inventory.assignments[DC01, ROTATING] = None
    assert get_backup_locations(vm_ref=f"{{{DC01.upper()}}}") == [PRIMARY[1], OFFSITE[1]]
    assert get_backup_locations(vm_ref=DC01, primary=False) == [OFFSITE[1]]
    assert get_backup_locations(vm_ref=SQL01) == []
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
        with pytest.raises(LoginError, match="refused the login of Administrator"):
            get_backup_locations()
    assert len(simulator.calls) == 1


def test_without_any_setting_the_error_says_what_to_set(set_config: SetConfig) -> None:
    set_config()
    with pytest.raises(ProgramError) as raised:
        get_backup_locations()
    assert isinstance(raised.value.__cause__, SettingsError)
    assert str(raised.value) == (
        "Could not list the backup locations: No username for VM Backup is known: set "
        "VMBACKUP_USERNAME or run `pulumi config set vmbackup:username`."
    )


def test_the_session_is_ended_when_a_call_fails(simulator: Simulator) -> None:
    with pytest.raises(RefusedError) as raised:
        get_backup_locations(vm_ref=NAS01)
    assert isinstance(raised.value, ProgramError)
    assert str(raised.value) == (
        f"Could not list the backup locations of VM {NAS01}: the server says “InvalidParameter / "
        "The virtual machine was not found”. Check that vm_ref is a VM of this server."
    )
    assert len(simulator.tokens) == 1
    assert not simulator.sessions


def test_a_location_of_both_kinds_is_not_guessed_at(set_config: SetConfig) -> None:
    set_config("sessionToken", sessionToken=TOKEN)
    item = {"BackupLocationId": NAS01, "LocationPath": "x"}
    with responses.RequestsMock() as api:
        for flags in ("1/0", "0/1", "1/0"):
            api.get(
                f"http://localhost:36013/api/rest/backuplocations/{TOKEN}/{flags}",
                json={"Success": True, "BackupLocations": [item]},
            )
        with pytest.raises(ProgramError, match=f"lists {NAS01} \\(x\\) as a primary and") as raised:
            get_backup_locations()
        assert isinstance(raised.value.__cause__, LostAnswerError)
        assert get_backup_locations(offsite=False) == [BackupLocation(NAS01, "x", "primary")]


@pytest.mark.usefixtures("recorder")
def test_the_output_form_takes_outputs(simulator: Simulator) -> None:
    found: list[BackupLocation] = []

    def program() -> pulumi.Output[None]:
        return get_backup_locations_output(
            primary=pulumi.Output.from_input(False), vm_ref=pulumi.Output.from_input(None)
        ).apply(found.extend)

    run_program(program)
    assert found == OFFSITE
    assert not simulator.sessions


@pytest.mark.usefixtures("recorder")
def test_the_output_form_asks_nothing_of_what_is_not_known_yet(simulator: Simulator) -> None:
    def program() -> None:
        get_backup_locations_output(vm_ref=pulumi.Output.from_input(UNKNOWN))

    run_program(program)
    assert not simulator.calls
