"""The rules of ``vmbackup-rules.yaml`` as a policy of Pulumi; needs the extra ``policy``.

A policy pack is given what the program declares. It is given neither what an update removes nor
what other stacks declare, so it judges the rules ``require`` only, with their exceptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pulumi
from pulumi_policy import (
    EnforcementLevel,
    PolicyResource,
    ReportViolation,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from .coverage import Coverage, ResourcePlan, cover
from .errors import ArgumentError, VmBackupError
from .plugin.schema import PACKAGE
from .previews import (
    UNKNOWN,
    ServerPlan,
    StackResource,
    read_inventory,
    read_resources,
    refuse_foreign,
)
from .rules import RULES_FILE, Judgement, Requirement, Rules, read_rules
from .sentences import judged, listed, partly_known

__all__ = ["INVENTORY_FILE", "POLICY", "backup_rules"]

POLICY = "vmbackup-rules"
"""The name of the policy, in the output of Pulumi and in a file of ``--policy-pack-config``."""

INVENTORY_FILE = "inventory.json"


def backup_rules(
    folder: str | Path,
    *,
    rules: str = RULES_FILE,
    inventory: str | Mapping[str | None, str] = INVENTORY_FILE,
    counts_undeclared: bool = False,
    enforcement_level: EnforcementLevel | None = None,
) -> StackValidationPolicy:
    """A policy that demands what the rules file requires, after the update.

    An assignment that is on the server and that the stack does not declare does not count: a
    policy cannot see whether this update removes it.

    Args:
        folder: where the files are; ``Path(__file__).parent`` is that of the policy pack.
        rules: the rules file, the same as for ``vmbackup review``; a path from the folder.
        inventory: the snapshot that tells which VMs and locations there are, as ``vmbackup
            snapshot`` writes it; a path from the folder. For resources on several servers, one
            snapshot by the name of each connection or provider, and by None for the unnamed one.
        counts_undeclared: True counts what is on the server and not declared, for a stack that
            manages a part of the VMs. A location that the update removes then counts too.
        enforcement_level: whether a broken rule fails the preview (``MANDATORY``) or is a warning
            (``ADVISORY``). None: as the policy pack says. ``--policy-pack-config`` wins over both.
    """
    place = Path(folder).absolute()
    files: Mapping[str | None, str] = {None: inventory} if isinstance(inventory, str) else inventory

    def validate(args: StackValidationArgs, report_violation: ReportViolation) -> None:
        try:
            wanted = _requirements(place / rules)
            plans = read_resources(map(_resource, args.resources), pulumi.Config(PACKAGE).get)
            coverages = list(_coverages(plans, place, files, counts_undeclared=counts_undeclared))
            judgements = wanted.judge(coverages, date.today())
            for each in wanted.unmatched(coverages):
                report_violation(judged(each), None)
        except VmBackupError as error:
            report_violation(str(error), None)
            return
        not_known = [sentence for each in coverages for sentence in partly_known(each)]
        for requirement, judgement in zip(wanted.requirements, judgements, strict=True):
            for sentence in _violations(requirement, judgement):
                report_violation(sentence, None)
            if waiting := [each for each in judgement.unknown if each[1].waits_for_update]:
                not_known.append(judged(replace(judgement, broken=[], unknown=waiting)))
        if not_known:
            raise _NotKnownYetError(" ".join(not_known))

    return StackValidationPolicy(
        name=POLICY,
        description="The VMs have the backup locations that the rules require.",
        validate=validate,
        enforcement_level=enforcement_level,
    )


class _NotKnownYetError(UnknownValueError):
    """What only the update knows: Pulumi shows it as a warning, at any enforcement level."""

    def __init__(self, message: str) -> None:
        super().__init__(UNKNOWN_STRING_VALUE, [])
        self.message = message


def _requirements(file: Path) -> Rules:
    rules = read_rules(file, f"rules of {backup_rules.__name__}()")
    if not rules.requirements:
        raise ArgumentError(
            f"{file} has no `require`, and a policy pack can judge no other rule: add one, or "
            "judge the file with `vmbackup review`."
        )
    return replace(rules, limits=(), forbids_unmanaged=False)


def _violations(requirement: Requirement, judgement: Judgement) -> Iterator[str]:
    """How a rule is broken, as sentences; what only the update knows is left out."""
    if judgement.broken:
        sentence = judged(judgement)
        on_server = [each.label for _, each in judgement.broken if each.had(requirement.wanted)]
        if on_server:
            sentence += (
                f" On the server, {listed(on_server)} {'has' if len(on_server) == 1 else 'have'} "
                "one that this stack does not declare, so it does not count."
            )
        yield sentence
    if unknown := [each for each in judgement.unknown if not each[1].waits_for_update]:
        yield judged(replace(judgement, broken=[], unknown=unknown))


# The resources


def _resource(given: PolicyResource) -> StackResource:
    provider = given.provider
    return StackResource(
        urn=given.urn,
        properties=_plain(given.props),
        provider=provider.urn if provider else "",
        provider_inputs=_plain(provider.props) if provider else {},
    )


def _plain(given: Any) -> Any:
    """Properties as a preview has them; an unknown one raises when it is read, and is UNKNOWN."""
    if isinstance(given, Mapping):
        return {key: _item(given, key) for key in given}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [_item(given, index) for index in range(len(given))]
    return given


def _item(given: Any, key: Any) -> Any:
    try:
        return _plain(given[key])
    except UnknownValueError:
        return UNKNOWN


# The servers


def _coverages(
    plans: list[ServerPlan],
    folder: Path,
    files: Mapping[str | None, str],
    *,
    counts_undeclared: bool,
) -> Iterator[Coverage]:
    for server, name in _servers(plans, files).items():
        its = [each for each in plans if each.server == server]
        snapshot = read_inventory(folder / files[name], f"inventory of {backup_rules.__name__}()")
        refuse_foreign(server, its, snapshot)
        resources = [each.plan for each in its]
        if not counts_undeclared:
            held = frozenset(
                (each.vm_ref, each.backup_location_id) for each in snapshot.assignments
            )
            stack = resources[0].stack if resources else ""
            # It un-assigns what the stack does not declare.
            resources.append(ResourcePlan("", stack, unassigns=held))
        yield cover(f"{server} ({name})" if name else server, snapshot, resources)


def _servers(plans: Sequence[ServerPlan], files: Mapping[str | None, str]) -> dict[str, str | None]:
    """The servers, each with the name of its inventory."""
    servers = sorted({each.server for each in plans})
    if [*files] == [None] and len(servers) == 1:
        return dict.fromkeys(servers)
    found: dict[str, str | None] = {}
    for name in files:
        server = next((each.server for each in plans if each.name == name), name or "")
        if server in found:
            raise ArgumentError(
                f"inventory of {backup_rules.__name__}() has two snapshots of {server}: give one."
            )
        found[server] = name
    if without := [each for each in servers if each not in found]:
        names = sorted({str(each.name) for each in plans if each.server in without})
        raise ArgumentError(
            f"inventory of {backup_rules.__name__}() has no snapshot of {', '.join(without)}: give "
            f"one by the name of its connection or provider (there are: {', '.join(names)})."
        )
    return found
