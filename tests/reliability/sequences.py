"""Runs a state machine for a number of sequences, the same ones each time unless asked for more."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import get_args

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from reliability.watched import Change


def run_sequences(
    machine: type[RuleBasedStateMachine],
    counts: Counter[str],
    record_property: Callable[[str, object], None],
    *,
    sequences: int,
    steps: int,
) -> None:
    """Run it, tell what it met, and see that this was not too little to prove anything."""
    counts.clear()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            deadline=None,
            derandomize="SEQUENCES" not in os.environ,
            database=None,
            phases=[Phase.generate],  # a smaller sequence would take minutes to find
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(dict(counts))
    for name, count in counts.items():
        record_property(name, count)
    assert counts["sequences"] >= sequences
    assert counts["faults met"] > sequences
    assert counts["kills"] > sequences / 4
    assert all(counts[change] for change in get_args(Change))
