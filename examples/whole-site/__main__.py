"""Sends every VM that is configured in VM Backup to one offsite location, as one resource."""

import pulumi

from pulumi_vmbackup import get_backup_location, get_virtual_machines
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

offsite = get_backup_location(path=pulumi.Config().require("offsitePath"), kind="offsite")
site = VmBackupLocationAssignmentSet(
    "site",
    assignments={vm: [offsite] for vm in get_virtual_machines(configured=True)},
)

pulumi.export("vms", site.assignments.apply(len))
