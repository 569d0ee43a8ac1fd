"""names.py: what people call VMs and locations, where each name has to be the only one."""

from __future__ import annotations

from dataclasses import replace

from sample import DC01, DISK_E, FILE01, NAS01, OFFSITE01, SQL01, SQL02

from pulumi_vmbackup import BackupLocation, VirtualMachine
from pulumi_vmbackup.names import location_labels, vm_labels


def vm(ref: str | None, name: str | None, host: str | None = "HV-01") -> VirtualMachine:
    return VirtualMachine(ref, name, host)


def test_a_vm_is_called_by_its_name_and_with_its_host_where_two_share_it() -> None:
    vms = [vm(DC01, "DC01"), vm(SQL01, "SQL01"), vm(SQL02, "SQL01", "HV-02"), vm(None, "NEW")]
    assert vm_labels(iter(vms)) == {DC01: "DC01", SQL01: "SQL01 (HV-01)", SQL02: "SQL01 (HV-02)"}


def test_a_replica_and_its_vm_share_a_name_which_is_the_vms_label() -> None:
    replicas = [
        replace(vm(SQL02, "SQL01", "HV-02"), configured=False),
        replace(vm(None, "SQL01", "HV-03"), configured=False),
    ]
    assert vm_labels([vm(SQL01, "SQL01"), *replicas]) == {SQL01: "SQL01"}


def test_by_its_ref_where_nothing_better_is_known() -> None:
    vms = [vm(DC01, None), vm(FILE01, ""), vm(SQL01, "SQL01", None), vm(SQL02, "SQL01")]
    assert vm_labels(vms) == {
        DC01: DC01,
        FILE01: FILE01,
        SQL01: f"SQL01 ({SQL01})",
        SQL02: "SQL01 (HV-01)",
    }


def test_no_two_vms_are_called_the_same() -> None:
    vms = [vm(SQL01, "SQL01"), vm(SQL02, "SQL01"), vm(DC01, "DC01"), vm(FILE01, "DC01", "HV-02")]
    vms.append(vm(DISK_E, "DC01 (HV-02)"))
    labels = vm_labels(vms)
    assert labels[SQL01] == f"SQL01 (HV-01) ({SQL01})"
    assert labels[FILE01] == f"DC01 (HV-02) ({FILE01})"
    assert len({*labels.values()}) == len(vms)


def test_a_location_is_called_by_its_path_or_its_id() -> None:
    locations = [
        BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary"),
        BackupLocation(DISK_E, "x", "primary"),
        BackupLocation(OFFSITE01, "x", "offsite"),
        BackupLocation(SQL01, None, None),
        BackupLocation(NAS01, r"\\NAS01\VMBackups", "offsite"),
    ]
    assert location_labels(iter(locations)) == {
        NAS01: r"\\NAS01\VMBackups",
        DISK_E: f"x ({DISK_E})",
        OFFSITE01: f"x ({OFFSITE01})",
        SQL01: SQL01,
    }
