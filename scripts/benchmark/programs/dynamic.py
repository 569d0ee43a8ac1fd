"""Single assignments, of the dynamic provider."""

import json
from pathlib import Path

from pulumi_vmbackup import VmBackupLocationAssignment

for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8")):
    VmBackupLocationAssignment(vm_ref, vm_ref=vm_ref, backup_location_id=location_id)
