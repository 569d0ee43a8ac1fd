"""Makes what assigns and un-assigns, for the tests of it."""

from __future__ import annotations

from typing import Any

from pulumi_vmbackup.catalog import Catalog
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.lifecycle import AssignmentLifecycle
from pulumi_vmbackup.settings import Settings


def make_lifecycle(client: Client, **options: Any) -> AssignmentLifecycle:
    """A lifecycle with a catalog of its own, as in a new process."""
    return AssignmentLifecycle(client, Catalog(Settings(), client=client), **options)
