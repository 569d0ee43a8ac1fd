"""The handlers behind ``vmbackup:index:VmBackupLocationAssignmentSet``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..bulk import Outcome, Pair, write_pairs
from ..errors import ArgumentError, VmBackupError, explained
from ..labels import location_labels, vm_labels
from ..models import BackupLocation, normalize_guid
from ..parallel import map_in_parallel
from .handler import (
    Difference,
    Failure,
    Found,
    Handler,
    PartlyDoneError,
    Properties,
    age_seconds,
    is_unknown,
    now,
    unknown_outputs,
)

_NAMED_FAILURES = 10
_ONE_PRIMARY_LOCATION = (
    " If the server allows one primary location only, remove the old one in one `pulumi up`, and "
    "add the new one in the next."
)


class _Vm(NamedTuple):
    """A VM of a set: its label, and the labels of its locations by their ids."""

    label: str
    locations: dict[str, str]


Vms = dict[str, _Vm]
"""The VMs of a set by their refs."""


class AssignmentSetHandler(Handler):
    """Many VMs with their backup locations; the ids decide, and the labels are for people."""

    def check(self, urn: str, news: Properties) -> tuple[Properties, list[Failure]]:
        exclusive = news.get("exclusive")
        inputs = {"assignments": news.get("assignments"), "exclusive": bool(exclusive)}
        failures = []
        if is_unknown(exclusive):
            inputs["exclusive"] = exclusive
        elif exclusive not in (None, True, False):
            failures.append(Failure("exclusive", f"exclusive is {exclusive!r}: use true or false."))
        if not is_unknown(inputs["assignments"]):
            inputs["assignments"], wrong = _checked(inputs["assignments"])
            failures += wrong
            if not failures:
                failures = self._declare(urn, _pairs(_vms(inputs)))
        return inputs, failures

    def diff(self, olds: Properties, news: Properties) -> Difference:
        difference = Difference()
        if news["exclusive"] != bool(olds.get("exclusive")):
            difference.paths["exclusive"] = "update"
        if is_unknown(news["assignments"]):
            difference.paths["assignments"] = "update"
        else:
            _compare(_vms(olds), _vms(news), difference)
            difference.paths |= dict.fromkeys(_unknown_paths(news["assignments"]), "update")
        return difference

    def preview(self, olds: Properties | None, news: Properties) -> Properties:
        if news["exclusive"] is True and not is_unknown(news["assignments"]):
            self._warn_of_strangers(_newly_exclusive(olds, news))
        return {**news, **unknown_outputs(["assignedAt"])}

    def _warn_of_strangers(self, vms: Vms) -> None:
        try:
            strangers = self._strangers(vms)
        except VmBackupError as error:
            self._context.engine.warn(
                "Which other backup locations the VMs of an exclusive set have could not be found "
                f"out; `pulumi up` will un-assign them: {error}"
            )
            return
        if strangers:
            named = "; ".join(
                f"{vms[ref].label} from {location.path or location.id}"
                for (ref, _), location in list(strangers.items())[:_NAMED_FAILURES]
            )
            more = len(strangers) - _NAMED_FAILURES
            self._context.engine.warn(
                f"The set is exclusive, so `pulumi up` will un-assign {named}"
                + (f"; and {more} more." if more > 0 else ".")
            )

    def create(self, urn: str, news: Properties) -> tuple[str, Properties]:
        name = urn.rpartition("::")[2]
        return name, self._write(urn, name, {}, news)

    def update(self, urn: str, id_: str, olds: Properties, news: Properties) -> Properties:
        return self._write(urn, id_, olds, news)

    def _write(self, urn: str, id_: str, olds: Properties, news: Properties) -> Properties:
        """Assign what is new, then un-assign what is not wanted any more."""
        old, new = _vms(olds), _vms(news)
        named = {**old, **new}
        present = dict.fromkeys(_pairs(old))
        assigned = self._each(
            urn, "assigned", lambda pair: self._ensure(pair, assigned=True), _minus(new, present)
        )
        present |= dict.fromkeys(assigned.done)
        age = age_seconds(olds.get("assignedAt"))
        # A VM whose new location could not be assigned keeps its old ones.
        held_back = {vm_ref for vm_ref, _ in (*assigned.failures, *assigned.untried)}
        unwanted = {pair: None for pair in present if pair not in set(_pairs(new))}
        stopped = Outcome()
        if not assigned.untried:
            strangers: Mapping[Pair, BackupLocation] = {}
            if news["exclusive"]:
                strangers = self._strangers(_newly_exclusive(olds, news))
                for vm_ref, location_id in strangers:
                    path = strangers[vm_ref, location_id].path
                    named[vm_ref].locations.setdefault(location_id, path or location_id)
            unassigned = self._each(
                urn,
                "un-assigned",
                lambda pair: self._ensure(pair, assigned=False, age=age),
                [pair for pair in (*unwanted, *strangers) if pair[0] not in held_back],
            )
            for pair in unassigned.done:
                present.pop(pair, None)
        else:
            unassigned = stopped
        outputs = {
            "assignments": _entries(new, old, present),
            "exclusive": news["exclusive"],
            "assignedAt": now() if assigned.done else olds.get("assignedAt"),
        }
        outputs = {key: value for key, value in outputs.items() if value is not None}
        problems = [
            _problem("assign", "to", assigned, named),
            _problem("un-assign", "from", unassigned, named),
        ]
        if any(problems):
            message = " ".join(filter(None, problems))
            if not olds and not present:
                raise _first_type(assigned)(message)
            raise PartlyDoneError(message, id_, outputs)
        return outputs

    def read(self, id_: str, inputs: Properties, olds: Properties) -> Found | None:
        if not olds:
            return self._import(id_)
        known = _vms(olds)
        listings = self._listings(known)
        may_be_missing = self._context.server.lifecycle.may_be_missing(
            age_seconds(olds.get("assignedAt"))
        )
        present: dict[Pair, None] = {}
        for vm_ref, vm in known.items():
            listing = listings[vm_ref]
            there = {location.id: location for location in listing or ()}
            for location_id in vm.locations:
                if location_id in there or (may_be_missing and listing is not None):
                    present[vm_ref, location_id] = None
            if olds.get("exclusive"):
                for location in there.values():
                    present[vm_ref, location.id] = None
                    if location.id not in vm.locations:
                        vm.locations[location.id] = _free_label(location, vm.locations)
        assignments = _entries(known, {}, present)
        labels = _vms(inputs) if not is_unknown(inputs.get("assignments")) else {}
        return Found(
            id_,
            {"assignments": _relabelled(assignments, labels), "exclusive": olds["exclusive"]},
            {**olds, "assignments": assignments},
        )

    def _import(self, id_: str) -> Found | None:
        """What VMs of the given refs have now."""
        try:
            refs = list(dict.fromkeys(normalize_guid(ref.strip()) for ref in id_.split(",")))
        except ArgumentError:
            raise ArgumentError(
                f"{id_!r} is not the id of a set to import: use the refs of its VMs with commas "
                "between them, GUIDs as `vmbackup vms` shows them."
            ) from None
        catalog = self._context.server.catalog(may_read_snapshot=False)
        labels = vm_labels(catalog.get_virtual_machines())
        listings = self._listings({ref: _Vm(labels.get(ref, ref), {}) for ref in refs})
        for ref in refs:
            if listings[ref] is None:
                raise ArgumentError(f"VM Backup manages no VM {ref}: leave it out of the import.")
        vms = {ref: _Vm(labels.get(ref, ref), location_labels(listings[ref] or ())) for ref in refs}
        outputs = {
            "assignments": _entries(vms, {}, dict.fromkeys(_pairs(vms))),
            "exclusive": False,
        }
        return Found(id_, outputs, outputs)

    def delete(self, urn: str, _id: str, olds: Properties) -> None:
        vms = _vms(olds)
        age = age_seconds(olds.get("assignedAt"))
        unassigned = self._each(
            urn,
            "un-assigned",
            lambda pair: self._ensure(pair, assigned=False, age=age),
            _pairs(vms),
        )
        problem = _problem("un-assign", "from", unassigned, vms)
        if problem:
            raise _first_type(unassigned)(problem)

    def _ensure(self, pair: Pair, *, assigned: bool, age: float | None = None) -> None:
        with self._context.writing(pair):
            if assigned or not self._context.is_declared(pair):
                self._context.server.lifecycle.ensure(*pair, assigned=assigned, age_seconds=age)

    def _each(
        self, urn: str, done: str, write: Callable[[Pair], None], pairs: Iterable[Pair]
    ) -> Outcome:
        def show(count: int, of: int) -> None:
            if count:
                text = f"{count:,} of {of:,} {done}"
                self._context.engine.show_status(urn, text, is_last=count == of)

        return write_pairs(
            write,
            pairs,
            threads=self._context.server.parallel_requests,
            progress=show,
            is_cancelled=self._context.is_cancelled.is_set,
        )

    def _listings(self, vms: Vms) -> dict[str, list[BackupLocation] | None]:
        server = self._context.server

        def list_one(vm_ref: str) -> list[BackupLocation] | None:
            with explained(f"list the backup locations of VM {vms[vm_ref].label} ({vm_ref})"):
                return server.lifecycle.locations_of(vm_ref)

        found = map_in_parallel(list_one, vms, threads=server.parallel_requests)
        return dict(zip(vms, found, strict=True))

    def _strangers(self, vms: Vms) -> dict[Pair, BackupLocation]:
        """What VMs have besides what the set gives them."""
        return {
            (vm_ref, location.id): location
            for vm_ref, listing in self._listings(vms).items()
            for location in listing or ()
            if location.id not in vms[vm_ref].locations
        }


def _checked(value: object) -> tuple[Any, list[Failure]]:
    """The assignments in their one form, and what is wrong with them."""
    if not isinstance(value, dict):
        return value, [Failure("assignments", f"assignments is {value!r}: give a map of VMs.")]
    failures: list[Failure] = []
    checked: dict[str, Any] = {}
    labels: dict[str, str] = {}

    def guid(path: str, value: object) -> object:
        if is_unknown(value):
            return value
        try:
            return normalize_guid(value)
        except ArgumentError as error:
            failures.append(Failure(path, str(error)))
            return value

    for label, vm in value.items():
        path = _path("assignments", label)
        if is_unknown(vm):
            checked[label] = vm
            continue
        locations: Any = vm.get("backupLocationIds", {}) if isinstance(vm, dict) else None
        if not (isinstance(locations, dict) or is_unknown(locations)):
            shape = "{vmRef: …, backupLocationIds: {…}}"
            failures.append(Failure(path, f"the VM {label!r} is {vm!r}: give it {shape}."))
            continue
        ref = guid(f"{path}.vmRef", vm.get("vmRef"))
        if not is_unknown(locations):
            there = f"{path}.backupLocationIds"
            locations = {key: guid(_path(there, key), each) for key, each in locations.items()}
            failures += _twice(locations, there, f"the VM {label!r}")
        checked[label] = {"vmRef": ref, "backupLocationIds": locations}
        labels[label] = str(ref)
    failures += _twice(labels, "assignments", "the set")
    return checked, failures


def _twice(ids: Mapping[str, object], path: str, of: str) -> list[Failure]:
    labels: dict[object, str] = {}
    return [
        Failure(
            _path(path, label),
            f"{labels[id_]!r} and {label!r} of {of} are both {id_}: remove one of them.",
        )
        for label, id_ in ids.items()
        if not is_unknown(id_) and labels.setdefault(id_, label) != label
    ]


def _vms(properties: Properties) -> Vms:
    """What is known of a set's VMs."""
    vms: Vms = {}
    for label, vm in properties.get("assignments", {}).items():
        if not is_unknown(vm) and not is_unknown(vm["vmRef"]):
            locations = vm["backupLocationIds"]
            if is_unknown(locations):
                locations = {}
            ids = {id_: each for each, id_ in locations.items() if not is_unknown(id_)}
            vms[vm["vmRef"]] = _Vm(label, ids)
    return vms


