"""The simulator's sample inventory, as the tests name it."""

from __future__ import annotations

import re
import uuid

from pulumi_vmbackup.simulator import Inventory

DC01 = "2b5ebaa0-6107-4dc3-ba6a-ce6c0a78250f"  # assigned to DISK_E from the start
SQL01 = "ba2e9cdc-0d85-48e6-8db7-a45c5a40819e"
SQL02 = "21e6a46f-1c67-4ea9-8d24-3a163cee5e2c"
FILE01 = "b03da701-c632-476a-9036-3c5f972651da"
EXCH01 = "3478442b-4a8a-4593-ab40-a9b81a070205"
TEST01 = "e553fb51-0e06-4cd4-a943-98c5e11e99fb"  # not configured in VM Backup
NAS01 = "e52edf12-a762-4602-a6d7-bc2386321b84"  # primary
DISK_E = "76b67451-80b6-4386-969c-803601a5ba50"  # primary
OFFSITE01 = "558298e2-14b0-44d7-9acd-8acde5f6db1d"  # offsite
ROTATING = "b339a476-9ddc-46f8-afb6-fbfe8de4ab47"  # offsite
NOWHERE = "00000000-0000-4000-8000-000000000000"  # no VM and no location

PASSWORD = "Pa55-of-the-simulator"


def another_site() -> Inventory:
    """What another server holds: the same names, and no VM or location with the same id."""
    text = Inventory.sample().dump()
    ids: dict[str, str] = {}
    text = re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        lambda found: ids.setdefault(found[0], str(uuid.uuid4())),
        text,
    )
    return Inventory.parse(text, "another site")


def with_replica() -> Inventory:
    """The sample, and the replica of SQL01 on the other host, as Hyper-V Replica makes them.

    A server lists it under the same name, not configured, its ref a GUID of zeros (seen).
    """
    inventory = Inventory.sample()
    never = {"NextBackupTime": None, "LastBackupTime": None, "LastBackupResult": None}
    zeros = dict.fromkeys(
        (
            "LastBackupDuration",
            "LastBackupTransferSizeCompressed",
            "LastBackupTransferSizeUncompressed",
        ),
        0,
    )
    replica = {
        **inventory.virtual_machines[SQL01],
        "HostName": "HV-02",
        "AltaroVirtualMachineRef": "00000000-0000-0000-0000-000000000000",
        "AltaroHypervisorRef": inventory.virtual_machines[SQL02]["AltaroHypervisorRef"],
        "Configured": False,
        **never,
        **zeros,
    }
    # Before SQL01, for code that takes the first VM of a name.
    inventory.virtual_machines = {"the replica of SQL01": replica, **inventory.virtual_machines}
    return inventory
