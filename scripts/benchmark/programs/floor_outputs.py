"""The floor, with the outputs of an assignment: what those cost in Pulumi."""

import json
from pathlib import Path

from benchmark.programs.nothing import NothingWithOutputs

for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8")):
    name = f"{vm_ref}-{location_id[:8]}"
    NothingWithOutputs(name, {"vm_ref": vm_ref, "backup_location_id": location_id})