def _unknown_paths(assignments: Mapping[str, Any]) -> Iterable[str]:
    for label, vm in assignments.items():
        path = _path("assignments", label)
        if is_unknown(vm):
            yield path
            continue
        if is_unknown(vm["vmRef"]):
            yield f"{path}.vmRef"
        if is_unknown(vm["backupLocationIds"]):
            yield f"{path}.backupLocationIds"
        else:
            for key, id_ in vm["backupLocationIds"].items():
                if is_unknown(id_):
                    yield _path(f"{path}.backupLocationIds", key)


def _pairs(vms: Vms) -> list[Pair]:
    return [(vm_ref, location_id) for vm_ref, vm in vms.items() for location_id in vm.locations]


def _minus(vms: Vms, present: Mapping[Pair, None]) -> list[Pair]:
    return [pair for pair in _pairs(vms) if pair not in present]


def _newly_exclusive(olds: Properties | None, news: Properties) -> Vms:
    """The VMs whose other locations have not been seen by a refresh."""
    new = _vms(news)
    seen = _vms(olds) if olds and olds.get("exclusive") else {}
    return {vm_ref: vm for vm_ref, vm in new.items() if vm_ref not in seen}


def _compare(old: Vms, new: Vms, difference: Difference) -> None:
    """Add the paths at which the ids differ: whole VMs, or locations of a VM."""
    old_labels = {vm.label for vm in old.values()}
    new_labels = {vm.label for vm in new.values()}
    for vm_ref, vm in new.items():
        path = _path("assignments", vm.label)
        if vm_ref in old:
            continue
        if vm.label in old_labels and not any(
            each.label == vm.label and ref in new for ref, each in old.items()
        ):
            difference.paths[f"{path}.vmRef"] = "update"
        else:
            difference.paths[path] = "add"
    for vm_ref, vm in old.items():
        if vm_ref not in new and vm.label not in new_labels:
            difference.paths[_path("assignments", vm.label)] = "delete"
    for vm_ref in old.keys() & new.keys():
        before, after = old[vm_ref], new[vm_ref]
        there = _path("assignments", after.label) + ".backupLocationIds"
        for location_id in after.locations.keys() - before.locations.keys():
            label = after.locations[location_id]
            is_reused = label in before.locations.values()
            difference.paths[_path(there, label)] = "update" if is_reused else "add"
        for location_id in before.locations.keys() - after.locations.keys():
            label = before.locations[location_id]
            if label not in after.locations.values():
                path = _path("assignments", before.label) + ".backupLocationIds"
                difference.paths[_path(path, label)] = "delete"


