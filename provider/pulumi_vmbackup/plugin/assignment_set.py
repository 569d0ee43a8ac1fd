"""The handlers behind ``vmbackup:index:VmBackupLocationAssignmentSet``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ..bulk import Outcome, Pair, write_pairs
from ..errors import ArgumentError, VmBackupError, explained
from ..labels import location_labels, vm_labels
from ..lifecycle import DELETING_FIRST, age_seconds, now
from ..models import BackupLocation, normalize_guid
from ..parallel import map_in_parallel
from .handler import (
    NAMED_PAIRS,
    Change,
    Difference,
    Failure,
    Found,
    Handler,
    PartlyDoneError,
    Properties,
    is_unknown,
    unknown_outputs,
)

# What to do instead of lifecycle.DELETING_FIRST, which a set cannot.
_IN_TWO_RUNS = "remove the old one in one `pulumi up`, and add the new one in the next."


class _Vm(NamedTuple):
    """A VM of a set: its label, and the labels of its locations by their ids."""

    label: str
    locations: dict[str, str]


Vms = dict[str, _Vm]
"""The VMs of a set by their refs."""


class AssignmentSetHandler(Handler):
    """Many VMs with their backup locations; the ids decide, and the labels are for people."""

    def check(self, urn: str, news: Properties) -> tuple[Properties, list[Failure]]:
        assignments, exclusive = news.get("assignments"), news.get("exclusive")
        failures = []
        if exclusive is None:
            exclusive = False
        if not isinstance(exclusive, bool) and not is_unknown(exclusive):
            failures.append(Failure("exclusive", f"exclusive is {exclusive!r}: use true or false."))
        if not is_unknown(assignments):
            assignments, wrong = _checked(assignments)
            failures += wrong
        inputs = {"assignments": assignments, "exclusive": exclusive}
        if not failures:
            failures = self._declare(urn, _pairs(_vms(assignments)))
        return inputs, failures

    def diff(self, olds: Properties, news: Properties) -> Difference:
        difference = Difference()
        if news["exclusive"] != olds["exclusive"]:
            difference.paths["exclusive"] = "update"
        if is_unknown(news["assignments"]):
            difference.paths["assignments"] = "update"
        else:
            difference.paths |= _changed_paths(olds["assignments"], news["assignments"])
            held = set(_pairs(_vms(olds["assignments"])))
            for vm_ref, vm in _vms(news["assignments"]).items():
                path = _path("assignments", vm.label) + ".backupLocationIds"
                difference.paths |= {
                    _path(path, label): "update"
                    for id_, label in vm.locations.items()
                    if (vm_ref, id_) in held and self._context.was_taken_back((vm_ref, id_))
                }
            if news["exclusive"]:
                difference.paths |= _stranger_paths(olds, _vms(news["assignments"]))
        return difference

    def preview(self, olds: Properties | None, news: Properties) -> Properties:
        if news["exclusive"] is True and not is_unknown(news["assignments"]):
            known = {
                label: vm for label, vm in news["assignments"].items() if not _has_unknowns(vm)
            }
            self._warn_of_strangers(_newly_exclusive(olds, _vms(known)))
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
                for (ref, _), location in list(strangers.items())[:NAMED_PAIRS]
            )
            more = len(strangers) - NAMED_PAIRS
            self._context.engine.warn(
                f"The set is exclusive, so `pulumi up` will un-assign {named}"
                + (f"; and {more:,} more." if more > 0 else ".")
            )

    def create(self, urn: str, news: Properties) -> tuple[str, Properties]:
        name = urn.rpartition("::")[2]
        return name, self._write(urn, name, None, news)

    def update(self, urn: str, id_: str, olds: Properties, news: Properties) -> Properties:
        return self._write(urn, id_, olds, news)

    def _write(self, urn: str, id_: str, olds: Properties | None, news: Properties) -> Properties:
        """Assign what is new, then un-assign what is not wanted any more."""
        before = olds or {"assignments": {}, "exclusive": False}
        old, new, others = _vms(before["assignments"]), _vms(news["assignments"]), _others(before)
        named = _merged(old, others, new)
        wanted = dict.fromkeys(_pairs(new))
        held = dict.fromkeys([*_pairs(old), *(pair for pair in _pairs(others) if pair in wanted)])
        held = {pair: None for pair in held if not self._context.was_taken_back(pair)}

        assigned = self._each(urn, [pair for pair in wanted if pair not in held], assigned=True)
        held |= dict.fromkeys(assigned.done)
        problems = [_problem("assign", "to", assigned, named)]
        # A VM whose new location could not be assigned keeps all that it has.
        kept = {vm_ref for vm_ref, _ in (*assigned.failures, *assigned.untried)}

        # While the state says so, updates look for no other locations of the VMs that it has.
        exclusive = news["exclusive"] and not kept
        strangers = [
            pair
            for pair in _pairs(others)
            if news["exclusive"] and pair not in wanted and pair[0] in new
        ]
        unassigned = Outcome()
        if not assigned.untried:
            if news["exclusive"]:
                vms = _newly_exclusive(olds, new)
                try:
                    found = self._strangers({ref: vms[ref] for ref in vms if ref not in kept})
                except VmBackupError as error:
                    exclusive = False
                    problems.append(str(error))
                else:
                    strangers += found
                    for (vm_ref, location_id), location in found.items():
                        named[vm_ref].locations[location_id] = location.path or location_id
            unwanted = [
                pair
                for pair in dict.fromkeys((*held, *strangers))
                if pair not in wanted and pair[0] not in kept
            ]
            age = age_seconds(before.get("assignedAt"))
            unassigned = self._each(urn, unwanted, assigned=False, age=age)
            problems.append(_problem("un-assign", "from", unassigned, named))
        outputs = {
            "assignments": _entries(named, held.keys() - unassigned.done, listed=new),
            "exclusive": exclusive,
            **_other_assignments(named, {*strangers} - unassigned.done),
            **_assigned_at(now() if assigned.done else before.get("assignedAt")),
        }
        if not any(problems):
            return outputs
        message = " ".join(filter(None, problems))
        if olds is None and not held:
            raise VmBackupError(message)
        raise PartlyDoneError(message, id_, outputs)

    def read(self, id_: str, inputs: Properties, olds: Properties) -> Found | None:
        if not olds:
            return self._import(id_)
        vms = _vms(olds["assignments"])
        listings = self._listings(vms)
        assigned_at = olds.get("assignedAt")
        may_be_missing = self._context.server.lifecycle.may_be_missing(age_seconds(assigned_at))
        held: set[Pair] = set()
        others: Vms = {}
        for vm_ref, vm in vms.items():
            listing = listings[vm_ref]
            if listing is not None:
                there = {location.id for location in listing}
                held |= {(vm_ref, each) for each in vm.locations if each in there or may_be_missing}
                if olds["exclusive"]:
                    strange = [each for each in listing if each.id not in vm.locations]
                    others[vm_ref] = _Vm(vm.label, location_labels(strange))
        outputs = {
            "assignments": _entries(vms, held, listed=vms),
            "exclusive": olds["exclusive"],
            **_other_assignments(others, set(_pairs(others))),
            **_assigned_at(assigned_at),
        }
        return Found(
            id_, {**inputs, "assignments": _without_missing(inputs["assignments"], held)}, outputs
        )

    def _import(self, id_: str) -> Found:
        """What the VMs of the given refs have now."""
        try:
            refs = list(dict.fromkeys(normalize_guid(ref.strip()) for ref in id_.split(",")))
        except ArgumentError:
            raise ArgumentError(
                f"{id_!r} is not the id of a set to import: use the refs of its VMs with commas "
                "between them, GUIDs as `vmbackup vms` shows them."
            ) from None
        with explained("list the virtual machines"):
            labels = vm_labels(self._context.server.client.virtual_machines())
        listings = self._listings({ref: _Vm(labels.get(ref, ref), {}) for ref in refs})
        vms: Vms = {}
        for ref in refs:
            listing = listings[ref]
            if listing is None:
                raise ArgumentError(f"VM Backup manages no VM {ref}: leave it out of the import.")
            vms[ref] = _Vm(labels.get(ref, ref), location_labels(listing))
        properties = {
            "assignments": _entries(vms, set(_pairs(vms)), listed=vms),
            "exclusive": False,
        }
        return Found(id_, properties, properties)

    def delete(self, urn: str, _id: str, olds: Properties) -> None:
        vms = _vms(olds["assignments"])
        age = age_seconds(olds.get("assignedAt"))
        unassigned = self._each(urn, _pairs(vms), assigned=False, age=age)
        problem = _problem("un-assign", "from", unassigned, vms)
        if problem and unassigned.done:
            # Pulumi keeps the state of a delete that failed as it was.
            problem += (
                " The others are un-assigned, which the state does not show: run the same again, "
                "or to keep the set, `pulumi refresh` and then `pulumi up`."
            )
        if problem:
            raise VmBackupError(problem)

    def _each(
        self, urn: str, pairs: Iterable[Pair], *, assigned: bool, age: float | None = None
    ) -> Outcome:
        """Make each pair be assigned, or not be unless the program declares it."""

        def write(pair: Pair) -> None:
            with self._context.writing(pair):
                if assigned or not self._context.is_declared(pair):
                    self._context.server.lifecycle.ensure(*pair, assigned=assigned, age_seconds=age)
                    self._context.wrote(pair, assigned=assigned)

        def show(count: int, of: int) -> None:
            if count:
                text = f"{count:,} of {of:,} {'assigned' if assigned else 'un-assigned'}"
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
            if self._context.is_cancelled.is_set():
                raise VmBackupError("Pulumi was interrupted.")
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
    refs: dict[str, object] = {}

    def guids(parent: str, values: Mapping[str, object], of: str, suffix: str = "") -> Properties:
        """The GUIDs by their labels, each of which may be there once."""
        found: dict[str, Any] = {}
        labels: dict[object, str] = {}
        for label, each in sorted(values.items()):  # messages keep no order
            path = _path(parent, label) + suffix
            found[label] = each
            if is_unknown(each):
                continue
            try:
                found[label] = normalize_guid(each)
            except ArgumentError as error:
                failures.append(Failure(path, str(error)))
                continue
            first = labels.setdefault(found[label], label)
            if first != label:
                reason = f"{first!r} and {label!r} of {of} are both {found[label]}: remove one."
                failures.append(Failure(path, reason))
        return found

    for label, vm in sorted(value.items()):
        path = _path("assignments", label)
        checked[label] = vm
        if is_unknown(vm):
            continue
        locations = vm.get("backupLocationIds") if isinstance(vm, dict) else None
        if isinstance(locations, dict):
            locations = guids(f"{path}.backupLocationIds", locations, f"the VM {label!r}")
        elif not is_unknown(locations):
            shape = "{vmRef: …, backupLocationIds: {…}}"
            failures.append(Failure(path, f"the VM {label!r} is not of the form {shape}."))
            continue
        refs[label] = vm.get("vmRef")
        checked[label] = {"backupLocationIds": locations}
    for label, ref in guids("assignments", refs, "the set", ".vmRef").items():
        checked[label]["vmRef"] = ref
    return checked, failures


def _has_unknowns(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_unknowns, value.values()))
    return is_unknown(value)


def _vms(assignments: object) -> Vms:
    """What is known of a set's VMs, in the order of their labels: the protocol's maps have none."""
    vms: Vms = {}
    for label, vm in sorted(assignments.items()) if isinstance(assignments, Mapping) else ():
        if not is_unknown(vm) and not is_unknown(vm["vmRef"]):
            locations = vm["backupLocationIds"]
            known = {} if is_unknown(locations) else locations
            ids = {id_: each for each, id_ in sorted(known.items()) if not is_unknown(id_)}
            vms[vm["vmRef"]] = _Vm(label, ids)
    return vms


def _others(olds: Properties) -> Vms:
    """The locations that the VMs of an exclusive set have besides, as a refresh has found them."""
    return _vms(olds.get("otherAssignments"))


def _pairs(vms: Vms) -> list[Pair]:
    return [(vm_ref, location_id) for vm_ref, vm in vms.items() for location_id in vm.locations]


def _merged(*parts: Vms) -> Vms:
    """All VMs and locations, with the last label of each."""
    merged: Vms = {}
    for vms in parts:
        for vm_ref, vm in vms.items():
            before = merged[vm_ref].locations if vm_ref in merged else {}
            merged[vm_ref] = _Vm(vm.label, {**before, **vm.locations})
    return merged


def _newly_exclusive(olds: Properties | None, new: Vms) -> Vms:
    """The VMs whose other locations no refresh and no earlier update has looked for."""
    seen = _vms(olds["assignments"]) if olds and olds["exclusive"] else {}
    return {vm_ref: vm for vm_ref, vm in new.items() if vm_ref not in seen}


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, Change]:
    """How two maps from labels to ids differ, by the labels: which ids come and which go."""
    before, after = {*old.values()}, {*new.values()}
    changes: dict[str, Change] = {}
    for label, id_ in new.items():
        if id_ not in before:
            changes[label] = "update" if label in old else "add"
    for label, id_ in old.items():
        if id_ not in after:
            changes[label] = "update" if label in new else "delete"
    return changes


def _changed_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    """The property paths at which the ids differ: of whole VMs, or of locations of a VM."""
    labels = {vm["vmRef"]: label for label, vm in old.items()}
    changes = _changed(
        {label: ref for ref, label in labels.items()},
        {label: vm if is_unknown(vm) else vm["vmRef"] for label, vm in new.items()},
    )
    paths: dict[str, Change] = {}
    for label, change in changes.items():
        is_entry = change == "update" and not is_unknown(new[label])
        paths |= _marked("assignments", label, change, ".vmRef" if is_entry else "")
    for label, vm in new.items():
        if is_unknown(vm) or changes.get(label) == "add":
            continue
        before = labels.get(vm["vmRef"], label)
        there = _path("assignments", label) + ".backupLocationIds"
        if is_unknown(vm["backupLocationIds"]):
            paths[there] = "update"
        elif before in old:
            was_there = _path("assignments", before) + ".backupLocationIds"
            locations = _changed(old[before]["backupLocationIds"], vm["backupLocationIds"])
            for key, change in locations.items():
                paths |= _marked(was_there if change == "delete" else there, key, change)
    return paths


def _stranger_paths(olds: Properties, new: Vms) -> dict[str, Change]:
    """The paths of the other locations that an exclusive set is going to take away."""
    paths: dict[str, Change] = {}
    for vm_ref, vm in _others(olds).items():
        if vm_ref in new:
            there = _path("otherAssignments", vm.label) + ".backupLocationIds"
            for location_id, label in vm.locations.items():
                if location_id not in new[vm_ref].locations:
                    paths |= _marked(there, label, "delete")
    return paths


def _marked(parent: str, key: str, change: Change, suffix: str = "") -> dict[str, Change]:
    """A changed entry of a map; the map itself where the engine could not read the entry's path."""
    path = _path(parent, key)
    return {parent: "update"} if path == parent else {path + suffix: change}


