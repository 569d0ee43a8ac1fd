"""The engine's floor of a set: one resource with as large a map, whose provider does nothing."""

import json
from pathlib import Path
from typing import Any

from benchmark.programs.nothing import Nothing

assignments: dict[str, dict[str, Any]] = {}
for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8")):
    vm = assignments.setdefault(f"VM-{vm_ref[:8]}", {"vmRef": vm_ref, "backupLocationIds": {}})
    vm["backupLocationIds"][rf"\\NAS\{location_id[:8]}"] = location_id
Nothing("site", {"vm_ref": "all", "backup_location_id": "all", "assignments": assignments})