def _entries(new: Vms, old: Vms, present: Mapping[Pair, None]) -> Properties:
    """The output for the pairs that are there: those of the set, and those it still holds."""
    entries: Properties = {}
    for vm_ref, vm in {**old, **new}.items():
        names = {**(old[vm_ref].locations if vm_ref in old else {}), **vm.locations}
        there = {id_: label for id_, label in names.items() if (vm_ref, id_) in present}
        if there or vm_ref in new:
            label = vm.label if vm.label not in entries else vm_ref
            ids: dict[str, str] = {}
            for id_, name in there.items():
                ids[name if name not in ids else id_] = id_
            entries[label] = {"vmRef": vm_ref, "backupLocationIds": ids}
    return entries


def _relabelled(assignments: Properties, labels: Vms) -> Properties:
    """The same ids with the labels that the program gives them."""
    relabelled: Properties = {}
    for label, vm in assignments.items():
        known = labels.get(vm["vmRef"], _Vm(label, {}))
        relabelled[known.label] = {
            "vmRef": vm["vmRef"],
            "backupLocationIds": {
                known.locations.get(id_, each): id_ for each, id_ in vm["backupLocationIds"].items()
            },
        }
    return relabelled


def _free_label(location: BackupLocation, taken: Mapping[str, str]) -> str:
    path = location.path or location.id
    return path if path not in taken.values() else f"{path} ({location.id})"


def _problem(verb: str, preposition: str, outcome: Outcome, vms: Vms) -> str:
    """The sentences about what could not be done; empty when all could."""
    failures = outcome.failures
    if not failures and not outcome.untried:
        return ""
    total = len(outcome.done) + len(failures) + len(outcome.untried)
    text = f"Could not {verb} {len(failures) + len(outcome.untried):,} of {total:,}:"
    for (vm_ref, location_id), error in list(failures.items())[:_NAMED_FAILURES]:
        vm = vms[vm_ref]
        name = f"{vm.label} {preposition} {vm.locations.get(location_id, location_id)}"
        text += f" {name}: {error}"
    if len(failures) > _NAMED_FAILURES:
        text += f" And {len(failures) - _NAMED_FAILURES:,} more failed."
    if outcome.untried:
        text += f" {len(outcome.untried):,} were not tried any more."
    return text


def _first_type(outcome: Outcome) -> type[VmBackupError]:
    return next((type(error) for error in outcome.failures.values()), VmBackupError)


def _path(parent: str, key: str) -> str:
    """A property path, in which the engine reads no escape but that of the quotation mark."""
    return f'{parent}["{key.replace(chr(34), chr(92) + chr(34))}"]'
