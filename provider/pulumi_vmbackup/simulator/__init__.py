"""A stand-in for the VM Backup API over real HTTP, to try programs on.

From a shell: ``python -m pulumi_vmbackup.simulator --help``. From a test::

    from pulumi_vmbackup.simulator import Simulator, serve

    simulator = Simulator()
    with serve(simulator) as base_url:
        ...

It needs the extra ``simulator``. It answers as far as the real API is known; where nobody knows,
:class:`Behavior` chooses.
"""

from .api import Behavior, Simulator
from .inventory import Inventory, InventoryError
from .server import serve

__all__ = ["Behavior", "Inventory", "InventoryError", "Simulator", "serve"]