def _entries(vms: Vms, pairs: Collection[Pair], listed: Collection[str]) -> Properties:
    """The output for some pairs: the VMs that have one, and those that are listed anyway."""
    entries: Properties = {}
    for vm_ref, vm in vms.items():
        ids: dict[str, str] = {}
        for id_, label in vm.locations.items():
            if (vm_ref, id_) in pairs:
                ids[label if label not in ids else id_] = id_
        if ids or vm_ref in listed:
            label = vm.label if vm.label not in entries else vm_ref
            entries[label] = {"vmRef": vm_ref, "backupLocationIds": ids}
    return entries


def _other_assignments(vms: Vms, pairs: Collection[Pair]) -> Properties:
    entries = _entries(vms, pairs, listed=())
    return {"otherAssignments": entries} if entries else {}


def _assigned_at(time: str | None) -> Properties:
    return {"assignedAt": time} if time else {}


def _without_missing(assignments: Mapping[str, Any], held: Collection[Pair]) -> Properties:
    """The program's assignments, but for those that are gone."""
    return {
        label: {
            **vm,
            "backupLocationIds": {
                each: id_
                for each, id_ in vm["backupLocationIds"].items()
                if (vm["vmRef"], id_) in held
            },
        }
        for label, vm in assignments.items()
    }


