"""Which virtual machine goes to which backup location, by the names that a reviewer knows."""

from pulumi_vmbackup import (
    VmBackupLocationAssignment,
    get_backup_location,
    get_virtual_machine,
)

ASSIGNMENTS = [
    ("SQL01", r"\\NAS01\VMBackups"),
    ("SQL01", r"\\OFFSITE01\VMBackups"),
    ("FILE01", "Rotating disks"),
]

for vm_name, path in ASSIGNMENTS:
    location = get_backup_location(path=path)
    VmBackupLocationAssignment(
        f"{vm_name}-{location.kind}",
        vm_ref=get_virtual_machine(name=vm_name),
        backup_location_id=location,
    )
