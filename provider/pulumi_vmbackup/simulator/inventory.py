"""What the simulated server holds: VMs, backup locations and assignments, as one JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import VmBackupError
from ..models import normalize_guid


class InventoryError(VmBackupError):
    """An inventory file cannot be read, or does not hold what an inventory holds."""


@dataclass
class Inventory:
    """VMs, locations and assignments.

    Attributes:
        virtual_machines: what ``vms/list`` answers for each VM, by its ref.
        backup_locations: what ``backuplocations`` answers for each location, by its id.
        kinds: ``"primary"`` or ``"offsite"`` for each location, by its id.
        assignments: the pairs of VM ref and location id, in the order in which they were made.
    """

    virtual_machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    backup_locations: dict[str, dict[str, Any]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    assignments: dict[tuple[str, str], None] = field(default_factory=dict)

    @classmethod
    def sample(cls) -> Inventory:
        """A small company: eight VMs on two hosts, two primary and two offsite locations."""
        return cls.parse((files(__package__) / "inventory.json").read_text("utf-8"), "the sample")

    @classmethod
    def load(cls, path: Path) -> Inventory:
        """Read an inventory file.

        Raises:
            InventoryError: the file cannot be read, or is no inventory.
        """
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InventoryError(f"The inventory file {path} cannot be read: {error}") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Inventory:
        """Read an inventory from its JSON text; ``source`` names it in errors."""
        inventory = cls()
        try:
            data = json.loads(text)
            for vm in data["VirtualMachines"]:
                inventory.virtual_machines[normalize_guid(vm["AltaroVirtualMachineRef"])] = vm
            for location in data["BackupLocations"]:
                location_id = normalize_guid(location["BackupLocationId"])
                kind = location["Kind"]
                if kind not in ("primary", "offsite"):
                    raise ValueError(f"the Kind {kind!r} is neither primary nor offsite")
                inventory.kinds[location_id] = kind
                inventory.backup_locations[location_id] = {
                    key: value for key, value in location.items() if key != "Kind"
                }
            for pair in data.get("Assignments", []):
                vm_ref = normalize_guid(pair["AltaroVirtualMachineRef"])
                location_id = normalize_guid(pair["BackupLocationId"])
                if vm_ref not in inventory.virtual_machines:
                    raise ValueError(f"the assignment of {vm_ref} is of a VM that is not listed")
                if location_id not in inventory.kinds:
                    raise ValueError(f"the assignment to {location_id} is to no listed location")
                inventory.assignments[vm_ref, location_id] = None
        except KeyError as error:
            raise InventoryError(f"The inventory of {source} misses the field {error}.") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InventoryError(f"The inventory of {source} is not valid: {error}.") from None
        return inventory

    def dump(self) -> str:
        """The inventory as the JSON text that :meth:`parse` reads."""
        data = {
            "VirtualMachines": list(self.virtual_machines.values()),
            "BackupLocations": [
                {**location, "Kind": self.kinds[location_id]}
                for location_id, location in self.backup_locations.items()
            ],
            "Assignments": [
                {"AltaroVirtualMachineRef": vm_ref, "BackupLocationId": location_id}
                for vm_ref, location_id in self.assignments
            ],
        }
        return json.dumps(data, indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write the inventory so that a crash leaves the old file or the new one, whole."""
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(self.dump(), "utf-8")
        partial.replace(path)

    def locations_of(self, vm_ref: str) -> list[str]:
        """The ids of the locations that a VM is assigned to."""
        return [location_id for ref, location_id in self.assignments if ref == vm_ref]
