"""Runs the commands, and keeps what they cost."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

from .cases import BARE_LOOP, COMMANDS, FLEET, Group
from .project import Project
from .results import Results
from .simulated import SimulatedServers, seconds_of_bare_loop, simulated_servers


def measure(groups: Iterable[Group], results: Results) -> None:
    """Measure the groups one after the other, and add to the results."""
    for group in groups:
        with simulated_servers(group.servers) as servers:
            for _ in range(group.rounds):
                with tempfile.TemporaryDirectory() as folder:
                    _measure_once(group, servers, results, Path(folder))


def _measure_once(group: Group, servers: SimulatedServers, results: Results, folder: Path) -> None:
    base_urls, location_id = servers.base_urls(), servers.location_id()
    pairs = [
        (str(uuid.uuid5(uuid.NAMESPACE_OID, f"vm {number}")), location_id)
        for number in range(group.count + 1)
    ]
    declared, with_one_change = pairs[:-1], pairs[1:]
    with_bare_loop = "" if group.answer_ms else "dynamic" if "dynamic" in group.sides else "set"
    turns = [(side, Project(folder / side, side, base_urls)) for side in group.sides]
    for command in group.commands:
        for side, project in turns:
            case = results.case(group.answer_ms, group.count, side)
            project.declare(with_one_change if command == "preview of one change" else declared)
            is_assigned = command not in ("preview", "up")
            spread = {"answer_ms": group.answer_ms, "on": group.servers if side == FLEET else 1}
            servers.hold(declared, assigned=is_assigned, **spread)
            cost = project.run(*COMMANDS[command])
            calls = servers.calls()
            case.add(command, cost.seconds, len(calls))
            case.sessions = max(case.sessions, servers.most_sessions())
            case.provider_mb = max(case.provider_mb, round(cost.provider_mb))
            case.all_mb = max(case.all_mb, round(cost.all_mb))
            case.state_kb = max(case.state_kb, round(project.state_bytes() / 1000))
            print(f"{group.count:6} {side:40} {command:22} {cost.seconds:7.2f} s", flush=True)
            if calls and side == with_bare_loop:
                servers.hold(declared, assigned=is_assigned, answer_ms=0, on=1)
                seconds = seconds_of_bare_loop(base_urls[0], calls)
                bare_loop = results.case(group.answer_ms, group.count, BARE_LOOP)
                bare_loop.add(command, seconds, len(calls))
        turns = [*turns[1:], turns[0]]
