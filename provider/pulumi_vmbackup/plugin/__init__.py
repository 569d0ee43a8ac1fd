"""The resources of the full plugin ``pulumi-resource-vmbackup``, which comes with this package.

They need the plugin on PATH, or named in ``Pulumi.yaml``. In return they can be imported, they
exist for all languages of Pulumi, and one resource can hold thousands of assignments. The resource
of ``pulumi_vmbackup`` itself needs no installation, and is for Python alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .resources import Provider, VmBackupLocationAssignment, VmBackupLocationAssignmentSet

__all__ = ["Provider", "VmBackupLocationAssignment", "VmBackupLocationAssignmentSet"]


def __getattr__(name: str) -> object:
    # Loaded when first used: the schema and the command need no Pulumi.
    if name in __all__:
        from . import resources

        return getattr(resources, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
