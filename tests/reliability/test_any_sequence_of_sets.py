"""Any sequence of programs with sets, runs, faults, kills and changes by others.

As test_any_sequence.py, for the plugin, on servers where a VM may have any locations.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from marks import only_full
from reliability.engine import Kill, Killed, Pair
from reliability.plugin_engine import PluginEngine, Program, Set, declared_pairs, urn
from reliability.sequences import run_sequences
from reliability.sweep import assert_are_sentences
from reliability.test_any_sequence import (
    FAULT_KINDS,
    RememberingFault,
    choices,
    kills,
    pairs,
    turns,
)
from reliability.watched import HOST_VMS, Turn, WatchedSimulator
from sample import DC01, DISK_E, NAS01, OFFSITE01, PASSWORD, SQL01, SQL02

from pulumi_vmbackup import VmBackupError
from pulumi_vmbackup.plugin.handler import PartlyDoneError
from pulumi_vmbackup.plugin.schema import ASSIGNMENT_SET
from pulumi_vmbackup.simulator import Behavior, serve

SEQUENCES = int(os.environ.get("SEQUENCES", "80"))
STEPS = 20

labels = st.sampled_from(["a", "b", "c", "d.e", 'f"g'])


@st.composite
def sets(draw: st.DrawFn) -> Set:
    refs = draw(st.lists(st.sampled_from([DC01, SQL01, SQL02]), unique=True, max_size=3))
    names = draw(st.lists(labels, unique=True, min_size=len(refs), max_size=len(refs)))
    vms = {}
    for label, ref in zip(names, refs, strict=True):
        ids = draw(st.lists(st.sampled_from([NAS01, DISK_E, OFFSITE01]), unique=True, max_size=3))
        keys = draw(st.lists(labels, unique=True, min_size=len(ids), max_size=len(ids)))
        vms[label] = (ref, dict(zip(keys, ids, strict=True)))
    return Set(vms, draw(st.booleans()))


programs = st.dictionaries(
    st.sampled_from(["x", "y", "z"]), st.one_of(sets(), sets(), pairs), min_size=1
)
behaviors = st.builds(
    Behavior,
    second_post=st.sampled_from(["accept", "refuse"]),
    unassigned_delete=st.sampled_from(["refuse", "accept"]),
    unknown_vm=st.sampled_from(choices["unknown_vm"]),
    second_session=st.sampled_from(choices["second_session"]),
    invalid_token=st.sampled_from(choices["invalid_token"]),
    wrong_password=st.sampled_from(choices["wrong_password"]),
    spelling=st.sampled_from(choices["spelling"]),
)
faults = st.builds(
    RememberingFault,
    kind=st.sampled_from(FAULT_KINDS),
    call=st.sampled_from(["", "POST /vms", "POST /vms", "GET", "DELETE", "POST /sessions"]),
    skip=st.integers(0, 2),
    times=st.sampled_from([1, 1, 2, 4, None]),
    acted=st.booleans(),
)
mishaps = st.one_of(st.none(), faults, kills)
Mishap = RememberingFault | Kill | Turn | None


def _exclusive_vms(program: Program) -> set[str]:
    sets = [each for each in program.values() if isinstance(each, Set) and each.exclusive]
    return {ref for each in sets for ref in each.vm_refs}


def _vm_refs(declared: Pair | Set) -> frozenset[str]:
    return declared.vm_refs if isinstance(declared, Set) else frozenset([declared.vm_ref])


class AnySequenceOfSets(RuleBasedStateMachine):
    """One stack, one server, and others who work on that server as well.

    Attributes:
        foreign: what is assigned and the state does not hold: by others, or by a run that failed.
        missing: what the state holds and the server does not: since others took it away, or a run
            failed between the two.
    """

    counts: ClassVar[Counter[str]] = Counter()

    @initialize(behavior=behaviors, program=programs, threads=st.sampled_from("14"))
    def begin(self, behavior: Behavior, program: Program, threads: str) -> None:
        self.counts["sequences"] += 1
        self.stack = ExitStack()
        self.foreign = {Pair(DC01, DISK_E)}
        self.missing: set[Pair] = set()
        self.simulator = WatchedSimulator(
            assigned=self.foreign,
            behavior=behavior,
            session_seconds=0.4 if behavior.second_session == "refuse" else 300,
        )
        base_url = self.stack.enter_context(serve(self.simulator))
        self.config = {
            "baseUrl": base_url,
            "username": "Administrator",
            "password": PASSWORD,
            "timeoutSeconds": "10",
            "sessionWaitSeconds": "1",
            "settleSeconds": "0",
        }
        self.threads = threads
        self.engine = PluginEngine(self.config)
        self.program: dict[str, Pair | Set] = {}
        self.faults: list[RememberingFault] = []
        self.change_the_program(program, refresh=False, mishap=None)

    # The program and its runs

    def _declare(self, program: Program) -> None:
        """Take over a program, but for what contradicts the resources before.

        That is a pair once more, and an exclusive set of a VM to which another resource assigns.
        """
        self.program = {}
        for name, declared in program.items():
            there = declared_pairs(self.program)
            new = declared_pairs({name: declared})
            excluded = _exclusive_vms(self.program) & {pair.vm_ref for pair in new}
            excluded |= _exclusive_vms({name: declared}) & {pair.vm_ref for pair in there}
            if not there & new and not excluded:
                self.program[name] = declared

    @rule(program=programs, refresh=st.booleans(), mishap=mishaps)
    def change_the_program(self, program: Program, refresh: bool, mishap: Mishap) -> None:
        self._declare(program)
        self._up(refresh, mishap)

    @rule(refresh=st.booleans(), mishap=mishaps)
    def up(self, refresh: bool, mishap: Mishap) -> None:
        self._up(refresh, mishap)

    def _up(self, refresh: bool, mishap: Mishap) -> None:
        declared = declared_pairs(self.program)
        exclusive = _exclusive_vms(self.program)
        moved, held_before = declared - self._kept(), self._held()
        unlisted = self._unlisted(mishap)
        strangers = {pair for pair in self.foreign if pair.vm_ref in exclusive} - declared
        ended_well = self._run(
            lambda: self.engine.up(self.program, refresh=refresh),
            mishap,
            may_add=declared,
            may_remove=self._held() | strangers,
            keeps=self._kept() | unlisted,
            may_miss=moved,
        )
        if ended_well:
            # A set keeps the VMs that are no longer in it while the host is off that lists them.
            is_off = isinstance(mishap, Turn) and mishap.hits and mishap.change == "a host is off"
            kept = {pair for pair in held_before if is_off and pair.vm_ref in HOST_VMS}
            held = {each.urn: each.pairs - kept for each in self.engine.state}
            assert held == {
                urn(*each): declared_pairs(dict([each])) - kept for each in self.program.items()
            }
            assert len(self.engine.state) == len(self.program)
            if refresh:
                assert self.missing <= moved
                assert not any(pair.vm_ref in exclusive for pair in self.foreign)

    def _held(self) -> set[Pair]:
        return {pair for each in self.engine.state for pair in each.pairs}

    def _unlisted(self, mishap: Mishap) -> set[Pair]:
        """What its set alone holds, of VMs that left the set, and that the server does not list."""
        if not isinstance(mishap, Turn) or mishap.change != "a host is off" or mishap.skip:
            return set()
        refs = {urn(*each): _vm_refs(each[1]) for each in self.program.items()}
        sets = [
            each for each in self.engine.state if each.urn in refs and not each.pending_deletion
        ]
        return {
            pair
            for each in sets
            for pair in each.pairs
            if ASSIGNMENT_SET in each.urn
            and pair.vm_ref in HOST_VMS - refs[each.urn] - _exclusive_vms(self.program)
            and sum(pair in other.pairs for other in self.engine.state) == 1
        }

    def _kept(self) -> set[Pair]:
        """What is declared by the resource that holds it, or is checked before that one lets go."""
        kept: set[Pair] = set()
        order = [urn(*each) for each in self.program.items()]
        for at, (name, declared) in enumerate(self.program.items()):
            later = {urn(*each) for each in list(self.program.items())[at + 1 :]}
            for each in self.engine.state:
                if each.urn == order[at] or each.urn in later or each.urn not in order:
                    kept |= each.pairs & declared_pairs({name: declared})
        return kept

    @rule(program=programs, turn=turns)
    def change_the_program_while_the_server_turns(self, program: Program, turn: Turn) -> None:
        self._declare(program)
        self._up(False, turn)

    @rule(turn=turns)
    def refresh_while_the_server_turns(self, turn: Turn) -> None:
        self.refresh(turn)

    @rule(turn=turns)
    def destroy_while_the_server_turns(self, turn: Turn) -> None:
        self.destroy(turn)

    @rule(mishap=mishaps)
    def refresh(self, mishap: Mishap) -> None:
        held = self._held()
        is_unsure = isinstance(mishap, Turn) and mishap.lists_no_vm and not mishap.skip
        ended_well = self._run(
            self.engine.refresh, mishap, may_add=set(), may_remove=set(), keeps=set()
        )
        if is_unsure:  # only a list that has other locations of a VM makes a pair gone
            listed = {pair.vm_ref for pair in self.simulator.assigned}
            assert {pair.vm_ref for pair in held - self._held()} <= listed
        assert not (ended_well and self.missing)

    @rule(mishap=mishaps)
    def destroy(self, mishap: Mishap) -> None:
        ended_well = self._run(
            self.engine.destroy, mishap, may_add=set(), may_remove=self._held(), keeps=set()
        )
        assert not (ended_well and self.engine.state)

    def _run(
        self,
        command: Callable[[], None],
        mishap: Mishap,
        *,
        may_add: set[Pair] | frozenset[Pair],
        may_remove: set[Pair],
        keeps: set[Pair],
        may_miss: set[Pair] | frozenset[Pair] = frozenset(),
    ) -> bool:
        """Run a command, and see that nothing is lost; tells whether it ended well."""
        self.counts["runs"] += 1
        simulator, engine = self.simulator, self.engine
        kill = mishap if isinstance(mishap, Kill) else None
        turn = mishap if isinstance(mishap, Turn) else None
        logins_before, held_before = len(simulator.logins), self._held()
        if isinstance(mishap, RememberingFault):
            self.faults.append(mishap)
            simulator.faults.append(mishap)
        # What other threads of a killed process still send could arrive after its death.
        engine.config = {**self.config, "parallelRequests": "1" if kill else self.threads}
        since = len(simulator.history) - 1
        sessions_before = set(simulator.sessions)
        met_before = [len(each.met) for each in self.faults]
        failure: Exception | None = None
        is_killed = False
        try:
            with ExitStack() as stack:
                if kill:
                    stack.enter_context(kill.armed())
                if turn:
                    stack.enter_context(simulator.turning(turn))
                command()
        except (VmBackupError, PartlyDoneError) as error:
            failure = error
            assert_are_sentences(error)
            self.counts["partly done runs"] += isinstance(error, PartlyDoneError)
        except Killed:
            is_killed = True
            self.counts["kills"] += 1
        met = [
            (fault, call)
            for fault, before in zip(self.faults, met_before, strict=True)
            for call in fault.met[before:]
        ]
        self.counts["faults met"] += len(met)
        self.counts["failed runs"] += failure is not None

        added: set[Pair] = set()
        removed: set[Pair] = set()
        for before, after in pairwise(simulator.history[since:]):
            added |= after - before
            removed |= before - after
        assert added <= may_add
        assert removed <= may_remove - keeps

        # The server holds what the state holds, but for what is accounted for.
        assigned, held = simulator.assigned, self._held()
        missing, foreign = held - assigned, assigned - held
        # The state drops the pair of a single resource whose VM is not listed, and it stays.
        is_off = turn and turn.hits and turn.change == "a host is off"
        left = {pair for pair in held_before if is_off and pair.vm_ref in HOST_VMS}
        if failure is None and not is_killed:
            assert missing <= self.missing | (removed & may_miss)
            assert foreign <= self.foreign | left
        else:
            assert missing <= self.missing | removed
            assert foreign <= self.foreign | added | left
        self.missing, self.foreign = set(missing), set(foreign)

        lost = [call for _, call in met if call.startswith("POST /sessions/")]
        is_left = bool(turn and turn.hits and turn.change == "another site answers")
        assert len(set(simulator.sessions) - sessions_before) <= is_killed + len(lost) + is_left
        is_due = len(met) > 1 or any(fault.kind == "refused" for fault, _ in met)
        if turn and turn.hits:
            self.counts[str(turn)] += 1
            is_due |= turn.change != "a host is off"
            assert len(turn.there.history) == 1  # the other site is as it was
            # Where a set gives a VM no location, nothing tells that the server is another one.
            refs = {pair.vm_ref for pair in may_add | may_remove | held_before}
            assert failure or not simulator.asks_another_site(turn, refs)
            if turn.change == "the password is another one" and not met:
                assert failure
                assert len(simulator.logins) == logins_before + 1
        if failure and not is_due:
            raise failure
        return not (failure or is_killed)

    # What goes wrong, and what others do

    @rule()
    def clear_faults(self) -> None:
        self.simulator.faults.clear()

    @rule()
    def restart_the_server(self) -> None:
        self.simulator.sessions.clear()

    @rule(pair=pairs)
    def assign(self, pair: Pair) -> None:
        self._set(self.simulator.assigned | {pair})

    @rule(pair=pairs)
    def unassign(self, pair: Pair) -> None:
        self._set(self.simulator.assigned - {pair})

    def _set(self, assigned: frozenset[Pair]) -> None:
        self.simulator.inventory.assignments = dict.fromkeys(assigned)
        self.missing = self._held() - assigned
        self.foreign = set(assigned - self._held())

    # The end

    @rule()
    def make_up(self) -> None:
        """When nothing is wrong any more, one run brings everything together.

        Another one may be needed where a run that failed left a pair in the states of two
        resources, and the first lets go of it before the second is checked.
        """
        self.clear_faults()
        self._up(True, None)
        if self.missing:
            self.counts["second runs"] += 1
            self._up(True, None)
        assert self.simulator.assigned == declared_pairs(self.program) | self.foreign

    @invariant()
    def count_steps(self) -> None:
        self.counts["steps"] += 1

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            if sys.exc_info()[0] is None:
                self.make_up()
                self.destroy(mishap=None)
                assert self.simulator.assigned == self.foreign
            self.simulator.faults.clear()


@pytest.mark.parametrize("sequences", [24, *only_full(SEQUENCES)])
def test_any_sequence_of_sets_leaves_server_state_and_program_in_agreement(
    sequences: int, record_property: Callable[[str, object], None]
) -> None:
    run_sequences(
        AnySequenceOfSets,
        AnySequenceOfSets.counts,
        record_property,
        sequences=sequences,
        steps=STEPS,
    )
    assert AnySequenceOfSets.counts["partly done runs"]
