"""What the simulated server holds: VMs, backup locations and assignments, as one JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import VmBackupError
from ..files import reason_of, text_of, write_whole
from ..models import normalize_guid

_NO_REF = "00000000-0000-0000-0000-000000000000"  # seen; null is seen too


class InventoryError(VmBackupError):
    """An inventory file cannot be read or written, or is not an inventory."""


@dataclass
class Inventory:
    """VMs, locations and assignments.

    Attributes:
        virtual_machines: the VMs as ``vms/list`` returns them, by ref. A VM that has none, such as
            a replica, is under a key that is not a GUID. It cannot be assigned.
        backup_locations: the locations as ``backuplocations`` returns them, by id.
        kinds: ``"primary"`` or ``"offsite"``, by location id.
        assignments: the pairs of VM ref and location id, oldest first.
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
            InventoryError: the file cannot be read, or is not an inventory.
        """
        try:
            text = text_of(path.read_bytes())
        except OSError as error:
            raise InventoryError(
                f"The inventory file {path} cannot be read: {reason_of(error, path)}."
            ) from None
        except UnicodeDecodeError as error:
            raise InventoryError(
                f"The inventory file {path} cannot be read: save it as UTF-8 ({error})."
            ) from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Inventory:
        """Read an inventory from its JSON text; ``source`` names it in errors."""
        inventory = cls()
        try:
            data = json.loads(text)
            if not isinstance(data, dict):
                raise ValueError("it is not a JSON object")
            for vm in _objects(data, "VirtualMachines"):
                ref = vm.get("AltaroVirtualMachineRef")
                key = _NO_REF if ref is None else normalize_guid(ref)
                if key == _NO_REF:
                    key = f"VM {len(inventory.virtual_machines)}, without a ref"
                if key in inventory.virtual_machines:
                    raise ValueError(f"the VM {key} is listed twice")
                inventory.virtual_machines[key] = vm
            for location in _objects(data, "BackupLocations"):
                location_id = normalize_guid(location["BackupLocationId"])
                if location_id in inventory.backup_locations:
                    raise ValueError(f"the location {location_id} is listed twice")
                kind = location["Kind"]
                if kind not in ("primary", "offsite"):
                    raise ValueError(f"the Kind {kind!r} is neither primary nor offsite")
                inventory.kinds[location_id] = kind
                inventory.backup_locations[location_id] = {
                    key: value for key, value in location.items() if key != "Kind"
                }
            for pair in _objects({"Assignments": [], **data}, "Assignments"):
                vm_ref = normalize_guid(pair["AltaroVirtualMachineRef"])
                location_id = normalize_guid(pair["BackupLocationId"])
                if vm_ref not in inventory.virtual_machines:
                    raise ValueError(f"the VM {vm_ref} of an assignment is not listed")
                if location_id not in inventory.kinds:
                    raise ValueError(f"the location {location_id} of an assignment is not listed")
                inventory.assignments[vm_ref, location_id] = None
        except KeyError as error:
            raise InventoryError(f"The inventory of {source} lacks the field {error}.") from None
        except (ValueError, RecursionError) as error:
            reason = str(error).rstrip(".")
            raise InventoryError(f"The inventory of {source} is not valid: {reason}.") from None
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
        """Write the inventory; a crash leaves the whole old file or the whole new one.

        Raises:
            InventoryError: the file cannot be written.
        """
        try:
            write_whole(path, self.dump())
        except OSError as error:
            raise InventoryError(
                f"The inventory file {path} cannot be written: {reason_of(error, path)}."
            ) from None

    def locations_of(self, vm_ref: str) -> list[str]:
        """The ids of the locations that a VM is assigned to, in the order of the locations."""
        return [each for each in self.kinds if (vm_ref, each) in self.assignments]


def _objects(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = data[key]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{key} is not a list of objects")
    return items
