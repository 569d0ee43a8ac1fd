"""All assignments in one set."""

import json
from pathlib import Path

from pulumi_vmbackup import BackupLocation, VirtualMachine
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

assignments: dict[VirtualMachine | str, list[BackupLocation | str]] = {
    VirtualMachine(vm_ref, name=f"VM-{vm_ref[:8]}"): [
        BackupLocation(location_id, path=r"\\NAS\VMs", kind=None)
    ]
    for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8"))
}
VmBackupLocationAssignmentSet("site", assignments=assignments)
