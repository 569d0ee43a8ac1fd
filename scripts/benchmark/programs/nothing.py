"""A dynamic provider that does nothing, and so costs what Pulumi's engine costs: the floor."""

from typing import Any

from pulumi import dynamic

# What an assignment has besides its ids.
OUTPUTS = {
    "vm_name": "VM-2b5ebaa0",
    "location_path": r"\\NAS01\VMBackups",
    "kind": "primary",
    "assigned_at": "2026-01-01T00:00:00+00:00",
}


class NothingProvider(dynamic.ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        return dynamic.CreateResult(f"{props['vm_ref']}/{props['backup_location_id']}", props)


class NothingWithOutputsProvider(NothingProvider):
    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        return super().create({**props, **OUTPUTS})


class Nothing(dynamic.Resource, module="vmbackup", name="VmBackupLocationAssignment"):
    """A resource of the type, the inputs and the id of an assignment."""

    def __init__(self, name: str, props: dict[str, Any]) -> None:
        super().__init__(NothingProvider(), name, props)


class NothingWithOutputs(dynamic.Resource, module="vmbackup", name="VmBackupLocationAssignment"):
    """The same with the outputs of an assignment."""

    def __init__(self, name: str, props: dict[str, Any]) -> None:
        super().__init__(NothingWithOutputsProvider(), name, {**props, **dict.fromkeys(OUTPUTS)})
