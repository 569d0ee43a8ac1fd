"""Sends three virtual machines to an offsite location, besides where they go already."""

import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment, get_backup_locations

VIRTUAL_MACHINES = {
    "sql01": "ba2e9cdc-0d85-48e6-8db7-a45c5a40819e",
    "file01": "b03da701-c632-476a-9036-3c5f972651da",
    "exch01": "3478442b-4a8a-4593-ab40-a9b81a070205",
}

offsite_path = pulumi.Config().get("offsitePath") or r"\\OFFSITE01\VMBackups"
locations = get_backup_locations(primary=False)
offsite = next(location for location in locations if location.path == offsite_path)

for name, vm_ref in VIRTUAL_MACHINES.items():
    VmBackupLocationAssignment(f"{name}-offsite", vm_ref=vm_ref, backup_location_id=offsite.id)

pulumi.export("offsite location", offsite.path)
