"""The resources of the full plugin ``pulumi-resource-vmbackup``, which comes with this package.

They need the plugin on PATH, or named in ``Pulumi.yaml``; in return, they can be imported, they are
there for all languages of Pulumi, and one resource can hold thousands of assignments. The resource
of ``pulumi_vmbackup`` itself needs no installation, and is for Python alone.
"""

from .resources import Provider, VmBackupLocationAssignment, VmBackupLocationAssignmentSet

__all__ = ["Provider", "VmBackupLocationAssignment", "VmBackupLocationAssignmentSet"]
