"""assignment.py: the resource's arguments and its handlers, without the provider host."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import pickle
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pulumi
import pytest
from programs import Recorder, SetConfig, run_program
from pulumi.dynamic import Config, ConfigureRequest
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.output import Unknown
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockResourceArgs
from sample import (
    DC01,
    DISK_E,
    FILE01,
    NAS01,
    NOWHERE,
    OFFSITE01,
    PASSWORD,
    ROTATING,
    SQL01,
    SQL02,
)

from pulumi_vmbackup import (
    ArgumentError,
    BackupLocation,
    ProgramError,
    RefusedError,
    SettingsError,
    VirtualMachine,
    VmBackupError,
    VmBackupLocationAssignment,
)
from pulumi_vmbackup.assignment import VmBackupLocationAssignmentProvider
from pulumi_vmbackup.simulator import Behavior, Simulator, serve

# What users' state files hold, so that their resources can be read and deleted after an update of
# this package.
PROVIDER_IN_STATE = (
    "gASVSAAAAAAAAACMGnB1bHVtaV92bWJhY2t1cC5hc3NpZ25tZW50lIwiVm1CYWNrdXBMb2NhdGlvbkFzc2lnbm1lbnRQ"
    "cm92aWRlcpSTlCmBlC4="
)
PROVIDER_IN_STATE_SINCE_PYTHON_3_14 = PROVIDER_IN_STATE.replace("gASV", "gAWV", 1)
PROVIDERS_IN_STATES = (PROVIDER_IN_STATE, PROVIDER_IN_STATE_SINCE_PYTHON_3_14)
UNKNOWN = Unknown()  # type: ignore[no-untyped-call]
PAIR = {"vm_ref": SQL01, "backup_location_id": NAS01}


def configured(**settings: str) -> VmBackupLocationAssignmentProvider:
    provider = VmBackupLocationAssignmentProvider()
    config = {f"vmbackup:{key}": value for key, value in settings.items()}
    provider.configure(ConfigureRequest(Config(config, "backup")))
    return provider


@pytest.fixture
def config(base_url: str) -> dict[str, str]:
    account = {"username": "Administrator", "password": PASSWORD}
    return {"baseUrl": base_url, **account, "settleSeconds": "0"}


@pytest.fixture
def provider(config: dict[str, str]) -> VmBackupLocationAssignmentProvider:
    return configured(**config)


@pytest.fixture
def offline() -> VmBackupLocationAssignmentProvider:
    """A provider without any setting: what it does sends nothing."""
    return configured()


def calls_of(simulator: Simulator, method: str) -> list[str]:
    return [
        call.path.rpartition("/[token]/")[2]
        for call in simulator.calls
        if call.method == method and "sessions" not in call.path
    ]


# State


def test_the_provider_is_stored_by_module_and_class_name() -> None:
    assert serialize_provider(VmBackupLocationAssignmentProvider()) in PROVIDERS_IN_STATES
    assert VmBackupLocationAssignmentProvider.serialize_as_secret_always is False


@pytest.mark.parametrize("in_state", PROVIDERS_IN_STATES)
def test_a_provider_of_an_existing_state_can_be_loaded(in_state: str) -> None:
    stored = pickle.loads(base64.b64decode(in_state))
    assert type(stored) is VmBackupLocationAssignmentProvider


# Check


@pytest.mark.parametrize("written", [SQL01, SQL01.upper(), f"{{{SQL01.upper()}}}"])
def test_check_brings_ids_to_one_form(
    written: str, offline: VmBackupLocationAssignmentProvider
) -> None:
    news = {"vm_ref": written, "backup_location_id": f"{{{NAS01}}}", "__provider": "x"}
    given = dict(news)
    checked = offline.check({}, news)
    assert checked.inputs == {**PAIR, "__provider": "x"}
    assert not checked.failures
    assert news == given


def test_check_names_each_wrong_property_its_value_and_what_to_use(
    offline: VmBackupLocationAssignmentProvider,
) -> None:
    failures = offline.check({}, {"vm_ref": "SQL01", "backup_location_id": None}).failures
    assert [(failure.property, failure.reason) for failure in failures] == [
        (
            "vm_ref",
            "'SQL01' is not a GUID; expected 32 hexadecimal digits like ba2e9cdc-0d85-48e6-8db7-"
            "a45c5a40819e, with or without braces. Use get_virtual_machine(name=...), or the ref "
            "that `vmbackup vms` shows.",
        ),
        (
            "backup_location_id",
            "A GUID is missing. Use get_backup_location(path=...), or the id that `vmbackup "
            "locations` shows.",
        ),
    ]


def test_check_names_a_property_that_is_missing(
    offline: VmBackupLocationAssignmentProvider,
) -> None:
    assert [failure.property for failure in offline.check({}, {}).failures] == [
        "vm_ref",
        "backup_location_id",
    ]


@pytest.mark.parametrize("unknown", [UNKNOWN, rpc.UNKNOWN], ids=["object", "older SDKs' text"])
def test_check_lets_what_is_not_known_yet_pass(
    unknown: object, offline: VmBackupLocationAssignmentProvider
) -> None:
    checked = offline.check({}, {"vm_ref": unknown, "backup_location_id": NAS01.upper()})
    assert checked.inputs["vm_ref"] is unknown
    assert checked.inputs["backup_location_id"] == NAS01
    assert not checked.failures


NAMES = {"vm_name": "SQL01", "location_path": "x", "kind": "primary"}


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({}, ["vm_name", "location_path", "kind"]),
        ({"vm_ref": SQL01.upper()}, ["vm_name", "location_path", "kind"]),
        ({"vm_ref": SQL02}, ["location_path", "kind"]),
        ({"backup_location_id": OFFSITE01}, ["vm_name"]),
        ({"vm_ref": UNKNOWN}, ["location_path", "kind"]),
        ({"__location_names_of": UNKNOWN}, ["vm_name"]),
        ({"vm_ref": "SQL02", "backup_location_id": None}, []),
    ],
)
def test_check_drops_the_names_of_another_id_and_the_ids_that_they_belong_to(
    changed: dict[str, Any], left: list[str], offline: VmBackupLocationAssignmentProvider
) -> None:
    of = {"__vm_name_of": SQL01, "__location_names_of": NAS01}
    checked = offline.check({}, {**PAIR, **NAMES, **of, **changed}).inputs
    assert checked.keys() == {*PAIR, *left}
    assert offline.check({}, {**PAIR, **NAMES}).inputs == {**PAIR, **NAMES}


def test_check_takes_the_names_of_an_id_that_stays_from_the_state(
    offline: VmBackupLocationAssignmentProvider,
) -> None:
    olds = {**PAIR, "location_path": r"\\NAS01\VMBackups", "kind": "primary"}
    of_another = {"location_path": "x", "kind": "offsite", "__location_names_of": OFFSITE01}
    assert offline.check(olds, {**PAIR, **of_another}).inputs == olds
    moved = {**PAIR, "backup_location_id": DISK_E}
    assert offline.check(olds, {**moved, **of_another}).inputs == moved


def test_check_keeps_names_that_are_not_known_yet(
    offline: VmBackupLocationAssignmentProvider,
) -> None:
    news = {**PAIR, "vm_ref": UNKNOWN, "vm_name": UNKNOWN, "__vm_name_of": UNKNOWN}
    assert offline.check({}, news).inputs == {**PAIR, "vm_ref": UNKNOWN, "vm_name": UNKNOWN}


# Diff


@pytest.mark.parametrize(
    ("news", "replaces"),
    [
        (PAIR, []),
        ({**PAIR, "vm_name": None, "kind": "offsite"}, []),
        ({**PAIR, "vm_ref": SQL02}, ["vm_ref"]),
        ({**PAIR, "backup_location_id": OFFSITE01}, ["backup_location_id"]),
        (
            {"vm_ref": SQL02, "backup_location_id": OFFSITE01},
            ["vm_ref", "backup_location_id"],
        ),
        ({**PAIR, "vm_ref": UNKNOWN}, ["vm_ref"]),
        ({**PAIR, "vm_ref": rpc.UNKNOWN}, ["vm_ref"]),
        ({**PAIR, "vm_name": "renamed", "location_path": "renamed"}, []),
    ],
)
def test_only_another_id_is_a_change_and_replaces_with_the_new_one_first(
    news: dict[str, Any], replaces: list[str], offline: VmBackupLocationAssignmentProvider
) -> None:
    olds = {**PAIR, "vm_name": "SQL01", "location_path": "x", "kind": "primary"}
    diff = offline.diff(f"{SQL01}/{NAS01}", olds, news)
    assert (diff.changes, diff.replaces) == (bool(replaces), replaces)
    assert diff.delete_before_replace is False


@pytest.mark.parametrize(("old", "new"), [(None, "site-b"), ("site-b", None), ("a", "b")])
def test_another_connection_to_the_same_server_is_an_update_that_sends_nothing(
    old: str | None, new: str | None
) -> None:
    provider = configured(connections='{"site-b": {}, "a": {}, "b": {}}')
    olds = {**PAIR, "vm_name": "SQL01", "connection": old}
    diff = provider.diff(f"{SQL01}/{NAS01}", olds, {**PAIR, "connection": new})
    assert (diff.changes, diff.replaces) == (True, [])
    updated = provider.update(f"{SQL01}/{NAS01}", olds, {**PAIR, "connection": new})
    assert updated.outs == {**olds, "connection": new}


def test_a_connection_that_is_not_known_may_lead_to_another_server() -> None:
    provider = configured(connections='{"site-b": {}}')
    of_b, of_x = ({**PAIR, "vm_name": "SQL01", "connection": each} for each in ("site-b", "x"))
    assert provider.diff(f"{SQL01}/{NAS01}", of_b, of_x).replaces == ["connection"]
    with pytest.raises(SettingsError, match="in the state has the connection 'x': keep that"):
        provider.diff(f"{SQL01}/{NAS01}", of_x, of_b)


def test_the_same_connection_is_no_change(offline: VmBackupLocationAssignmentProvider) -> None:
    olds = {**PAIR, "connection": "site-b"}
    assert offline.diff(f"{SQL01}/{NAS01}", olds, dict(olds)).changes is False
    assert offline.diff(f"{SQL01}/{NAS01}", {**PAIR, "connection": None}, PAIR).changes is False


# Create, read, delete


def test_create_gives_the_id_and_what_people_call_the_pair(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    made = provider.create(dict(PAIR))
    assert made.id == f"{SQL01}/{NAS01}"
    assert made.outs
    assigned_at = datetime.fromisoformat(made.outs.pop("assigned_at"))
    assert before <= assigned_at <= datetime.now(timezone.utc)
    assert made.outs == {
        **PAIR,
        "vm_name": "SQL01",
        "location_path": r"\\NAS01\VMBackups",
        "kind": "primary",
        "connection": None,
    }
    assert simulator.inventory.locations_of(SQL01) == [NAS01]


def test_names_that_the_program_gave_are_not_asked_for(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    given = {"vm_name": "SQL", "location_path": "the NAS", "kind": "primary"}
    made = provider.create({**PAIR, **given})
    assert made.outs
    assert given.items() <= made.outs.items()
    assert calls_of(simulator, "GET") == []


def test_each_connection_has_its_server_and_its_session(
    simulator: Simulator, base_url: str
) -> None:
    site_b = Simulator(password="another one")
    with serve(site_b) as url_b:
        login = {"username": "Administrator", "settleSeconds": "0"}
        provider = configured(
            baseUrl=base_url,
            password=PASSWORD,
            **login,
            connections=json.dumps(
                {"site-b": {"baseUrl": url_b, "password": "another one", **login}}
            ),
        )
        provider.create(dict(PAIR))
        at_b = {"vm_ref": SQL02, "backup_location_id": OFFSITE01, "connection": "site-b"}
        made = provider.create(at_b)
        assert simulator.inventory.locations_of(SQL02) == []
        assert site_b.inventory.locations_of(SQL02) == [OFFSITE01]
        assert made.outs
        read = provider.read(made.id, made.outs)
        assert read.inputs == at_b
        provider.delete(made.id, made.outs)
        assert site_b.inventory.locations_of(SQL02) == []
        assert (len(simulator.tokens), len(site_b.tokens)) == (1, 1)


def test_read_of_what_stands_gives_inputs_and_outputs(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    made = provider.create(dict(PAIR))
    assert made.outs
    simulator.inventory.backup_locations[NAS01]["LocationPath"] = r"\\NAS02\VMBackups"
    read = provider.read(made.id, {**made.outs, "__provider": "x"})
    assert read.id == made.id
    assert read.inputs == PAIR
    assert read.outs == {**made.outs, "location_path": r"\\NAS02\VMBackups"}


def test_read_of_what_is_gone_drops_it(provider: VmBackupLocationAssignmentProvider) -> None:
    read = provider.read(f"{SQL01}/{NAS01}", dict(PAIR))
    assert (read.id, read.outs) == ("", {})


def test_read_keeps_what_was_assigned_within_the_settle_seconds(base_url: str) -> None:
    provider = configured(
        baseUrl=base_url, username="Administrator", password=PASSWORD, settleSeconds="20"
    )
    now = datetime.now(timezone.utc)
    for age, kept in ((5, True), (25, False)):
        assigned_at = (now - timedelta(seconds=age)).isoformat()
        read = provider.read(f"{SQL01}/{NAS01}", {**PAIR, "assigned_at": assigned_at})
        assert bool(read.id) is kept


def test_read_lists_a_vm_once_for_all_its_assignments(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    for location in (NAS01, OFFSITE01, ROTATING):
        provider.read(f"{SQL01}/{location}", {"vm_ref": SQL01, "backup_location_id": location})
    # The VM has no location, so the list of VMs tells whether the server knows it.
    assert calls_of(simulator, "GET") == [f"{SQL01}/1/1", "/api/rest/vms/list/[token]"]


def test_delete_takes_the_assignment_back(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    provider.delete(f"{DC01}/{DISK_E}", {})
    assert calls_of(simulator, "DELETE") == [f"{DC01}/{DISK_E}"]
    assert not simulator.inventory.locations_of(DC01)


def test_a_pair_that_the_program_still_declares_is_not_taken_back(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    another = VmBackupLocationAssignmentProvider()  # of a state that another Python version wrote
    another.check({}, {"vm_ref": DC01.upper(), "backup_location_id": DISK_E})
    provider.delete(f"{DC01}/{DISK_E}", {})
    assert not simulator.calls
    assert simulator.inventory.locations_of(DC01) == [DISK_E]


def test_what_is_not_known_yet_declares_no_pair(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    provider.check({}, {"vm_ref": DC01, "backup_location_id": UNKNOWN})
    provider.check({}, {"vm_ref": DC01, "backup_location_id": "typo"})
    provider.delete(f"{DC01}/{DISK_E}", {})
    assert not simulator.inventory.locations_of(DC01)


def test_handlers_on_four_threads_share_one_session(
    simulator: Simulator, config: dict[str, str], provider: VmBackupLocationAssignmentProvider
) -> None:
    other = configured(**config)
    start = threading.Barrier(4)

    def create(provider: VmBackupLocationAssignmentProvider, vm_ref: str) -> None:
        start.wait(10)
        provider.create({"vm_ref": vm_ref, "backup_location_id": OFFSITE01})

    threads = [
        threading.Thread(target=create, args=(each, vm_ref))
        for each, vm_ref in ((provider, SQL01), (other, SQL02), (provider, DC01), (other, FILE01))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(simulator.tokens) == 1
    assert len(calls_of(simulator, "POST")) == 4
    assert len(calls_of(simulator, "GET")) == 3


# Errors


def test_a_handlers_error_prints_its_sentence_first(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    simulator.behavior = Behavior(second_primary="refuse")
    with pytest.raises(RefusedError) as raised:
        provider.create({"vm_ref": NOWHERE, "backup_location_id": NAS01})
    cause = raised.value.__cause__
    assert type(cause) is RefusedError
    assert str(cause) == str(raised.value)
    assert cause.__traceback__ is None  # so Python prints the sentence, and then the traceback


@pytest.mark.parametrize("handler", ["create", "read", "delete"])
def test_each_handler_without_settings_says_what_to_set(
    handler: str, offline: VmBackupLocationAssignmentProvider
) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "create": (dict(PAIR),),
        "read": (f"{SQL01}/{NAS01}", dict(PAIR)),
        "delete": (f"{SQL01}/{NAS01}", dict(PAIR)),
    }
    with pytest.raises(SettingsError) as raised:
        getattr(offline, handler)(*arguments[handler])
    assert raised.value.__cause__ is not None
    assert (
        "No username for VM Backup is known, and no password. Set VMBACKUP_USERNAME or run "
        "`pulumi config set vmbackup:username`. Set VMBACKUP_PASSWORD or run "
        "`pulumi config set --secret vmbackup:password`." in str(raised.value)
    )


def test_a_wrong_setting_is_said_by_the_handler_that_needs_it() -> None:
    provider = configured(serverPort="https")
    assert not provider.check({}, dict(PAIR)).failures
    with pytest.raises(SettingsError, match="vmbackup:serverPort in the stack configuration"):
        provider.create(dict(PAIR))


def test_no_error_holds_a_token_or_the_password(
    simulator: Simulator, provider: VmBackupLocationAssignmentProvider
) -> None:
    for vm_ref in (NOWHERE, SQL01):
        with pytest.raises(VmBackupError) as raised:
            provider.create({"vm_ref": vm_ref, "backup_location_id": NOWHERE})
        assert PASSWORD not in str(raised.value)
        assert not any(token in str(raised.value) for token in simulator.tokens)


# The resource


@pytest.fixture
def registered(recorder: Recorder) -> MockResourceArgs:
    def program() -> pulumi.Output[None]:
        resource = VmBackupLocationAssignment(
            "sql01", vm_ref=pulumi.Output.from_input(SQL01), backup_location_id=NAS01
        )

        def see(outputs: list[Any]) -> None:
            assert outputs == [SQL01, NAS01, "SQL01", None]

        return pulumi.Output.all(
            resource.vm_ref, resource.backup_location_id, resource.vm_name, resource.kind
        ).apply(see)

    run_program(program)
    return next(each for each in recorder.registered if each.name == "sql01")


def test_the_resource_registers_its_type_its_ids_and_the_provider(
    registered: MockResourceArgs,
) -> None:
    assert registered.typ == "pulumi-python:dynamic/vmbackup:VmBackupLocationAssignment"
    assert registered.inputs.pop("__provider") in PROVIDERS_IN_STATES
    assert registered.inputs == PAIR


VM = VirtualMachine(SQL01, "SQL01", host="HV-01", configured=True)
LOCATION = BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary")


@pytest.mark.parametrize("as_outputs", [False, True], ids=["objects", "outputs"])
def test_objects_are_registered_by_their_ids_and_names(
    as_outputs: bool, recorder: Recorder
) -> None:
    def program() -> None:
        VmBackupLocationAssignment(
            "sql01",
            vm_ref=pulumi.Output.from_input(VM) if as_outputs else VM,
            backup_location_id=pulumi.Output.from_input(LOCATION) if as_outputs else LOCATION,
        )

    run_program(program)
    inputs = next(each for each in recorder.registered if each.name == "sql01").inputs
    del inputs["__provider"]
    assert inputs == {
        **PAIR,
        "vm_name": "SQL01",
        "location_path": r"\\NAS01\VMBackups",
        "kind": "primary",
        "__vm_name_of": SQL01,
        "__location_names_of": NAS01,
    }


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("ref", [None, SQL01])
def test_a_vm_that_is_not_configured_fails_the_program(ref: str | None) -> None:
    vm = VirtualMachine(ref, "SQL09", host="HV-09", configured=False)
    with pytest.raises(ArgumentError, match="'SQL09' on host HV-09 is not configured in VM Backup"):
        VmBackupLocationAssignment("sql09", vm_ref=vm, backup_location_id=NAS01)


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(
    ("vm_ref", "location", "says"),
    [
        (
            replace(VM, connection="site-a", server="localhost:26013"),
            LOCATION,
            "vm_ref was looked up on localhost:26013 (connection 'site-a'), but it is used with "
            "localhost:36013: give both the same connection.",
        ),
        (
            VM,
            replace(LOCATION, server="localhost:36013/vmbackup02"),
            "backup_location_id was looked up on localhost:36013/vmbackup02, but it is used with "
            "localhost:36013: give both the same connection.",
        ),
        (LOCATION, LOCATION, "vm_ref is a BackupLocation: are two arguments swapped?"),
        (VM, VM, "backup_location_id is a VirtualMachine: are two arguments swapped?"),
    ],
    ids=["VM elsewhere", "location elsewhere", "no VM", "no location"],
)
def test_an_object_that_does_not_fit_fails_the_program_with_a_sentence(
    vm_ref: Any, location: Any, says: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        VmBackupLocationAssignment("a", vm_ref=vm_ref, backup_location_id=location)
    assert str(raised.value) == says
    assert isinstance(raised.value, ProgramError)


@pytest.mark.parametrize("handler", ["read", "delete"])
def test_a_connection_that_only_the_state_knows_is_said_to_be_needed(handler: str) -> None:
    provider = configured(connections='{"first": {}}')
    with pytest.raises(SettingsError) as raised:
        getattr(provider, handler)(f"{SQL01}/{NAS01}", {**PAIR, "connection": "site-a"})
    assert "There is no connection 'site-a'" in str(raised.value)
    assert str(raised.value).endswith(
        "A resource in the state has the connection 'site-a': keep that connection in the "
        "configuration until `pulumi up` has changed the resource to another one, or until "
        "`pulumi destroy --target` has deleted it. `pulumi state delete` drops the resource from "
        "the state, and its VMs stay assigned."
    )


@pytest.mark.usefixtures("recorder")
def test_a_connection_that_is_no_text_fails_the_program() -> None:
    for value, shown in ((5, "5"), (pulumi.Output.from_input("site-b"), "an Output")):
        says = (
            f"^connection of VmBackupLocationAssignment is {shown}: give the name of a connection"
        )
        with pytest.raises(ArgumentError, match=says):
            VmBackupLocationAssignment(
                "sql01",
                vm_ref=SQL01,
                backup_location_id=NAS01,
                connection=value,  # type: ignore[arg-type]
            )


@pytest.mark.parametrize("as_outputs", [False, True], ids=["objects", "outputs"])
def test_objects_of_the_same_server_fit_whatever_its_connection_is_called(
    as_outputs: bool, recorder: Recorder, set_config: SetConfig
) -> None:
    set_config(baseUrl="https://127.0.0.1:36013/api/rest")
    vm: Any = replace(VM, connection="site-a", server="localhost:36013")
    elsewhere: Any = replace(VM, server="localhost:26013")
    if as_outputs:
        vm, elsewhere = pulumi.Output.from_input(vm), pulumi.Output.from_input(elsewhere)
    run_program(lambda: VmBackupLocationAssignment("a", vm_ref=vm, backup_location_id=LOCATION))
    assert "a" in [each.name for each in recorder.registered]
    # Pulumi wraps what an apply raises.
    with pytest.raises(ValueError, match="vm_ref was looked up on localhost:26013, but it is used"):
        run_program(
            lambda: VmBackupLocationAssignment("b", vm_ref=elsewhere, backup_location_id=LOCATION)
        )
    assert "b" not in [each.name for each in recorder.registered]


@pytest.mark.parametrize(
    "opts",
    [
        pulumi.ResourceOptions(import_=f"{SQL01}/{NAS01}"),
        pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions(import_=f"{SQL01}/{NAS01}"),
            pulumi.ResourceOptions(protect=True),
        ),
    ],
    ids=["import", "merged"],
)
def test_an_import_fails_the_program_before_anything_is_registered(
    opts: pulumi.ResourceOptions, recorder: Recorder
) -> None:
    with pytest.raises(ArgumentError) as raised:
        VmBackupLocationAssignment("a", vm_ref=SQL01, backup_location_id=NAS01, opts=opts)
    assert str(raised.value) == (
        "Pulumi cannot import a dynamic resource: leave out the option import_, and `pulumi up` "
        "adopts the assignment; or use pulumi_vmbackup.plugin.VmBackupLocationAssignment, which "
        "can be imported."
    )
    assert isinstance(raised.value, ProgramError)
    assert not recorder.registered


@pytest.mark.usefixtures("recorder")
def test_an_unknown_connection_fails_the_program() -> None:
    with pytest.raises(SettingsError, match="There is no connection 'site-b'"):
        VmBackupLocationAssignment(
            "sql01", vm_ref=SQL01, backup_location_id=NAS01, connection="site-b"
        )


def test_a_wrong_setting_fails_the_program(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_API_VERSION", "7")
    with pytest.raises(ProgramError, match=r"'7' of VMBACKUP_API_VERSION in the environment"):
        VmBackupLocationAssignment("sql01", vm_ref=SQL01, backup_location_id=NAS01)
    assert not recorder.registered


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("is_output", [False, True])
def test_two_resources_of_one_pair_fail_the_program(*, is_output: bool) -> None:
    def program() -> None:
        VmBackupLocationAssignment("a", vm_ref=SQL01, backup_location_id=NAS01)
        vm_ref = pulumi.Output.from_input(SQL01) if is_output else SQL01
        VmBackupLocationAssignment("b", vm_ref=vm_ref, backup_location_id=NAS01)

    said = rf"VmBackupLocationAssignment::a and .*::b both assign VM {SQL01} to .* {NAS01}: remove"
    with pytest.raises(ArgumentError, match=said) as raised:
        run_program(program)
    assert isinstance(raised.value, ProgramError)


@pytest.mark.usefixtures("recorder")
def test_one_pair_on_two_servers_is_two_assignments_but_not_by_two_names_of_one_server(
    set_config: SetConfig,
) -> None:
    def program(other: str) -> None:
        for connection in (None, other):
            VmBackupLocationAssignment(
                str(connection), vm_ref=SQL01, backup_location_id=NAS01, connection=connection
            )

    a, b = "http://localhost:36013/api", "http://localhost:26013/api"
    connections = {"same": {"baseUrl": a.replace("localhost", "127.0.0.1")}, "b": {"baseUrl": b}}
    set_config(baseUrl=a, connections=json.dumps(connections))
    run_program(lambda: program("b"))
    with pytest.raises(ArgumentError, match=r"::None and .*::same both assign"):
        run_program(lambda: program("same"))


def given_another_vm(vm_ref: str) -> pulumi.ResourceOptions:
    """What changes a resource's VM after the program has named it."""

    def change(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        return pulumi.ResourceTransformationResult({**args.props, "vm_ref": vm_ref}, args.opts)

    return pulumi.ResourceOptions(transformations=[change])


@pytest.mark.usefixtures("recorder")
def test_what_a_transformation_makes_of_resources_decides_whether_they_are_of_one_pair() -> None:
    def apart() -> None:
        VmBackupLocationAssignment("a", vm_ref=SQL01, backup_location_id=NAS01)
        another = given_another_vm(SQL02)
        VmBackupLocationAssignment("b", vm_ref=SQL01, backup_location_id=NAS01, opts=another)

    def together() -> None:
        VmBackupLocationAssignment("a", vm_ref=SQL01, backup_location_id=NAS01)
        another = given_another_vm(SQL01)
        VmBackupLocationAssignment("b", vm_ref=SQL02, backup_location_id=NAS01, opts=another)

    def two_of_three() -> None:
        apart()
        VmBackupLocationAssignment("c", vm_ref=SQL01, backup_location_id=NAS01)

    run_program(apart)
    with pytest.raises(ArgumentError, match=r"::a and .*::b both assign"):
        run_program(together)
    with pytest.raises(ArgumentError, match=r"::a and .*::c both assign"):
        run_program(two_of_three)


@pytest.mark.usefixtures("recorder")
def test_a_resource_that_the_program_has_dropped_still_declares_its_pair() -> None:
    async def known_later() -> str:
        await asyncio.sleep(0.05)  # until the first is registered
        gc.collect()
        return SQL01

    def program() -> None:
        VmBackupLocationAssignment("a", vm_ref=SQL01, backup_location_id=NAS01)
        VmBackupLocationAssignment("b", vm_ref=known_later(), backup_location_id=NAS01)

    with pytest.raises(ArgumentError, match=r"::a and .*::b both assign"):
        run_program(program)


@pytest.mark.usefixtures("recorder")
def test_a_unit_test_may_run_its_program_twice() -> None:
    for _ in range(2):
        run_program(
            lambda: VmBackupLocationAssignment("a", vm_ref=SQL01, backup_location_id=NAS01).vm_ref
        )


def test_a_pair_that_is_still_declared_needs_no_settings_to_be_deleted(
    offline: VmBackupLocationAssignmentProvider,
) -> None:
    offline.check({}, dict(PAIR))
    offline.delete(f"{SQL01}/{NAS01}", {**PAIR, "connection": "of-an-old-program"})
