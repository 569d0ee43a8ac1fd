"""How the surfaces read what a state holds. People can edit a state by hand.

A value that cannot be read is an error that names it, and nothing is un-assigned by a guess.
"""

from __future__ import annotations

from datetime import datetime

from .errors import ArgumentError, SettingsError
from .lifecycle import now
from .models import KINDS, Assignment, Kind, Pair, normalize_guid, shown

HOW_TO_CORRECT = (
    "Nothing was changed on the server. Correct the state with `pulumi state edit`. Or remove the "
    "resource from the state with `pulumi state delete`, which un-assigns nothing, and run `pulumi "
    "up` to adopt what is assigned."
)


def vm_is_gone(known: Assignment) -> str:
    """The warning about an assignment of a VM that VM Backup no longer manages."""
    vm, location = _named(known)
    return f"VM Backup no longer manages {vm}: the state drops its assignment to {location}."


def vm_is_not_listed(known: Assignment) -> str:
    """The warning about an assignment that the program no longer declares, of such a VM."""
    vm, location = _named(known)
    return (
        f"The server does not list {vm} at present: its host may be off, or the VM is gone. "
        f"Nothing was sent, and the state drops its assignment to {location}. If it is listed "
        "again and should not be assigned, un-assign it in the VM Backup Management Console."
    )


def connection_is_needed(error: SettingsError, connection: str) -> str:
    """The message about a connection of the state whose settings cannot be read."""
    return (
        f"{error} A resource in the state has the connection {connection!r}: keep that connection "
        "in the configuration until `pulumi up` has changed the resource to another one, or until "
        "`pulumi destroy --target` has deleted it. `pulumi state delete` drops the resource from "
        "the state, and its VMs stay assigned."
    )


def _named(known: Assignment) -> tuple[str, str]:
    vm = f"{known.vm_name} ({known.vm_ref})" if known.vm_name else known.vm_ref
    return vm, known.location_path or known.backup_location_id


def pair_of_id(id_: str) -> Pair:
    """The pair of a resource's id, ``<vmRef>/<backupLocationId>``.

    Raises:
        ArgumentError: it is not of this form.
    """
    vm_ref, _, location_id = id_.partition("/")
    try:
        return normalize_guid(vm_ref), normalize_guid(location_id)
    except ArgumentError:
        raise ArgumentError(
            f"The property id of the state is {shown(id_)}, and not <vmRef>/<backupLocationId>, "
            f"two GUIDs. {HOW_TO_CORRECT}"
        ) from None


def time_of(assigned_at: object) -> str | None:
    """When something was assigned; None if the state does not say it.

    A time that cannot be read counts as the present time: for ``settleSeconds`` from now on, a
    listing that lacks the pair is then no proof that it is not assigned.
    """
    if assigned_at in (None, ""):
        return None
    try:
        is_time = datetime.fromisoformat(str(assigned_at)).tzinfo is not None
    except ValueError:
        is_time = False
    return str(assigned_at) if is_time else now()


def text_of(value: object) -> str | None:
    """A name of a state; None if it is no text: the server tells it again."""
    return value if isinstance(value, str) else None


def kind_of(value: object) -> Kind | None:
    """The kind of a location in a state; None if it is none: the server tells it again."""
    return next((kind for kind in KINDS if kind == value), None)
