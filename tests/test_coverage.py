"""What an update means for the VMs of a server, from plain values."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from sample import DC01, DISK_E, NAS01, NOWHERE, OFFSITE01, ROTATING, SQL01, SQL02

from pulumi_vmbackup.coverage import (
    Coverage,
    Meaning,
    PartlyKnown,
    ResourcePlan,
    VmCoverage,
    cover,
)
from pulumi_vmbackup.inventory import Snapshot
from pulumi_vmbackup.models import Assignment, BackupLocation, Pair, VirtualMachine

LOCATIONS = (
    BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary"),
    BackupLocation(DISK_E, r"E:\VMBackups", "primary"),
    BackupLocation(OFFSITE01, r"\\OFFSITE01\VMBackups", "offsite"),
    BackupLocation(ROTATING, "Rotating disks", "offsite"),
)
VMS = tuple(
    VirtualMachine(ref, name, "HV-01", True)
    for ref, name in ((DC01, "DC01"), (SQL01, "SQL01"), (SQL02, "SQL02"))
)
PLAN = ResourcePlan("one (backup/prod)", "backup/prod")


def holding(*pairs: Pair, locations: tuple[BackupLocation, ...] = LOCATIONS) -> Snapshot:
    at = datetime(2026, 11, 28, tzinfo=timezone.utc)
    return Snapshot(VMS, locations, tuple(Assignment(*pair) for pair in pairs), at)


def covered(*pairs: Pair, plans: list[ResourcePlan] | None = None) -> Coverage:
    return cover("localhost:36013", holding(*pairs), plans or [])


def vm(coverage: Coverage, ref: str = SQL01) -> VmCoverage:
    (found,) = (each for each in coverage.vms if each.vm.ref == ref)
    return found


def assigning(*pairs: Pair) -> ResourcePlan:
    return replace(PLAN, declares=frozenset(pairs), assigns=frozenset(pairs))


def unassigning(*pairs: Pair) -> ResourcePlan:
    return replace(PLAN, unassigns=frozenset(pairs))


@pytest.mark.parametrize(
    ("now", "assigned", "unassigned", "meanings"),
    [
        ([], [NAS01], [], [Meaning.GAINS_FIRST, Meaning.GAINS_PRIMARY]),
        ([NAS01], [OFFSITE01], [], [Meaning.GAINS_OFFSITE]),
        ([OFFSITE01], [ROTATING], [], [Meaning.GAINS]),
        ([NAS01], [DISK_E], [], [Meaning.SECOND_PRIMARY]),
        ([OFFSITE01], [ROTATING], [OFFSITE01], [Meaning.MOVES]),
        ([NAS01], [DISK_E], [NAS01], [Meaning.MOVES]),
        ([NAS01, OFFSITE01], [], [OFFSITE01], [Meaning.LOSES_LAST_OFFSITE]),
        ([NAS01, OFFSITE01], [], [NAS01], [Meaning.LOSES_LAST_PRIMARY]),
        ([OFFSITE01, ROTATING], [], [ROTATING], [Meaning.LOSES]),
        ([OFFSITE01], [], [OFFSITE01], [Meaning.LOSES_LAST]),
        (
            [OFFSITE01],
            [NAS01],
            [OFFSITE01],
            [Meaning.LOSES_LAST_OFFSITE, Meaning.GAINS_PRIMARY],
        ),
        (
            [NAS01, OFFSITE01],
            [ROTATING],
            [OFFSITE01, NAS01],
            [Meaning.LOSES_LAST_PRIMARY, Meaning.GAINS],
        ),
        ([NAS01], [NAS01], [], []),
        ([], [], [OFFSITE01], []),
    ],
)
def test_what_an_update_means(
    now: list[str], assigned: list[str], unassigned: list[str], meanings: list[Meaning]
) -> None:
    coverage = covered(
        *((SQL01, each) for each in now),
        plans=[
            assigning(*((SQL01, each) for each in assigned)),
            unassigning(*((SQL01, each) for each in unassigned)),
        ],
    )
    assert list(vm(coverage).meanings) == meanings
    assert [each.vm.ref for each in coverage.changed] == ([SQL01] if meanings else [])


def test_a_renamed_resource_changes_nothing_and_adopts_nothing() -> None:
    pair = (SQL01, OFFSITE01)
    coverage = covered(pair, plans=[unassigning(pair), assigning(pair)])
    assert coverage.changed == []
    assert coverage.adopted == 0


def test_what_the_server_has_already_is_adopted() -> None:
    pair = (SQL01, OFFSITE01)
    coverage = covered(pair, plans=[assigning(pair)])
    assert coverage.changed == []
    assert coverage.adopted == 1
    assert vm(coverage).unmanaged == ()


def test_what_nobody_declares_is_unmanaged_afterwards() -> None:
    coverage = covered((SQL01, NAS01), (SQL01, OFFSITE01), plans=[assigning((SQL01, NAS01))])
    assert [each.id for each in vm(coverage).unmanaged] == [OFFSITE01]


def test_what_was_removed_by_hand_is_missing_and_an_unchanged_resource_does_not_assign_it() -> None:
    same = replace(PLAN, declares=frozenset({(SQL01, OFFSITE01)}))
    coverage = covered((SQL01, NAS01), plans=[same])
    assert [each.id for each in vm(coverage).missing] == [OFFSITE01]
    assert [each.id for each in vm(coverage).after] == [NAS01]
    assert vm(coverage).has("offsite") is False


def test_another_stack_does_not_keep_what_one_removes() -> None:
    pair = (SQL01, OFFSITE01)
    other = replace(PLAN, stack="backup/other", declares=frozenset({pair}))
    coverage = covered(pair, plans=[unassigning(pair), other])
    assert vm(coverage).meanings == (Meaning.LOSES_LAST,)


def test_a_pair_that_one_stack_removes_and_another_assigns_may_be_lost() -> None:
    pair = (SQL01, OFFSITE01)
    other = replace(assigning(pair), stack="backup/other")
    coverage = covered(pair, plans=[unassigning(pair), other])
    assert vm(coverage).meanings == (Meaning.MAY_LOSE,)
    assert vm(coverage).has("any") is None


@pytest.mark.parametrize(
    ("vm_ref", "location_id", "is_certain"),
    [
        (SQL01, None, False),
        (None, OFFSITE01, False),
        (None, None, False),
        (SQL02, None, True),
        (None, ROTATING, True),
    ],
)
def test_what_is_removed_may_stay_if_an_unknown_value_may_declare_it(
    vm_ref: str | None, location_id: str | None, is_certain: bool
) -> None:
    unknown = replace(PLAN, partly_known=(PartlyKnown("one", vm_ref, location_id),))
    coverage = covered((SQL01, OFFSITE01), plans=[unassigning((SQL01, OFFSITE01)), unknown])
    meaning = Meaning.MAY_LOSE if not is_certain else vm(coverage).meanings[0]
    assert meaning in vm(coverage).meanings
    assert vm(coverage).has("offsite") is (False if is_certain else None)


def test_a_vm_may_have_a_location_that_only_the_update_knows() -> None:
    unknown = replace(PLAN, partly_known=(PartlyKnown("one", SQL01, None),))
    coverage = covered((SQL01, NAS01), plans=[unknown])
    assert vm(coverage).meanings == (Meaning.GAINS_UNKNOWN,)
    assert vm(coverage).has("offsite") is None
    assert vm(coverage).has("primary") is True
    assert coverage.of_unknown_vm == ()


def test_an_exclusive_set_removes_what_its_stack_does_not_declare() -> None:
    held = [(SQL01, NAS01), (SQL01, OFFSITE01), (SQL01, ROTATING), (DC01, NAS01)]
    exclusive = replace(assigning((SQL01, NAS01)), exclusive_vms=frozenset({SQL01}))
    single = replace(PLAN, declares=frozenset({(SQL01, ROTATING)}))
    coverage = covered(*held, plans=[exclusive, single])
    assert [each.id for each in vm(coverage).lost] == [OFFSITE01]
    assert not vm(coverage, DC01).meanings


def test_a_set_that_may_be_exclusive_may_remove() -> None:
    maybe = replace(assigning((SQL01, NAS01)), may_be_exclusive_vms=frozenset({SQL01}))
    coverage = covered((SQL01, NAS01), (SQL01, OFFSITE01), plans=[maybe])
    assert [each.id for each in vm(coverage).may_lose] == [OFFSITE01]


def test_a_location_that_is_listed_as_both_kinds_is_of_either() -> None:
    both = (*LOCATIONS, BackupLocation(NAS01, r"\\NAS01\VMBackups", "offsite"))
    coverage = cover("x", holding((SQL01, NAS01), locations=both), [])
    assert vm(coverage).has("offsite") is vm(coverage).has("primary") is True


def test_of_a_location_that_is_not_listed_nobody_knows_the_kind() -> None:
    coverage = covered((SQL01, NOWHERE))
    assert vm(coverage).has("any") is True
    assert vm(coverage).has("offsite") is vm(coverage).has("primary") is None


@pytest.mark.parametrize("pair", [(NOWHERE, OFFSITE01), (SQL01, NOWHERE)])
def test_what_the_server_does_not_list_is_told_and_not_counted_as_assigned(pair: Pair) -> None:
    coverage = covered(plans=[assigning(pair)])
    (unlisted,) = coverage.unlisted
    assert unlisted.lists_vm is (pair[0] == SQL01)
    assert unlisted.is_assigned
    assert unlisted.resources == ("one (backup/prod)",)
    assert len(coverage.unlisted_vms) == (pair[0] == NOWHERE)
    assert coverage.changed == []
    assert not any(each.missing for each in coverage.vms)


def test_a_vm_that_is_not_configured_is_there_only_if_it_has_locations() -> None:
    vms = (*VMS, VirtualMachine(NOWHERE, "TEST01", "HV-01", False))
    inventory = replace(holding(), virtual_machines=vms)
    assert len(cover("x", inventory, []).vms) == 3
    held = replace(inventory, assignments=(Assignment(NOWHERE, NAS01),))
    coverage = cover("x", held, [])
    assert len(coverage.vms) == 4
    assert len(coverage.configured) == 3


def test_the_gravest_change_comes_first() -> None:
    coverage = covered(
        (SQL02, NAS01),
        plans=[assigning((DC01, NAS01), (SQL01, NAS01)), unassigning((SQL02, NAS01))],
    )
    assert [each.label for each in coverage.changed] == ["SQL02", "DC01", "SQL01"]


def test_an_exclusive_set_of_an_unknown_vm_may_remove_anything() -> None:
    unknown = (PartlyKnown("one", None, NAS01),)
    plan = replace(PLAN, partly_known=unknown, may_exclude_any_vm=True)
    coverage = covered((SQL01, OFFSITE01), (SQL02, NAS01), plans=[plan])
    assert [each.label for each in coverage.changed] == ["SQL01", "SQL02"]
    assert all(each.meanings == (Meaning.MAY_LOSE,) for each in coverage.changed)


def test_what_a_resource_declares_in_secret_is_not_lost_for_sure() -> None:
    secret = replace(PLAN, not_shown=(PartlyKnown("one", None, None, is_secret=True),))
    coverage = covered((SQL01, OFFSITE01), plans=[unassigning((SQL01, OFFSITE01)), secret])
    assert vm(coverage).meanings == (Meaning.MAY_LOSE,)
    assert coverage.not_shown == secret.not_shown
    assert coverage.of_unknown_vm == ()


def test_what_waits_to_be_removed_is_there_and_not_unmanaged() -> None:
    pair = (SQL01, OFFSITE01)
    coverage = covered(pair, plans=[replace(PLAN, will_unassign=frozenset({pair}))])
    assert coverage.changed == []
    assert vm(coverage).unmanaged == ()
    ((name, path, resource),) = coverage.waiting
    assert (name, path, resource) == ("SQL01", r"\\OFFSITE01\VMBackups", "one (backup/prod)")


def test_what_an_exclusive_set_of_another_stack_removes_is_lost_and_not_missing() -> None:
    pair = (SQL01, OFFSITE01)
    exclusive = replace(PLAN, stack="backup/other", exclusive_vms=frozenset({SQL01}))
    coverage = covered(pair, plans=[replace(PLAN, declares=frozenset({pair})), exclusive])
    assert [each.id for each in vm(coverage).lost] == [OFFSITE01]
    assert vm(coverage).missing == ()


def test_of_a_vm_that_is_listed_twice_the_configured_one_counts() -> None:
    moving = VirtualMachine(SQL01, "SQL01", "HV-00", False)
    for vms in ((moving, *VMS), (*VMS, moving)):
        coverage = cover("x", replace(holding(), virtual_machines=vms), [])
        assert vm(coverage).vm.host == "HV-01"
        assert len(coverage.configured) == 3