def _problem(verb: str, preposition: str, outcome: Outcome, vms: Vms) -> str:
    """The sentences about what could not be done; empty when all could."""
    failures, untried = outcome.failures, len(outcome.untried)
    if not failures and not untried:
        return ""
    total = len(outcome.done) + len(failures) + untried
    text = f"Could not {verb} {len(failures) + untried:,} of {total:,}:"
    for (vm_ref, location_id), error in list(failures.items())[:NAMED_PAIRS]:
        reason = str(error).replace(DELETING_FIRST, _IN_TWO_RUNS)
        vm = vms[vm_ref]
        text += f" {vm.label} {preposition} {vm.locations[location_id]}: {reason}"
    if len(failures) > NAMED_PAIRS:
        text += f" And {len(failures) - NAMED_PAIRS:,} more failed."
    if untried:
        text += f" {untried:,} {'was' if untried == 1 else 'were'} not tried any more."
    return text


def _path(parent: str, key: str) -> str:
    """The property path of an entry as the engine reads it, or the map's where it cannot.

    In quotation marks it knows no escape but that of a quotation mark, so none may end with a
    backslash; without them, a name ends at a dot or a bracket.
    """
    if not key.endswith("\\"):
        return f'{parent}["{key.replace(chr(34), chr(92) + chr(34))}"]'
    return parent if set(key) & set(".[") else f"{parent}.{key}"
