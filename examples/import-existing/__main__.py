"""Which virtual machine goes to which backup location.

Written by `vmbackup export`. The import file of the same command has the same names.
"""

from pulumi_vmbackup import get_backup_location, get_virtual_machine
from pulumi_vmbackup.plugin import VmBackupLocationAssignment

e_vmbackups = get_backup_location(path=r"E:\VMBackups")
nas01 = get_backup_location(path=r"\\NAS01\VMBackups")
offsite01 = get_backup_location(path=r"\\OFFSITE01\VMBackups")
rotating_disks = get_backup_location(path="Rotating disks")

VmBackupLocationAssignment(
    "DC01-E-VMBackups",
    vm_ref=get_virtual_machine(name="DC01"),
    backup_location_id=e_vmbackups,
)

VmBackupLocationAssignment(
    "FILE01-HV-01-Rotating-disks",
    vm_ref=get_virtual_machine(name="FILE01", host="HV-01"),
    backup_location_id=rotating_disks,
)

VmBackupLocationAssignment(
    "FILE01-HV-02-NAS01",
    vm_ref=get_virtual_machine(name="FILE01", host="HV-02"),
    backup_location_id=nas01,
)

VmBackupLocationAssignment(
    "SQL01-NAS01",
    vm_ref=get_virtual_machine(name="SQL01"),
    backup_location_id=nas01,
)
VmBackupLocationAssignment(
    "SQL01-OFFSITE01",
    vm_ref=get_virtual_machine(name="SQL01"),
    backup_location_id=offsite01,
)
