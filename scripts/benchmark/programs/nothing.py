"""A dynamic provider that does nothing, and so costs what Pulumi's engine costs: the floor."""

from typing import Any

from pulumi import dynamic


class NothingProvider(dynamic.ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        return dynamic.CreateResult(f"{props['vm_ref']}/{props['backup_location_id']}", props)


class Nothing(dynamic.Resource, module="vmbackup", name="VmBackupLocationAssignment"):
    """A resource of the type, the inputs and the id of an assignment."""

    def __init__(self, name: str, props: dict[str, Any]) -> None:
        super().__init__(NothingProvider(), name, props)
