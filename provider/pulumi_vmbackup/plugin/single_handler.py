"""The handlers behind ``vmbackup:index:VmBackupLocationAssignment``."""

from __future__ import annotations

from dataclasses import asdict

from ..errors import ArgumentError
from ..lifecycle import age_seconds, now
from ..models import ID_HINTS, Assignment, Pair, normalize_guid
from ..settings import camel_case
from ..states import kind_of, pair_of_id, text_of, time_of, vm_is_gone, vm_is_not_listed
from .handler import (
    Difference,
    Failure,
    Found,
    Handler,
    Properties,
    camel_case_keys,
    is_unknown,
    unknown_outputs,
)
from .wording import worded

_IDS = {camel_case(name): hint for name, hint in ID_HINTS.items()}


class SingleHandler(Handler):
    """One VM and one backup location; any change is a replacement."""

    def check(self, urn: str, news: Properties) -> tuple[Properties, list[Failure]]:
        inputs: Properties = {}
        failures = []
        for key, hint in _IDS.items():
            inputs[key] = news.get(key)
            if not is_unknown(inputs[key]):
                try:
                    inputs[key] = normalize_guid(inputs[key], hint)
                except ArgumentError as error:
                    failures.append(Failure(key, worded(error)))
        if not failures and not any(map(is_unknown, inputs.values())):
            failures = self._declare(urn, [(inputs["vmRef"], inputs["backupLocationId"])])
        return inputs, failures

    def diff(self, olds: Properties, news: Properties) -> Difference:
        # An id that is not known yet may change, so a preview shows a replacement.
        changed = [key for key in _IDS if news[key] != olds.get(key)]
        if not changed and self._is_unassigned(news):
            return Difference(paths={"backupLocationId": "update"})
        return Difference(paths=dict.fromkeys(changed, "update"), replaces=changed)

    def preview(self, _urn: str, olds: Properties | None, news: Properties) -> Properties:
        if olds and not self._is_unassigned(news):
            return olds
        return {**news, **unknown_outputs(("vmName", "locationPath", "kind", "assignedAt"))}

    def create(self, _urn: str, news: Properties) -> tuple[str, Properties]:
        wanted = Assignment(news["vmRef"], news["backupLocationId"])
        made = self._context.lifecycle.assign(wanted)
        return f"{made.vm_ref}/{made.backup_location_id}", _outputs(made, now())

    def read(self, id_: str, _inputs: Properties, olds: Properties) -> Found | None:
        vm_ref, location_id = pair_of_id(id_) if olds else _imported(id_)
        known = _known((vm_ref, location_id), olds)
        assigned_at = time_of(olds.get("assignedAt"))
        found = self._context.lifecycle.find(known, age_seconds=age_seconds(assigned_at))
        if found is None:
            if olds and self._context.lifecycle.locations_of(vm_ref) is None:
                self._context.engine.warn(vm_is_gone(known))
            return None
        inputs = {"vmRef": vm_ref, "backupLocationId": location_id}
        return Found(f"{vm_ref}/{location_id}", inputs, _outputs(found, assigned_at))

    def update(self, _urn: str, _id: str, olds: Properties, news: Properties) -> Properties:
        # A changed id is a replacement. So either this run has un-assigned the pair, or only the
        # connection has another name, which changes nothing on the server.
        if not self._is_unassigned(news):
            return olds
        known = Assignment(news["vmRef"], news["backupLocationId"])
        return _outputs(self._context.lifecycle.assign_again(known), now())

    def _is_unassigned(self, news: Properties) -> bool:
        """Whether this run has un-assigned the pair."""
        pair = (news["vmRef"], news["backupLocationId"])
        return pair in self._context.declared.unassigned()

    def delete(self, _urn: str, id_: str, olds: Properties) -> None:
        pair = pair_of_id(id_)
        # Pulumi turns a renamed resource into a create and a delete of the same pair. A declared
        # pair stays assigned. That needs no settings: the old provider's may be gone.
        if pair not in self._context.declared:
            age = age_seconds(time_of(olds.get("assignedAt")))
            if self._context.lifecycle.unassign(*pair, age_seconds=age):
                self._warn_of_other_servers([pair])
            else:
                self._context.engine.warn(vm_is_not_listed(_known(pair, olds)))


def _known(pair: Pair, olds: Properties) -> Assignment:
    """The assignment of a pair, with the names from the state."""
    return Assignment(
        *pair,
        vm_name=text_of(olds.get("vmName")),
        location_path=text_of(olds.get("locationPath")),
        kind=kind_of(olds.get("kind")),
    )


def _imported(id_: str) -> Pair:
    vm_ref, _, location_id = id_.partition("/")
    try:
        return normalize_guid(vm_ref), normalize_guid(location_id)
    except ArgumentError:
        raise ArgumentError(
            f"{id_!r} is not the id of an assignment: use <vmRef>/<backupLocationId>, two GUIDs "
            "as `vmbackup assignments --json` shows them."
        ) from None


def _outputs(assignment: Assignment, assigned_at: str | None) -> Properties:
    return camel_case_keys({**asdict(assignment), "assigned_at": assigned_at})
