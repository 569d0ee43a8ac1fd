"""Sends three virtual machines to an offsite location, besides where they go already."""

import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment, get_backup_location, get_virtual_machine

offsite_path = pulumi.Config().get("offsitePath") or r"\\OFFSITE01\VMBackups"
offsite = get_backup_location(path=offsite_path)

for name in ("SQL01", "FILE01", "EXCH01"):
    VmBackupLocationAssignment(
        f"{name.lower()}-offsite",
        vm_ref=get_virtual_machine(name=name),
        backup_location_id=offsite,
    )

pulumi.export("offsite location", offsite.path)
