"""A stand-in for the VM Backup API over real HTTP, to test programs with.

From a shell: ``python -m pulumi_vmbackup.simulator --help``. From a test::

    from pulumi_vmbackup.simulator import Simulator, serve

    simulator = Simulator()
    with serve(simulator) as base_url:
        ...

It needs the extra ``simulator``. It answers as the real API does, as far as that is known. Where it
is unknown, :class:`Behavior` chooses the answer. A :class:`Fault` makes calls fail.
"""

try:
    from .api import TOKEN_PREFIX, Simulator
    from .behavior import Behavior
    from .data import Inventory, InventoryError
    from .faults import Fault
    from .http_server import serve
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"The simulator needs packages that are not installed ({error.name}): run "
        '`pip install "pulumi-vmbackup[simulator]"`.'
    ) from None

__all__ = [
    "TOKEN_PREFIX",
    "Behavior",
    "Fault",
    "Inventory",
    "InventoryError",
    "Simulator",
    "serve",
]
