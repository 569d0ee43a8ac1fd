"""The engine's floor: as many resources, of a provider that does nothing."""

import json
from pathlib import Path

from benchmark.programs.nothing import Nothing

for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8")):
    Nothing(vm_ref, {"vm_ref": vm_ref, "backup_location_id": location_id})
