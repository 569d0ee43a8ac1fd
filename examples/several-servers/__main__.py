"""Assigns one virtual machine on each of two VM Backup servers."""

from pulumi_vmbackup import (
    VmBackupLocationAssignment,
    get_backup_location,
    get_virtual_machine,
)

OFFSITE = {
    "site-a": ("SQL01", r"\\OFFSITE01\VMBackups"),
    "site-b": ("FILE01", "Rotating disks"),
}

for site, (vm_name, path) in OFFSITE.items():
    VmBackupLocationAssignment(
        f"{vm_name}-offsite",
        vm_ref=get_virtual_machine(name=vm_name, connection=site),
        backup_location_id=get_backup_location(path=path, kind="offsite", connection=site),
        connection=site,
    )
