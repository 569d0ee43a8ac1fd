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
    vm_ref=get_virtual_machine(
        name="FILE01",
        ref="7c0a3f6e-52b1-4d0e-9d53-0c6f1f3f9a10",
    ),
    backup_location_id=rotating_disks,
)

VmBackupLocationAssignment(
    "FILE01-HV-02-NAS01",
    vm_ref=get_virtual_machine(
        name="FILE01",
        ref="b03da701-c632-476a-9036-3c5f972651da",
    ),
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
