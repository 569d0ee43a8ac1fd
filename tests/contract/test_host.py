"""What the engine sees of the provider, through the real provider host."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from contract.host import UNKNOWN, Host
from google.protobuf.json_format import MessageToDict
from sample import DC01, DISK_E, FILE01, NAS01, NOWHERE, OFFSITE01, PASSWORD, SQL01, SQL02

from pulumi_vmbackup.simulator import Simulator

PAIR = {"vm_ref": SQL01, "backup_location_id": NAS01}


def test_check_brings_ids_to_one_form_and_lets_unknowns_pass_without_any_setting(
    host: Host,
) -> None:
    inputs, failures = host.check(vm_ref=f"{{{SQL01.upper()}}}", backup_location_id=UNKNOWN)
    assert inputs == {"vm_ref": SQL01, "backup_location_id": UNKNOWN}
    assert failures == {}


def test_check_fails_on_the_property_that_is_wrong(host: Host) -> None:
    _, failures = host.check(vm_ref="SQL01", backup_location_id=NAS01)
    assert failures.keys() == {"vm_ref"}
    assert failures["vm_ref"].startswith("'SQL01' is not a GUID")


@pytest.mark.parametrize(
    ("news", "replaces"),
    [
        (PAIR, []),
        ({**PAIR, "backup_location_id": OFFSITE01}, ["backup_location_id"]),
        ({**PAIR, "vm_ref": UNKNOWN}, ["vm_ref"]),
    ],
    ids=["none", "another", "unknown"],
)
def test_diff_replaces_on_another_id_with_the_new_one_first(
    news: dict[str, str], replaces: list[str], host: Host
) -> None:
    diff = host.diff({**PAIR, "vm_name": "SQL01", "kind": "primary"}, news)
    assert list(diff.replaces) == replaces
    assert diff.changes == (diff.DIFF_SOME if replaces else diff.DIFF_NONE)
    assert diff.deleteBeforeReplace is False


def test_an_assignment_is_created_read_and_deleted(
    simulator: Simulator, configured_host: Host
) -> None:
    id_, outputs = configured_host.create(**PAIR)
    assert id_ == f"{SQL01}/{NAS01}"
    assert outputs.pop("assigned_at")
    assert outputs == {
        **PAIR,
        "vm_name": "SQL01",
        "location_path": r"\\NAS01\VMBackups",
        "kind": "primary",
    }
    read = configured_host.read(id_, **outputs)
    assert read.id == id_
    assert {key: MessageToDict(read.inputs)[key] for key in PAIR} == PAIR
    configured_host.delete(id_, **outputs)
    assert not simulator.inventory.locations_of(SQL01)
    assert configured_host.read(id_, **outputs).id == ""


def test_a_failing_handler_is_a_sentence_first_and_holds_no_secret(
    simulator: Simulator, configured_host: Host
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        configured_host.create(vm_ref=NOWHERE, backup_location_id=NAS01)
    details = raised.value.details() or ""
    assert details.splitlines()[0].endswith(
        f": Could not assign VM {NOWHERE} to backup location {NAS01}: the server says "
        '"InvalidParameter / The virtual machine was not found". VM Backup manages no VM with '
        "this ref: check the ref, or add the VM to VM Backup."
    )
    assert PASSWORD not in details
    assert simulator.tokens[0] not in details


def test_four_handlers_at_once_share_one_session_which_is_ended_with_the_process(
    simulator: Simulator, configured_host: Host
) -> None:
    start = threading.Barrier(4)

    def create(vm_ref: str) -> str:
        start.wait(20)
        id_, _ = configured_host.create(vm_ref=vm_ref, backup_location_id=OFFSITE01)
        return id_

    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(create, (SQL01, SQL02, DC01, FILE01)))
    assert ids == [f"{vm_ref}/{OFFSITE01}" for vm_ref in (SQL01, SQL02, DC01, FILE01)]
    assert len(simulator.sessions) == 1
    errors = configured_host.stop()
    assert errors == ""
    assert len(simulator.tokens) == 1
    assert not simulator.sessions
    assert simulator.connections <= 4
    assert simulator.calls[-1].path.endswith("/sessions/end/[token]")


def test_a_pair_that_is_still_declared_is_not_unassigned(
    simulator: Simulator, configured_host: Host
) -> None:
    configured_host.check(vm_ref=DC01, backup_location_id=DISK_E)
    configured_host.delete(f"{DC01}/{DISK_E}")
    assert simulator.inventory.locations_of(DC01) == [DISK_E]
    assert not simulator.calls


@pytest.mark.parametrize("settings", [{}, {"apiVersion": "7"}], ids=["same", "unusable"])
def test_nor_by_another_process_of_the_run(
    settings: dict[str, str],
    engine: str,
    simulator: Simulator,
    configured_host: Host,
    base_url: str,
) -> None:
    other = Host(engine)
    other.configure(baseUrl=base_url, **settings)
    other.check(vm_ref=DC01, backup_location_id=DISK_E)
    configured_host.delete(f"{DC01}/{DISK_E}")
    assert simulator.inventory.locations_of(DC01) == [DISK_E]
    other.stop()
    configured_host.delete(f"{DC01}/{DISK_E}")
    assert not simulator.inventory.locations_of(DC01)
