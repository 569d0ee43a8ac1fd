"""What Pulumi calls the package and its resources; users' programs and states hold these names."""

import re
from importlib.metadata import version

PACKAGE = "vmbackup"
VERSION = version("pulumi-vmbackup")
ASSIGNMENT = "vmbackup:index:VmBackupLocationAssignment"
ASSIGNMENT_SET = "vmbackup:index:VmBackupLocationAssignmentSet"


def camel_case(name: str) -> str:
    """The schema's name for a Python one."""
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)
