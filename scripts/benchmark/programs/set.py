"""All assignments in one set."""

import json
from pathlib import Path

from pulumi_vmbackup import BackupLocation, VirtualMachine
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

assignments: dict[VirtualMachine | str, list[BackupLocation | str]] = {}
for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8")):
    vm = VirtualMachine(vm_ref, name=f"VM-{vm_ref[:8]}")
    location = BackupLocation(location_id, path=rf"\\NAS\{location_id[:8]}", kind=None)
    assignments.setdefault(vm, []).append(location)
VmBackupLocationAssignmentSet("site", assignments=assignments)
