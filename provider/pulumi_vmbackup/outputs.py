"""The outputs that an assignment has, of whichever surface its resource is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi


class AssignmentOutputs:
    """The outputs of a resource of one assignment.

    Properties rather than class annotations, which Pulumi evaluates anew for each resource.
    """

    # An output by the name that it has in Python; each surface has them under names of its own.
    _output: Callable[[str], pulumi.Output[Any]]

    @property
    def vm_ref(self) -> pulumi.Output[str]:
        """The VM's AltaroVirtualMachineRef, in lower case without braces."""
        return self._output("vm_ref")

    @property
    def backup_location_id(self) -> pulumi.Output[str]:
        """The BackupLocationId, in lower case without braces."""
        return self._output("backup_location_id")

    @property
    def vm_name(self) -> pulumi.Output[str | None]:
        """The VM's name when it was assigned; None when the server did not tell."""
        return self._output("vm_name")

    @property
    def location_path(self) -> pulumi.Output[str | None]:
        """The location's LocationPath; None when the server did not tell."""
        return self._output("location_path")

    @property
    def kind(self) -> pulumi.Output[str | None]:
        """``"primary"`` or ``"offsite"``; None when the server did not tell."""
        return self._output("kind")

    @property
    def assigned_at(self) -> pulumi.Output[str | None]:
        """When Pulumi assigned or adopted it, as ISO 8601 in UTC; None after an import."""
        return self._output("assigned_at")
