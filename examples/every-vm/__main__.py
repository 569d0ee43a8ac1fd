"""Sends every VM that is configured in VM Backup to one offsite location, with exceptions."""

import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment, get_backup_location, get_virtual_machines

config = pulumi.Config()
offsite = get_backup_location(path=config.require("offsitePath"), kind="offsite")
vms = get_virtual_machines(configured=True)
exceptions = {name.casefold() for name in config.require_object("exceptions")}
if unknown := exceptions - {str(vm.name).casefold() for vm in vms}:
    raise pulumi.RunError(f"No configured VM has the name of an exception: {sorted(unknown)}.")
for vm in vms:
    if str(vm.name).casefold() not in exceptions:  # named by its ref, which never changes
        VmBackupLocationAssignment(f"vm-{vm.ref}", vm_ref=vm, backup_location_id=offsite)
