"""Any sequence of programs, runs, faults, kills and changes by others, as hypothesis finds them.

The sequences are the same each time. For others, and for more of them:
``SEQUENCES=1000 make test-all ARGS="-s tests/reliability/test_any_sequence.py"``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any, ClassVar, get_args, get_type_hints

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from marks import only_full
from reliability.engine import Engine, Kill, Killed, Pair
from reliability.sequences import run_sequences
from reliability.watched import HOST_VMS, Change, Turn, WatchedSimulator
from sample import DC01, DISK_E, NAS01, OFFSITE01, PASSWORD, SQL01, SQL02

from pulumi_vmbackup import VmBackupError
from pulumi_vmbackup.simulator import TOKEN_PREFIX, Behavior, Fault, serve

SEQUENCES = int(os.environ.get("SEQUENCES", "80"))
STEPS = 25

PAIRS = [Pair(*each) for each in product((DC01, SQL01, SQL02), (NAS01, DISK_E, OFFSITE01))]
PRIMARY = {NAS01, DISK_E}

pairs = st.sampled_from(PAIRS)
programs: st.SearchStrategy[dict[str, Pair]] = st.dictionaries(
    st.sampled_from("abcd"), pairs, min_size=1
)
choices = {key: get_args(hint) for key, hint in get_type_hints(Behavior).items()}
behaviors = st.builds(
    Behavior,
    second_post=st.sampled_from(["accept", "refuse"]),
    unassigned_delete=st.sampled_from(["refuse", "accept"]),
    unknown_vm=st.sampled_from(["refuse", "empty"]),
    second_primary=st.sampled_from(["allow", "refuse", "move"]),
    second_session=st.sampled_from(["accept", "refuse"]),
    invalid_token=st.sampled_from(choices["invalid_token"]),
    wrong_password=st.sampled_from(choices["wrong_password"]),
    spelling=st.sampled_from(choices["spelling"]),
    lag_seconds=st.sampled_from([0, 0, 0, 0.03]),
)


@dataclass(eq=False)
class RememberingFault(Fault):
    """A fault that tells which calls it met."""

    met: list[str] = field(default_factory=list, init=False, repr=False)

    def meets(self, call: str) -> bool:
        meets = super().meets(call)
        if meets:
            self.met.append(call)
        return meets


FAULT_KINDS = ["reset", "cut short", "html", "error", "session over", "busy", "refused"]
faults = st.builds(
    RememberingFault,
    kind=st.sampled_from(FAULT_KINDS),
    call=st.sampled_from(["", "POST /vms", "GET", "DELETE", "POST /sessions"]),
    skip=st.integers(0, 2),
    times=st.sampled_from([1, 1, 1, 2, None]),
    acted=st.booleans(),
)
kills = st.builds(Kill, st.integers(0, 8), st.booleans())
turns = st.builds(Turn, st.sampled_from(get_args(Change)), st.integers(0, 3))
mishaps = st.one_of(st.none(), faults, kills, st.just("the console is connected for a while"))
Mishap = RememberingFault | Kill | Turn | str | None


class AnySequence(RuleBasedStateMachine):
    """One stack, one server, and others who work on that server as well.

    Attributes:
        foreign: what others assigned and no program has declared since.
        orphans: what a run assigned that failed or died before the state could tell: nobody can
            know of it but a program that declares it once more.
        missing: what the state holds and the server does not, since others took it away, or a run
            died between the two.
    """

    counts: ClassVar[Counter[str]] = Counter()

    @initialize(behavior=behaviors, program=programs)
    def begin(self, behavior: Behavior, program: dict[str, Pair]) -> None:
        self.counts["sequences"] += 1
        self.stack = ExitStack()
        self.behavior = behavior
        self.simulator = WatchedSimulator(
            assigned={Pair(DC01, DISK_E)},
            behavior=behavior,
            session_seconds=0.4 if behavior.second_session == "refuse" else 300,
        )
        base_url = self.stack.enter_context(serve(self.simulator))
        config = {
            "baseUrl": base_url,
            "username": "Administrator",
            "password": PASSWORD,
            "timeoutSeconds": "10",
            "sessionWaitSeconds": "1",
            # The state knows the second of an assignment only, hence the one more.
            "settleSeconds": "1.3" if behavior.lag_seconds else "0",
        }
        self.engine = Engine(config, lambda: len(self.simulator.calls))
        self.program: dict[str, Pair] = {}
        self.faults: list[RememberingFault] = []
        self.foreign = {Pair(DC01, DISK_E)}
        self.orphans: set[Pair] = set()
        self.missing: set[Pair] = set()
        self.removed_vms: dict[str, dict[str, Any]] = {}
        self.change_the_program(program, refresh=False, mishap=None)

    # The program and its runs

    def _declare(self, program: dict[str, Pair]) -> None:
        self.program = {}
        for name, pair in program.items():
            if pair not in self.program.values() and not self._conflicts(pair):
                self.program[name] = pair

    def _conflicts(self, pair: Pair) -> bool:
        """Whether it is a second primary location of a VM, on a server that allows one."""
        if self.behavior.second_primary == "allow" or pair.backup_location_id not in PRIMARY:
            return False
        others = {*self.program.values(), *self.foreign, *self.orphans} - {pair}
        return any(
            other.vm_ref == pair.vm_ref and other.backup_location_id in PRIMARY for other in others
        )

    @rule(program=programs, refresh=st.booleans(), mishap=mishaps)
    def change_the_program(self, program: dict[str, Pair], refresh: bool, mishap: Mishap) -> None:
        self._declare(program)
        self._up(refresh, mishap)

    @rule(refresh=st.booleans(), mishap=mishaps)
    def up(self, refresh: bool, mishap: Mishap) -> None:
        self._up(refresh, mishap)

    def _up(self, refresh: bool, mishap: Mishap) -> None:
        # People are slower than listings: a POST that is refused at once is not waited for, and one
        # that is lost when a DELETE is still to be listed is taken to be done.
        time.sleep(self.behavior.lag_seconds)
        declared = set(self.program.values())
        ended_well = self._run(
            lambda: self.engine.up(self.program, refresh=refresh), mishap, keeps=declared
        )
        if ended_well:
            assert {each.name: each.pair for each in self.engine.state} == self.program
            assert len(self.engine.state) == len(self.program)

    @rule(program=programs, turn=turns)
    def change_the_program_while_the_server_turns(
        self, program: dict[str, Pair], turn: Turn
    ) -> None:
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
        changes, held = len(self.simulator.history), {each.pair for each in self.engine.state}
        is_unsure = isinstance(mishap, Turn) and mishap.lists_no_vm and not mishap.skip
        ended_well = self._run(self.engine.refresh, mishap, keeps=set(PAIRS))
        assert len(self.simulator.history) == changes
        if is_unsure and not self.behavior.lag_seconds:
            # Only a list that has other locations of a VM makes a pair gone.
            dropped = held - {each.pair for each in self.engine.state}
            listed = {each.vm_ref for each in self.simulator.assigned}
            assert {pair.vm_ref for pair in dropped} <= listed
        if ended_well and not self.behavior.lag_seconds:  # a listing may not show fresh ones yet
            assert not self.missing

    @rule(mishap=mishaps)
    def destroy(self, mishap: Mishap) -> None:
        ended_well = self._run(self.engine.destroy, mishap, keeps=set())
        if ended_well:
            assert not self.engine.state

    def _run(self, command: Callable[[], None], mishap: Mishap, keeps: set[Pair]) -> bool:
        """Run a command, and see that nothing is lost; tells whether it ended well."""
        self.counts["runs"] += 1
        simulator, engine = self.simulator, self.engine
        if isinstance(mishap, RememberingFault):
            self.faults.append(mishap)
            simulator.faults.append(mishap)
        since = len(simulator.history) - 1
        untouchable = {*self.foreign, *self.orphans}
        untouchable |= {each.pair for each in engine.state} & keeps & simulator.assigned
        sessions_before = set(simulator.sessions)
        met_before = [list(each.met) for each in self.faults]
        calls_before = len(simulator.calls)
        console_connected = simulator.console_connected
        console_leaves = threading.Timer(0.05, self.disconnect_the_console)
        if isinstance(mishap, str):
            simulator.console_connected = True
            console_leaves.start()
        failure: VmBackupError | None = None
        kill = mishap if isinstance(mishap, Kill) else None
        turn = mishap if isinstance(mishap, Turn) else None
        engine.goes_on = is_other_password = str(turn) == "the password is another one"
        logins_before = len(simulator.logins)
        held_before = {each.pair for each in engine.state}
        try:
            with ExitStack() as stack:
                if kill:
                    stack.enter_context(kill.armed())
                if turn:
                    stack.enter_context(simulator.turning(turn))
                command()
        except VmBackupError as error:
            failure = error
            self._assert_is_one_sentence(error)
        except Killed:
            self.counts["kills"] += 1
        if isinstance(mishap, str):
            console_leaves.join()
        is_killed = bool(kill and kill.hits)
        met = [
            (fault, call)
            for fault, before in zip(self.faults, met_before, strict=True)
            for call in fault.met[len(before) :]
        ]
        self.counts["faults met"] += len(met)

        for before, after in pairwise(simulator.history[since:]):
            if after - before:  # in one change: the server itself moved the VM
                moved = before - after
                assert not moved or self.behavior.second_primary == "move"
                untouchable -= moved
                self.foreign -= moved
                self.orphans -= moved
                self.missing |= moved
            assert untouchable <= after
        self.counts["calls"] += len(simulator.calls) - calls_before
        if turn and turn.hits and turn.change == "a host is off":
            # The state drops the pair of a VM that is not listed, and it stays.
            left = held_before & simulator.assigned - {each.pair for each in engine.state}
            assert not left & keeps
            self.foreign |= {pair for pair in left if pair.vm_ref in HOST_VMS}
        self._account(is_killed or failure is not None)

        kinds = {fault.kind for fault, _ in met}
        is_waited_for = console_connected or isinstance(mishap, str) or "busy" in kinds
        if self.behavior.second_session == "accept" and not is_waited_for:
            assert all(step.calls < 20 for step in engine.steps)
        new_sessions = set(simulator.sessions) - sessions_before
        lost = [call for _, call in met if call.startswith("POST /sessions/")]
        is_left = bool(turn and turn.hits and turn.change == "another site answers")
        assert len(new_sessions) <= is_killed + len(lost) + is_left
        if turn and turn.hits:
            self.counts[str(turn)] += 1
            assert len(turn.there.history) == 1  # the other site is as it was
            assert failure or not simulator.asks_another_site(turn, {pair.vm_ref for pair in PAIRS})
            if is_other_password and not met:
                assert failure
                assert len(simulator.logins) == logins_before + 1

        if failure:
            self.counts["failed runs"] += 1
            is_right = len(met) > 1 or console_connected or "refused" in kinds
            if not is_right and not self._is_refused_rightly() and not self._is_due_to(turn):
                raise failure
        return not (failure or is_killed)

    def _account(self, is_interrupted: bool) -> None:
        """See that the server holds what the state holds, but for what is accounted for."""
        assigned, state = self.simulator.assigned, {each.pair for each in self.engine.state}
        self.foreign -= state  # those that were adopted
        self.orphans -= state
        in_flight = self.engine.steps[-1] if self.engine.steps else None
        if is_interrupted and in_flight and not in_flight.is_done:
            pair = in_flight.pair
            if in_flight.handler == "create" and pair in assigned - state - self.foreign:
                self.orphans.add(pair)
            # The state may hold a pair more than once, after runs that failed.
            self.missing |= {step.pair for step in self.engine.steps if step.handler == "delete"}
        self.missing &= state - assigned
        assert assigned == (state - self.missing) | self.foreign | self.orphans

    def _is_refused_rightly(self) -> bool:
        step = self.engine.steps[-1]
        if step.handler != "create":
            return False
        others = [each for each in self.simulator.assigned - {step.pair} if each[0] == step.pair[0]]
        return step.pair.vm_ref in self.removed_vms or (
            self.behavior.second_primary == "refuse"
            and step.pair.backup_location_id in PRIMARY
            and any(each.backup_location_id in PRIMARY for each in others)
        )

    def _is_due_to(self, turn: Turn | None) -> bool:
        """Whether a run may fail because the server was another one."""
        if turn is None or not turn.hits or turn.change == "a host is off":
            return False
        step = self.engine.steps[-1]
        # Of reads, only an empty list of a VM's locations makes the list of VMs matter.
        return turn.change != "no VM is listed" or (
            step.handler == "delete"
            or self.behavior.lag_seconds > 0
            or all(pair.vm_ref != step.pair.vm_ref for pair in self.simulator.assigned)
        )

    def _assert_is_one_sentence(self, error: VmBackupError) -> None:
        text = str(error)
        assert text.startswith("Could not ")
        assert text.endswith(".")
        assert text.isprintable()
        assert PASSWORD not in text
        assert TOKEN_PREFIX not in text

    # What goes wrong

    @rule()
    def clear_faults(self) -> None:
        self.simulator.faults.clear()

    @rule()
    def restart_the_server(self) -> None:
        self.simulator.sessions.clear()

    @rule()
    def connect_the_console(self) -> None:
        self.simulator.console_connected = True

    @rule()
    def disconnect_the_console(self) -> None:
        self.simulator.console_connected = False

    # What others do

    @rule(pair=pairs)
    def assign(self, pair: Pair) -> None:
        if (
            pair in self.simulator.assigned
            or pair.vm_ref in self.removed_vms
            or (self.behavior.second_primary != "allow" and pair.backup_location_id in PRIMARY)
        ):
            return
        self._set(self.simulator.assigned | {pair})
        if pair in self.missing:
            self.missing.remove(pair)
        else:
            self.foreign.add(pair)

    @rule(pair=pairs)
    def unassign(self, pair: Pair) -> None:
        self._take_away({pair})

    @rule(vm_ref=st.sampled_from([SQL01, SQL02]))
    @precondition(lambda self: not self.removed_vms)
    def remove_a_vm(self, vm_ref: str) -> None:
        self.removed_vms[vm_ref] = self.simulator.inventory.virtual_machines.pop(vm_ref)
        self._take_away({pair for pair in PAIRS if pair.vm_ref == vm_ref})

    @rule()
    def add_the_vm_again(self) -> None:
        self.simulator.inventory.virtual_machines.update(self.removed_vms)
        self.removed_vms.clear()

    def _take_away(self, pairs: set[Pair]) -> None:
        gone = pairs & self.simulator.assigned
        self._set(self.simulator.assigned - gone)
        self.missing |= gone - self.foreign - self.orphans
        self.foreign -= gone
        self.orphans -= gone

    def _set(self, assigned: frozenset[Pair]) -> None:
        self.simulator.inventory.assignments = dict.fromkeys(assigned)
        time.sleep(self.behavior.lag_seconds)

    # The end

    @rule()
    def make_up(self) -> None:
        """When nothing is wrong any more, one run brings everything together."""
        self.clear_faults()
        self.disconnect_the_console()
        self.add_the_vm_again()
        self._up(True, None)
        if {each.name: each.pair for each in self.engine.state} == self.program and not (
            self.behavior.lag_seconds
        ):
            declared = set(self.program.values())
            assert self.simulator.assigned == declared | self.foreign | self.orphans

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
                assert self.simulator.assigned == self.foreign | self.orphans
            self.simulator.faults.clear()


@pytest.mark.parametrize("sequences", [24, *only_full(SEQUENCES)])
def test_any_sequence_leaves_server_state_and_program_in_agreement(
    sequences: int, record_property: Callable[[str, object], None]
) -> None:
    run_sequences(
        AnySequence, AnySequence.counts, record_property, sequences=sequences, steps=STEPS
    )
