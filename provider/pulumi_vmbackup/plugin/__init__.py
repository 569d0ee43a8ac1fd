"""The resources of the plugin ``pulumi-resource-vmbackup``, which comes with this package.

They need the plugin on PATH, or named in ``Pulumi.yaml``. They can be imported, exist for all
languages of Pulumi, and one resource can hold thousands of assignments. The dynamic resource of
``pulumi_vmbackup`` needs no plugin, but is for Python only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .resources import Provider, VmBackupLocationAssignment, VmBackupLocationAssignmentSet

__all__ = ["Provider", "VmBackupLocationAssignment", "VmBackupLocationAssignmentSet"]


def __getattr__(name: str) -> object:
    # Loaded on first use: the schema and the command need no Pulumi.
    if name in {*__all__, "resources"}:
        resources = import_module(".resources", __name__)
        return resources if name == "resources" else getattr(resources, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "resources"})
