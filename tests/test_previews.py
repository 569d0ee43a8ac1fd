"""What previews and states of Pulumi say, in the forms that its CLI writes (seen with 3.259)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sample import DC01, DISK_E, NAS01, OFFSITE01, ROTATING, SQL01
from test_coverage import holding

from pulumi_vmbackup.coverage import Meaning, PartlyKnown, ResourcePlan, cover
from pulumi_vmbackup.errors import ArgumentError
from pulumi_vmbackup.models import Pair
from pulumi_vmbackup.plugin.schema import ASSIGNMENT, ASSIGNMENT_SET
from pulumi_vmbackup.previews import (
    DYNAMIC_ASSIGNMENT,
    ServerPlan,
    StackPlan,
    read_preview,
    read_state,
)

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SECRET_OF_STATE = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
DEFAULT = "urn:pulumi:prod::backup::pulumi:providers:vmbackup::default_0_1_0::some-id"
SITE_B = "urn:pulumi:prod::backup::pulumi:providers:vmbackup::site-b"

Json = dict[str, Any]


def urn(name: str, type_: str = ASSIGNMENT) -> str:
    return f"urn:pulumi:prod::backup::{type_}::{name}"


def single(vm_ref: Any, location_id: Any, type_: str = ASSIGNMENT, **more: Any) -> Json:
    if type_ == DYNAMIC_ASSIGNMENT:
        inputs = {"vm_ref": vm_ref, "backup_location_id": location_id}
    else:
        inputs = {"vmRef": vm_ref, "backupLocationId": location_id}
    return {"type": type_, "inputs": inputs, "provider": DEFAULT, **more}


def of_state(vm_ref: str, location_id: str, type_: str = ASSIGNMENT, **more: Any) -> Json:
    state = single(vm_ref, location_id, type_, **more)
    return {**state, "id": f"{vm_ref}/{location_id}", "outputs": state["inputs"]}


def step(op: str, old: Json | None = None, new: Json | None = None, name: str = "one") -> Json:
    type_ = (old or new or {}).get("type", ASSIGNMENT)
    found = {"op": op, "urn": urn(name, type_), "oldState": old, "newState": new}
    return {key: value for key, value in found.items() if value is not None}


def read(*steps: Json, config: Json | None = None, **more: Any) -> StackPlan:
    same = sum(each["op"] == "same" for each in steps)
    preview = {"config": config, "steps": steps, "changeSummary": {"same": same}, **more}
    return read_preview(json.dumps(preview), "preview.json of --preview")


def only(stack: StackPlan) -> ResourcePlan:
    (found,) = stack.plans
    assert found.server == "localhost:36013"
    assert found.name is None
    return replace(found.plan, names={})


def plan(**changes: Any) -> ResourcePlan:
    given: Json = {
        key: frozenset(value) if isinstance(value, set) else value for key, value in changes.items()
    }
    return ResourcePlan("one (backup/prod)", "backup/prod", **{"names": {}, **given})


A: Pair = (SQL01, OFFSITE01)
B: Pair = (SQL01, ROTATING)


@pytest.mark.parametrize("type_", [ASSIGNMENT, DYNAMIC_ASSIGNMENT], ids=["plugin", "dynamic"])
@pytest.mark.parametrize(
    ("op", "old", "new", "expected"),
    [
        ("create", None, A, plan(declares={A}, assigns={A})),
        ("import", None, A, plan(declares={A}, assigns={A})),
        ("same", A, A, plan(declares={A})),
        ("update", A, A, plan(declares={A})),
        ("replace", A, B, plan(declares={B}, assigns={B}, unassigns={A})),
        ("delete", A, None, plan(unassigns={A})),
    ],
)
def test_a_single_resource(
    op: str, old: Pair | None, new: Pair | None, expected: ResourcePlan, type_: str
) -> None:
    before = of_state(*old, type_) if old else None
    after = single(*new, type_) if new else None
    assert only(read(step(op, before, after))) == expected


def test_the_three_steps_of_a_replacement_mean_the_same_as_one() -> None:
    old, new = of_state(*A), single(*B)
    plans = read(
        step("create-replacement", None, new),
        step("replace", old, new),
        step("delete-replaced", old),
    ).plans
    assert {pair for each in plans for pair in each.plan.assigns} == {B}
    coverage = cover("x", holding(A), [each.plan for each in plans])
    (sql01,) = coverage.changed
    assert sql01.declared_by == {ROTATING: ("one (backup/prod)",)}
    assert sql01.meanings == (Meaning.MOVES,)
    assert {pair for each in plans for pair in each.plan.unassigns} == {A}


@pytest.mark.parametrize(
    ("vm_ref", "location_id", "expected"),
    [
        (UNKNOWN, OFFSITE01, PartlyKnown("one (backup/prod)", None, OFFSITE01)),
        (SQL01, UNKNOWN, PartlyKnown("one (backup/prod)", SQL01, None)),
        (UNKNOWN, UNKNOWN, PartlyKnown("one (backup/prod)", None, None)),
        ("[secret]", OFFSITE01, PartlyKnown("one (backup/prod)", None, OFFSITE01, True)),
    ],
)
def test_unknown_and_secret_values_are_not_guessed(
    vm_ref: str, location_id: str, expected: PartlyKnown
) -> None:
    created = only(read(step("create", None, single(vm_ref, location_id))))
    assert created == plan(partly_known=(expected,))


def test_the_id_tells_what_is_secret_in_an_unchanged_resource() -> None:
    old = {**of_state(*A), "outputs": {"vmRef": "[secret]"}}
    assert only(read(step("same", old, single("[secret]", OFFSITE01)))) == plan(declares={A})


def test_what_is_kept_at_deletion_is_not_unassigned() -> None:
    kept = step("delete", of_state(*A, retainOnDelete=True))
    assert only(read(kept)) == plan()
    with_other = step("delete", of_state(*B, deletedWith=urn("other")), name="two")
    other = step("delete", of_state(*A), name="other")
    lost = {pair for each in read(other, with_other).plans for pair in each.plan.unassigns}
    assert lost == {A}
    assert {*read(with_other).plans[0].plan.unassigns} == {B}


def test_what_is_only_read_refreshed_or_of_another_package_does_not_count() -> None:
    external = {**of_state(*A), "external": True}
    steps = [
        step("read", None, external),
        step("same", external, external),
        step("refresh", of_state(*A), single(*A)),
        {"op": "create", "urn": urn("b", "aws:s3/bucket:Bucket"), "newState": {"inputs": {}}},
        {"op": "create", "urn": "urn:pulumi:prod::backup::pulumi:pulumi:Stack::backup-prod"},
    ]
    assert read(*steps).plans == ()


def test_a_child_of_a_component_counts() -> None:
    child = step("create", None, single(*A))
    child["urn"] = f"urn:pulumi:prod::backup::my:component:Site${ASSIGNMENT}::one"
    assert only(read(child)) == plan(declares={A}, assigns={A})


# Sets


def a_set(vms: Any, *, exclusive: Any = False, **outputs: Any) -> Json:
    inputs = {"assignments": vms, "exclusive": exclusive}
    state = {"type": ASSIGNMENT_SET, "inputs": inputs, "provider": DEFAULT, "id": "one"}
    return {**state, "outputs": {**inputs, **outputs}}


def entry(vm_ref: Any, **locations: Any) -> Json:
    return {"vmRef": vm_ref, "backupLocationIds": locations, "host": "HV-01"}


OLD_SET = a_set({"SQL01": entry(SQL01, OFF=OFFSITE01), "DC01": entry(DC01, E=DISK_E)})


def test_a_set_assigns_what_is_new_and_unassigns_the_rest() -> None:
    new = a_set({"SQL01": entry(SQL01, OFF=OFFSITE01, ROT=ROTATING)})
    assert only(read(step("update", OLD_SET, new))) == plan(
        declares={A, B}, assigns={B}, unassigns={(DC01, DISK_E)}
    )


def test_a_set_that_becomes_exclusive_and_one_that_is() -> None:
    vms = {"SQL01": entry(SQL01, OFF=OFFSITE01), "DC01": entry(DC01, E=DISK_E)}
    becomes = only(read(step("update", OLD_SET, a_set(vms, exclusive=True))))
    assert becomes.exclusive_vms == {SQL01, DC01}
    others = {"SQL01": entry(SQL01, NAS=NAS01)}
    was = a_set({"SQL01": entry(SQL01, OFF=OFFSITE01)}, exclusive=True, otherAssignments=others)
    stays = only(read(step("update", was, a_set(vms, exclusive=True))))
    assert stays.exclusive_vms == {DC01}
    assert stays.unassigns == {(SQL01, NAS01)}
    maybe = only(read(step("update", OLD_SET, a_set(vms, exclusive=UNKNOWN))))
    assert maybe.may_be_exclusive_vms == {SQL01, DC01}


@pytest.mark.parametrize(
    ("vms", "expected"),
    [
        (UNKNOWN, PartlyKnown("one (backup/prod)", None, None)),
        ({"SQL01": UNKNOWN}, PartlyKnown("one (backup/prod)", None, None)),
        (
            {"SQL01": {"vmRef": SQL01, "backupLocationIds": UNKNOWN}},
            PartlyKnown("one (backup/prod)", SQL01, None),
        ),
        ({"SQL01": entry(SQL01, OFF=UNKNOWN)}, PartlyKnown("one (backup/prod)", SQL01, None)),
        ({"SQL01": entry(UNKNOWN, OFF=A[1])}, PartlyKnown("one (backup/prod)", None, OFFSITE01)),
    ],
)
def test_unknown_values_in_a_set(vms: Any, expected: PartlyKnown) -> None:
    created = only(read(step("create", None, a_set(vms))))
    assert created == plan(partly_known=(expected,))


# Servers


def of_site_b(pair: Pair) -> Json:
    return of_state(*pair) | {"provider": f"{SITE_B}::some-id"}


def provider(op: str = "same", **inputs: Any) -> Json:
    state = {"type": "pulumi:providers:vmbackup", "inputs": inputs}
    return {"op": op, "urn": SITE_B, "oldState": state, "newState": state}


def test_each_resource_has_the_server_of_its_connection_or_provider() -> None:
    dynamic = single(*A, DYNAMIC_ASSIGNMENT)
    of_plugin = single(*B)
    for each in (dynamic, of_plugin):
        each["inputs"]["connection"] = "site-b"
    connections = json.dumps({"site-b": {"baseUrl": "http://127.0.0.1:26013/api/rest"}})
    stack = read(
        provider(baseUrl="http://localhost:26013/api/rest", password="[secret]"),
        step("create", None, of_site_b(A)),
        step("create", None, dynamic, name="two"),
        step("create", None, single(*B), name="three"),
        step("create", None, of_plugin, name="four"),
        config={
            "vmbackup:connections": connections,
            "vmbackup:baseUrl": "http://localhost:27013/api",
        },
    )
    assert [(each.server, each.name) for each in stack.plans] == [
        ("localhost:26013", "site-b"),
        ("localhost:26013", "site-b"),
        ("localhost:27013", None),
        ("localhost:26013", "site-b"),
    ]


def test_a_resource_that_moves_to_another_server_is_removed_there_and_assigned_here() -> None:
    moved = step("replace", of_site_b(A), single(*A))
    stack = read(provider(baseUrl="http://localhost:26013/api/rest"), moved)
    assert stack.plans == (
        ServerPlan("localhost:26013", "site-b", plan(unassigns={A})),
        ServerPlan("localhost:36013", None, plan(declares={A}, assigns={A})),
    )


def test_another_name_for_the_same_server_moves_nothing() -> None:
    renamed = step("replace", of_site_b(A), single(*A))
    stack = read(provider(baseUrl="http://127.0.0.1:36013/api/rest"), renamed)
    assert only(stack) == plan(declares={A}, assigns={A}, unassigns={A})


def test_a_provider_called_default_is_no_default_one() -> None:
    name = SITE_B.replace("site-b", "default")
    state = {"inputs": {"baseUrl": "http://localhost:26013/api", "__explicit": True}}
    explicit = {"op": "same", "urn": name, "oldState": state, "newState": state}
    stack = read(explicit, step("create", None, single(*A) | {"provider": f"{name}::id"}))
    assert [each.server for each in stack.plans] == ["localhost:26013"]


@pytest.mark.parametrize("address", [UNKNOWN, "[secret]"])
def test_a_server_that_is_not_known_is_an_error(address: str) -> None:
    with pytest.raises(ArgumentError, match="the address of its provider 'site-b' is a secret, or"):
        read(provider(baseUrl=address), step("create", None, of_site_b(A)))
    dynamic = single(*A, DYNAMIC_ASSIGNMENT)
    dynamic["inputs"]["connection"] = address
    with pytest.raises(ArgumentError, match="its connection is a secret, or known only"):
        read(step("create", None, dynamic))


def test_a_secret_address_in_the_configuration_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="vmbackup:baseUrl of the stack is a secret"):
        read(step("create", None, single(*A)), config={"vmbackup:baseUrl": "[secret]"})


# What is no preview


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "Previewing update (dev):",
        "{}",
        '{"steps": 1}',
        '{"steps": null}',
        '{"steps": [1]}',
        '{"steps": [{}]}',
        '{"steps": [{"op": "same", "urn": []}]}',
        '{"steps": [{"op": "same", "urn": "u", "oldState": "x"}]}',
        '{"changeSummary": {}}',
        '{"steps": [], "changeSummary": [1]}',
        '{"steps": [], "changeSummary": {"same": "x"}}',
        '{"steps": [], "diagnostics": ["x"]}',
        '{"steps": [], "config": "x"}',
    ],
)
def test_other_files_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"p\.json is not .*`pulumi preview --json"):
        read_preview(text, "p.json")


def test_a_preview_that_failed_is_refused_with_its_error() -> None:
    failed = [
        {"severity": "warning", "message": "warning: old"},
        {"severity": "error", "message": "error: There is no VM 'SQLx'.\n"},
    ]
    with pytest.raises(ArgumentError, match=r"failed, so .*: There is no VM 'SQLx'\.$"):
        read(step("create", None, single(*A)), diagnostics=failed)


def test_a_preview_without_the_unchanged_resources_is_refused() -> None:
    with pytest.raises(
        ArgumentError, match=r"leaves out resources that do not change.*--show-same"
    ):
        read(step("create", None, single(*A)), changeSummary={"same": 3, "create": 1})


@pytest.mark.parametrize("state", [{"inputs": {"vmRef": 1, "backupLocationId": 2}}, {"inputs": []}])
def test_a_damaged_resource_is_named(state: Json) -> None:
    with pytest.raises(ArgumentError, match=r"cannot be read at the resource one \(backup/prod\)"):
        read(step("create", None, {"type": ASSIGNMENT, "provider": DEFAULT, **state}))


# States


def no_config(_: str) -> None:
    return None


def exported(*resources: Json) -> str:
    return json.dumps({"version": 3, "deployment": {"resources": resources}})


def test_a_state_declares_what_it_holds() -> None:
    text = exported(
        {"urn": urn("one"), **of_state(*A)},
        {"urn": urn("old"), **of_state(*B), "delete": True},
        {"urn": urn("read"), **of_state(*B), "external": True},
    )
    stack = read_state(text, "prod", no_config)
    assert stack.stack == "backup/prod"
    assert not stack.is_preview
    assert only(stack) == plan(declares={A})


def test_secrets_of_a_state_are_not_read() -> None:
    state = {**of_state(*A), "outputs": {"vmRef": SECRET_OF_STATE}}
    assert only(read_state(exported({"urn": urn("one"), **state}), "prod", no_config)).declares == {
        A
    }


def test_an_empty_state_declares_nothing() -> None:
    assert read_state('{"version": 3, "deployment": null}', "prod", no_config).plans == ()
    with pytest.raises(ArgumentError, match="The state of the stack prod is not"):
        read_state("{}", "prod", no_config)


def test_what_an_earlier_update_could_not_delete_waits() -> None:
    text = exported(
        {"urn": urn("one"), **of_state(*A)}, {"urn": urn("one"), **of_state(*B), "delete": True}
    )
    stack = read_state(text, "prod", no_config)
    (waiting,) = stack.pending
    assert waiting.plan.unassigns == {B}


def test_names_are_those_of_the_state_or_of_the_program() -> None:
    state = {**of_state(*A), "outputs": {"vmName": "SQL01", "locationPath": "O"}}
    (found,) = read_state(exported({"urn": urn("one"), **state}), "prod", no_config).plans
    assert found.plan.names == {SQL01: "SQL01", OFFSITE01: "O"}
    (created,) = read(step("create", None, a_set({"SQL": entry(SQL01, NAS=NAS01)}))).plans
    assert created.plan.names == {SQL01: "SQL", NAS01: "NAS"}


def test_labels_of_a_set_may_be_called_like_what_is_left_out() -> None:
    vms = {"stackTrace": {"vmRef": SQL01, "backupLocationIds": {"sourcePosition": NAS01}}}
    new = {"urn": urn("one", ASSIGNMENT_SET), "stackTrace": [{}], **a_set(vms)}
    assert only(read(step("create", None, new))).assigns == {(SQL01, NAS01)}


def test_an_exclusive_set_excludes_for_vms_without_a_location_too() -> None:
    created = only(read(step("create", None, a_set({"DC01": entry(DC01)}, exclusive=True))))
    assert created.exclusive_vms == {DC01}
    was = a_set(
        {"DC01": entry(DC01)},
        exclusive=True,
        otherAssignments={"DC01": entry(DC01, E=DISK_E)},
    )
    updated = only(read(step("update", was, a_set({"DC01": entry(DC01)}, exclusive=True))))
    assert updated.unassigns == {(DC01, DISK_E)}


def test_a_replaced_exclusive_set_excludes_for_all_of_its_vms() -> None:
    both = a_set({"SQL01": entry(SQL01, OFF=OFFSITE01)}, exclusive=True)
    replaced = only(read(step("replace", both, both)))
    assert replaced.exclusive_vms == {SQL01}
    assert replaced.assigns == {A}


@pytest.mark.parametrize("vms", [UNKNOWN, {"x": UNKNOWN}, {"x": entry(UNKNOWN)}])
def test_an_exclusive_set_may_exclude_for_vms_that_are_not_known(vms: Any) -> None:
    created = only(read(step("create", None, a_set(vms, exclusive=True))))
    assert created.may_exclude_any_vm
    assert not only(read(step("create", None, a_set(vms)))).may_exclude_any_vm


def test_secrets_of_an_unchanged_set_are_not_shown() -> None:
    secret = a_set("[secret]")
    shown = {key: value for key, value in secret.items() if key != "outputs"}
    (hidden,) = only(read(step("same", secret, shown))).not_shown
    assert hidden.is_secret


def test_what_depends_on_a_replaced_resource_is_kept() -> None:
    other = step("replace", of_state(*A), single(*A), name="other")
    with_other = step("delete", of_state(*B, deletedWith=urn("other")), name="two")
    assert B not in {pair for each in read(other, with_other).plans for pair in each.plan.unassigns}


def test_a_provider_that_changes_in_place_deletes_at_its_new_address() -> None:
    old, new = ({"inputs": {"baseUrl": f"http://localhost:{port}/api"}} for port in (1, 2))
    changed = {"op": "update", "urn": SITE_B, "oldState": old, "newState": new}
    stack = read(changed, step("delete", of_site_b(A)))
    assert [each.server for each in stack.plans] == ["localhost:2"]
    replaced = {**changed, "op": "replace"}
    stack = read(replaced, step("delete", of_site_b(A)))
    assert [each.server for each in stack.plans] == ["localhost:1"]


def test_a_provider_in_a_component_is_found() -> None:
    name = SITE_B.replace("pulumi:providers", "my:component:Site$pulumi:providers")
    state = {"inputs": {"baseUrl": "http://localhost:26013/api"}}
    inside = {"op": "create", "urn": name, "newState": state}
    stack = read(inside, step("create", None, single(*A) | {"provider": f"{name}::id"}))
    assert [each.server for each in stack.plans] == ["localhost:26013"]


def test_a_preview_of_a_part_is_refused() -> None:
    for new in (of_state(*A), {"type": ASSIGNMENT, "inputs": None}):
        old = of_state(*A) if "outputs" in new else None
        with pytest.raises(ArgumentError, match="with --target or --exclude"):
            read(step("same", old, new))


def test_a_step_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="its step is 'adopt', which this version does not"):
        read(step("adopt", None, single(*A)))


@pytest.mark.parametrize(
    "connections",
    ["[secret]", '{"site-b": {"baseUrl": "[secret]"}}', {"b": {"baseUrl": "[secret]"}}],
)
def test_secret_connections_are_one_sentence(connections: Any) -> None:
    dynamic = single(*A, DYNAMIC_ASSIGNMENT)
    dynamic["inputs"]["connection"] = "site-b"
    with pytest.raises(ArgumentError, match="set it without --secret, and only the password"):
        read(step("create", None, dynamic), config={"vmbackup:connections": connections})
