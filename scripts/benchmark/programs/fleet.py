"""A set for each site, on a server of its own or all on one."""

import json
import os
from pathlib import Path

from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

pairs = json.loads(Path("pairs.json").read_text("utf-8"))
sites = int(os.environ["SERVERS"])
for number in range(sites):
    VmBackupLocationAssignmentSet(
        f"site-{number}",
        assignments={vm_ref: [location_id] for vm_ref, location_id in pairs[number::sites]},
        connection=f"site-{number}" if "ONE_SERVER" not in os.environ else None,
    )
