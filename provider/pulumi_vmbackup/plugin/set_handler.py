"""The handlers behind ``vmbackup:index:VmBackupLocationAssignmentSet``."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

from ..bulk import Outcome, ensure_all, map_in_parallel
from ..declared import FEW_PAIRS
from ..errors import ArgumentError, VmBackupError, explained
from ..lifecycle import age_seconds, now
from ..models import BackupLocation, Pair, normalize_guid
from ..names import location_labels, vm_labels
from . import set_values
from .handler import (
    NAMED_PAIRS,
    Difference,
    Failure,
    Found,
    Handler,
    PartlyDoneError,
    Properties,
    unknown_outputs,
)
from .set_difference import set_difference
from .set_values import (
    NOTHING,
    DeclaredVm,
    LabelledVm,
    SetValues,
    Vms,
    chosen,
    entries_of,
    merged,
    of_state,
    pairs_of,
)
from .wording import HINTS_OF_SETS, advice_of, worded

# How long an update waits for another resource to declare what it would un-assign.
SECONDS_TO_DECLARE = 5.0
_POLL_SECONDS = 0.1

# What follows if the server does not list VMs that an update, or a delete, lets go of.
_KEPT = (
    "The set keeps these VMs, and they stay assigned. If a VM is gone for good, `pulumi refresh` "
    "drops it."
)
_LEFT = "They stay assigned, and the state drops them together with the set."


class SetHandler(Handler):
    """Many VMs with their backup locations; ids decide, labels are for people."""

    hints = HINTS_OF_SETS

    def check(self, urn: str, news: Properties) -> tuple[Properties, list[Failure]]:
        values, failures = set_values.check(news)
        if not failures:
            vms = values.known_vms if values.exclusive else {}
            exclusive = {vm_ref: vm.locations for vm_ref, vm in vms.items()}
            self._context.vm_names.update({vm_ref: vm.label for vm_ref, vm in vms.items()})
            failures = self._declare(urn, pairs_of(values.vms), exclusive)
        return values.inputs, failures

    def diff(self, olds: Properties, news: Properties) -> Difference:
        return set_difference(of_state(olds), of_state(news), self._context.declared.unassigned())

    def preview(self, urn: str, olds: Properties | None, news: Properties) -> Properties:
        old, new = _before(olds), of_state(news)
        assignments = news["assignments"]
        unlisted = self._unlisted(old, new, is_preview=True)
        self._refuse_mass_removal(urn, old, new, unlisted=unlisted)
        if unlisted:
            kept = {ref: vm for ref, vm in old.vms.items() if ref in unlisted}
            assignments = {**entries_of(kept, pairs_of(kept)), **assignments}
        if new.exclusive:
            self._warn_of_strangers(_newly_exclusive(old, new.known_vms))
        return {**news, "assignments": assignments, **unknown_outputs(["assignedAt"])}

    def _refuse_mass_removal(
        self, urn: str, old: SetValues, new: SetValues, *, unlisted: Collection[str]
    ) -> None:
        """Refuse an update that would un-assign more than half of the pairs and more than ten.

        Raises:
            VmBackupError: it would.
        """
        total = len(pairs_of(old.vms))
        give_up_at = time.monotonic() + SECONDS_TO_DECLARE
        while True:
            removed = [pair for pair in self._removed(old, new) if pair[0] not in unlisted]
            if len(removed) <= max(FEW_PAIRS, total / 2):
                return
            settings = self._context.settings
            if settings.allow_mass_removal:
                return
            # In a refactoring, Pulumi may check the resource that takes the pairs over a bit later.
            if time.monotonic() > give_up_at or self._context.is_cancelled.wait(_POLL_SECONDS):
                break
        removed_vms = {ref: old.vms[ref] for ref, _ in removed}
        raise VmBackupError(
            f"The set {_name(urn)} would un-assign {len(removed):,} of its {total:,} pairs in this "
            f"update: those of {_with_hosts(removed_vms)}. Nothing was sent. So many at once may "
            "be a mistake, such as a look-up that found too little. If another resource of the "
            "program takes them over, it must not wait for this set: remove its depends_on.",
            settings.to_set("allowMassRemoval", "true for one run", purpose="If it is meant"),
        )

    def _removed(self, old: SetValues, new: SetValues) -> list[Pair]:
        """The pairs that an update un-assigns, as far as a preview knows."""
        declared = (new.declared or {}).values()
        if new.declared is None or any(vm is None or vm.ref is None for vm in declared):
            return []
        unsure = new.vms.keys() - new.known_vms.keys()
        wanted = {*pairs_of(new.vms)}
        removed = [
            pair for pair in pairs_of(old.vms) if pair not in wanted and pair[0] not in unsure
        ]
        elsewhere = self._context.declared.all_declared() if removed else set()
        return [pair for pair in removed if pair not in elsewhere]

    def _unlisted(
        self, old: SetValues, new: SetValues, so: str = _KEPT, *, is_preview: bool = False
    ) -> set[str]:
        """The refs of VMs that are no longer in the set, and that the server does not list.

        Nothing of them is un-assigned, since their host may be off. A warning names them.

        Args:
            old: the state.
            new: the program.
            so: what follows, as sentences of that warning.
            is_preview: whether an error is only a warning.

        Raises:
            VmBackupError: the server's lists are needed and cannot be read, or it is not the right
                server; not in a preview.
        """
        refs = {ref for ref, _ in self._removed(old, new)} - new.vms.keys()
        if not refs or self._context.settings.allow_mass_removal:
            return set()
        try:
            with explained("list the virtual machines"):
                catalog = self._context.catalog(may_read_snapshot=is_preview)
                listed = {vm.ref for vm in catalog.virtual_machines()}
            unlisted = {ref: vm for ref, vm in old.vms.items() if ref in refs and ref not in listed}
            with explained("update the set"):
                for ref, vm in unlisted.items():
                    expected = dict.fromkeys((*vm.locations, *_location_ids(old)))
                    self._context.lifecycle.refuse_wrong_server(ref, *expected)
        except VmBackupError as error:
            if not is_preview:
                raise
            self._context.engine.warn(
                "Some VMs are no longer in the set. `pulumi up` un-assigns those that the server "
                f"lists, and this preview cannot tell which: {worded(error, HINTS_OF_SETS)}"
            )
            return set()
        if unlisted:
            self._warn_of_hosts(
                f"The server does not list {_with_hosts(unlisted)} at present: a host may be off. "
                + so
            )
        return {*unlisted}

    def _warn_of_hosts(self, message: str) -> None:
        settings, purpose = self._context.settings, "If a host is gone for good"
        advice = settings.to_set("allowMassRemoval", "true for one run", purpose=purpose)
        self._context.engine.warn(worded(VmBackupError(message, advice)))

    def _warn_of_strangers(self, vms: Vms) -> None:
        try:
            strangers = self._strangers(vms)
        except VmBackupError as error:
            self._context.engine.warn(
                "The set is exclusive, so `pulumi up` will un-assign the other backup locations of "
                f"its VMs, and this preview cannot tell which: {worded(error)}"
            )
            return
        if strangers:
            named = "; ".join(
                f"{vms[ref].label} from {location.label}"
                for (ref, _), location in list(strangers.items())[:NAMED_PAIRS]
            )
            more = len(strangers) - NAMED_PAIRS
            self._context.engine.warn(
                f"The set is exclusive, so `pulumi up` will un-assign {named}"
                + (f"; and {more:,} more." if more > 0 else ".")
            )

    def create(self, urn: str, news: Properties) -> tuple[str, Properties]:
        name = _name(urn)
        return name, self._write(urn, name, None, news)

    def update(self, urn: str, id_: str, olds: Properties, news: Properties) -> Properties:
        return self._write(urn, id_, olds, news)

    def _write(self, urn: str, id_: str, olds: Properties | None, news: Properties) -> Properties:
        """Assign what is new, then un-assign what the program no longer declares."""
        old, new = _before(olds), of_state(news)
        unlisted = self._unlisted(old, new)
        self._refuse_mass_removal(urn, old, new, unlisted=unlisted)
        named = merged(old.vms, old.others, new.vms)
        wanted = dict.fromkeys(pairs_of(new.vms))
        others = pairs_of(old.others)
        held = dict.fromkeys([*pairs_of(old.vms), *(pair for pair in others if pair in wanted)])
        for pair in self._context.declared.unassigned().intersection(wanted):
            held.pop(pair, None)

        assigned = self._each(urn, [pair for pair in wanted if pair not in held], assigned=True)
        held |= dict.fromkeys(assigned.done)
        problems = [_problem("assign", "to", assigned, named)]
        # A VM whose new location could not be assigned keeps all its locations.
        kept = {vm_ref for vm_ref, _ in (*assigned.failures, *assigned.untried)}

        # If the state says exclusive, later updates do not look for other locations of its VMs.
        is_exclusive = bool(new.exclusive) and not kept
        strangers = [
            pair for pair in others if new.exclusive and pair not in wanted and pair[0] in new.vms
        ]
        unassigned = Outcome()
        if not assigned.untried:
            if new.exclusive:
                vms = _newly_exclusive(old, new.vms)
                try:
                    found = self._strangers({ref: vms[ref] for ref in vms if ref not in kept})
                except VmBackupError as error:
                    is_exclusive = False
                    problems.append(worded(error))
                else:
                    strangers += found
                    for (vm_ref, location_id), location in found.items():
                        named[vm_ref].locations[location_id] = location.path or location_id
            unwanted = [
                pair
                for pair in dict.fromkeys((*held, *strangers))
                if pair not in wanted and pair[0] not in kept and pair[0] not in unlisted
            ]
            age = age_seconds(old.assigned_at)
            unassigned = self._each(urn, unwanted, assigned=False, age=age)
            problems.append(_problem("un-assign", "from", unassigned, named))
        reached = replace(
            new,
            exclusive=is_exclusive,
            others=chosen(named, {*strangers} - unassigned.done),
            assigned_at=now() if assigned.done else old.assigned_at,
        )
        outputs = reached.outputs_of(held.keys() - unassigned.done, named=named)
        if not any(problems):
            return outputs
        message = " ".join(filter(None, problems))
        if olds is None and not held:
            raise VmBackupError(message)
        raise PartlyDoneError(message, id_, outputs)

    def read(self, id_: str, inputs: Properties, olds: Properties) -> Found | None:
        if not olds:
            return self._import(id_)
        old, hosts = of_state(olds), of_state(inputs).vms
        listings = self._listings(merged(old.vms, old.others))
        may_be_missing = self._context.lifecycle.may_be_missing(age_seconds(old.assigned_at))
        held: set[Pair] = set()
        others: Vms = {}
        gone = {
            ref: vm._replace(host=hosts.get(ref, vm).host or vm.host)
            for ref, vm in old.vms.items()
            if listings[ref] is None and vm.locations
        }
        held.update(pairs_of(self._kept(gone)))
        for vm_ref, vm in old.vms.items():
            listing = listings[vm_ref]
            if listing is not None:
                there = {location.id for location in listing}
                held |= {(vm_ref, each) for each in vm.locations if each in there or may_be_missing}
                strange = [each for each in listing if each.id not in vm.locations]
                if old.exclusive and strange:
                    others[vm_ref] = LabelledVm(vm.label, location_labels(strange))
        outputs = replace(old, others=others).outputs_of(held)
        return Found(id_, of_state(inputs).only(held).inputs, outputs)

    def _kept(self, gone: Vms) -> Vms:
        """Those of the VMs that VM Backup does not manage whose host may be off.

        A warning names all.
        """
        if not gone:
            return {}
        with explained("list the virtual machines"):
            catalog = self._context.catalog(may_read_snapshot=False)
            hosts = {str(vm.host).casefold() for vm in catalog.virtual_machines()}
        kept = {ref: vm for ref, vm in gone.items() if vm.host and vm.host.casefold() not in hosts}
        if self._context.settings.allow_mass_removal:
            kept = {}
        dropped = {ref: vm for ref, vm in gone.items() if ref not in kept}
        if kept:
            self._warn_of_hosts(
                f"The server does not list {_with_hosts(kept)}, nor any other VM of the same host: "
                "a host may be off. The state keeps the assignments."
            )
        if dropped:
            self._context.engine.warn(
                f"VM Backup no longer manages {_with_hosts(dropped)}: the state drops the "
                "assignments."
            )
        return kept

    def _import(self, id_: str) -> Found:
        """The present assignments of the VMs with the given refs."""
        try:
            refs = list(dict.fromkeys(normalize_guid(ref.strip()) for ref in id_.split(",")))
        except ArgumentError:
            raise ArgumentError(
                f"{id_!r} is not the id of a set to import: use the refs of its VMs (GUIDs) that "
                "`vmbackup vms` shows, with commas between them, and in PowerShell in quotes."
            ) from None
        with explained("list the virtual machines"):
            catalog = self._context.catalog(may_read_snapshot=False)
            labels = vm_labels(catalog.virtual_machines())
        listings = self._listings({ref: LabelledVm(labels.get(ref, ref), {}) for ref in refs})
        declared: dict[str, DeclaredVm] = {}
        for ref, listing in listings.items():
            if listing is None:
                raise ArgumentError(
                    f"The server at {self._context.settings.base_url} manages no VM {ref}: check "
                    "that it is the right server, since a tunnel may lead to another site, or "
                    "leave the VM out of the import."
                )
            locations = {label: id_ for id_, label in location_labels(listing).items()}
            declared[labels.get(ref, ref)] = DeclaredVm(ref, locations)
        values = SetValues(declared, exclusive=False)
        return Found(id_, values.inputs, values.inputs)

    def delete(self, urn: str, _id: str, olds: Properties) -> None:
        old = of_state(olds)
        if not pairs_of(old.vms):  # the connection may be gone
            return
        age = age_seconds(old.assigned_at)
        # To destroy a stack un-assigns all; but an update may only have found too little.
        is_update = self._context.declared.is_update
        left = self._unlisted(old, NOTHING, _LEFT) if is_update else set()
        pairs = [pair for pair in pairs_of(old.vms) if pair[0] not in left]
        unassigned = self._each(urn, pairs, assigned=False, age=age)
        problem = _problem("un-assign", "from", unassigned, old.vms)
        if problem and unassigned.done:
            # After a failed delete, Pulumi keeps the old state.
            problem += (
                " The others are un-assigned, but the state does not show it. Run the same again. "
                "To keep the set, run `pulumi refresh` and then `pulumi up`: without the refresh, "
                "`pulumi up` sees no change."
            )
        if problem:
            raise VmBackupError(problem)

    def _each(
        self, urn: str, pairs: Iterable[Pair], *, assigned: bool, age: float | None = None
    ) -> Outcome:
        """Assign or un-assign pairs; pairs that the program declares are not un-assigned."""
        verb = "assigned" if assigned else "un-assigned"

        def show(count: int, of: int) -> None:
            if count:
                text = f"{count:,} of {of:,} {verb}"
                self._context.engine.show_status(urn, text, is_last=count == of)

        def show_wait(seconds: float) -> None:
            text = (
                "the server refuses to un-assign: waiting up to "
                f"{max(1, round(seconds))} s whether its list changes"
            )
            self._context.engine.show_status(urn, text, is_last=True)

        outcome = ensure_all(
            self._context.lifecycle,
            pairs,
            assigned=assigned,
            age_seconds=age,
            threads=self._context.client.parallel_requests,
            progress=show,
            when_waiting=show_wait,
            is_cancelled=self._context.is_cancelled.is_set,
        )
        if not assigned and outcome.done:
            self._warn_of_other_servers(outcome.done)
        return outcome

    def _listings(self, vms: Vms) -> dict[str, list[BackupLocation] | None]:
        lifecycle = self._context.lifecycle

        def list_one(vm_ref: str) -> list[BackupLocation] | None:
            if self._context.is_cancelled.is_set():
                raise VmBackupError("Pulumi was interrupted.")
            with explained(f"list the backup locations of VM {vms[vm_ref].label} ({vm_ref})"):
                own = vms[vm_ref].locations
                return lifecycle.locations_of(vm_ref, {**own, **expected} if own else ())

        expected = {id_: label for vm in vms.values() for id_, label in vm.locations.items()}
        threads = self._context.client.parallel_requests
        return dict(zip(vms, map_in_parallel(list_one, vms, threads=threads), strict=True))

    def _strangers(self, vms: Vms) -> dict[Pair, BackupLocation]:
        """The locations that VMs have but the set does not give them.

        Raises:
            VmBackupError: VM Backup does not manage a VM, or gives no definite answer.
        """
        listings = self._listings(vms)
        for vm_ref, listing in listings.items():
            if listing is None:
                raise ArgumentError(
                    f"VM Backup manages no VM {vms[vm_ref].label} ({vm_ref}): check that the "
                    "address leads to the right server, or remove the VM from the set."
                )
        return {
            (vm_ref, location.id): location
            for vm_ref, listing in listings.items()
            for location in listing or ()
            if location.id not in vms[vm_ref].locations
        }


def _location_ids(values: SetValues) -> list[str]:
    return [location_id for _, location_id in pairs_of(values.vms)]


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _with_hosts(vms: Vms) -> str:
    """The labels of VMs with the hosts that are known; the first of many."""
    named = [
        f"{vm.label} (on host {vm.host})" if vm.host else vm.label
        for vm in list(vms.values())[:NAMED_PAIRS]
    ]
    more = len(vms) - NAMED_PAIRS
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")


def _before(olds: Properties | None) -> SetValues:
    return of_state(olds) if olds else NOTHING


def _newly_exclusive(old: SetValues, new: Vms) -> Vms:
    """The VMs for which no refresh or update has looked for other locations yet."""
    seen = old.vms if old.exclusive else {}
    return {vm_ref: vm for vm_ref, vm in new.items() if vm_ref not in seen}


def _problem(verb: str, preposition: str, outcome: Outcome, vms: Vms) -> str:
    """The sentences about what could not be done; empty if all was done."""
    failures, untried = outcome.failures, len(outcome.untried)
    if not failures and not untried:
        return ""
    total = len(outcome.done) + len(failures) + untried
    text = f"Could not {verb} {len(failures) + untried:,} of {total:,}:"
    named = dict(list(failures.items())[:NAMED_PAIRS])
    for (vm_ref, location_id), error in named.items():
        vm = vms[vm_ref]
        text += f" {vm.label} {preposition} {vm.locations[location_id]}: {error}"
    if len(failures) > NAMED_PAIRS:
        text += f" And {len(failures) - NAMED_PAIRS:,} more failed."
    if untried:
        text += f" {untried:,} {'was' if untried == 1 else 'were'} not tried."
    return " ".join((text, *advice_of(named.values(), HINTS_OF_SETS)))
