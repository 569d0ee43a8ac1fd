"""The engine's floor of a set: one resource with as large a map, whose provider does nothing."""

import json
from pathlib import Path

from benchmark.programs.nothing import Nothing

assignments = {
    f"VM-{vm_ref[:8]}": {"vmRef": vm_ref, "backupLocationIds": {r"\\NAS\VMs": location_id}}
    for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8"))
}
Nothing("site", {"vm_ref": "all", "backup_location_id": "all", "assignments": assignments})
