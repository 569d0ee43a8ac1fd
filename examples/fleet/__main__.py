"""Assigns the virtual machines of all sites to backup locations, by rules for names and hosts."""

from fnmatch import fnmatchcase
from typing import Any

import pulumi

from pulumi_vmbackup import (
    BackupLocation,
    VirtualMachine,
    VmBackupError,
    get_backup_location,
    get_virtual_machines,
)
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

RULES: list[dict[str, Any]] = pulumi.Config().require_object("rules")
SITES: dict[str, Any] = pulumi.Config("vmbackup").require_object("connections")


for rule in RULES:  # with a misspelt key, a rule would be about all VMs
    if not {"locations"} <= rule.keys() <= {"vms", "hosts", "locations"}:
        raise pulumi.RunError(f"The rule {rule} needs locations. It may have vms and hosts too.")


def fits(rule: dict[str, Any], vm: VirtualMachine) -> bool:
    """Whether a rule is about a VM: the last rule that is wins."""
    patterns = ((rule.get("vms", "*"), vm.name), (rule.get("hosts", "*"), vm.host))
    return all(fnmatchcase(str(name).casefold(), each.casefold()) for each, name in patterns)


def assignments_at(site: str) -> dict[VirtualMachine, list[BackupLocation]]:
    assignments = {}
    for vm in get_virtual_machines(configured=True, connection=site):
        rules = [rule for rule in RULES if fits(rule, vm)]
        if not rules:
            raise pulumi.RunError(f"No rule is about the VM {vm.name} of {site}.")
        assignments[vm] = [
            get_backup_location(path=path, connection=site) for path in rules[-1]["locations"]
        ]
    return assignments


problems = []
sets = []
for site in sorted(SITES):
    unchanged = None
    try:
        assignments = assignments_at(site)
    except VmBackupError as error:
        problems.append(f"{site} stays as it is: {error}")
        assignments, unchanged = {}, pulumi.ResourceOptions(ignore_changes=["assignments"])
    sets.append(
        VmBackupLocationAssignmentSet(
            site, assignments=assignments, connection=site, opts=unchanged
        )
    )


def fail(_: object) -> None:
    raise pulumi.RunError("\n".join(problems))


if problems:  # after all other sites
    pulumi.Output.all(*(each.urn for each in sets)).apply(fail)

pulumi.export("sites", len(sets))
