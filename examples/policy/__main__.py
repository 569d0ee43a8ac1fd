"""A policy pack: a preview fails if a VM would lack a backup location that the rules require."""

from pathlib import Path

from pulumi_policy import EnforcementLevel, PolicyPack

from pulumi_vmbackup.policy import backup_rules

PolicyPack(
    name="vmbackup-rules",
    policies=[backup_rules(Path(__file__).parent, enforcement_level=EnforcementLevel.MANDATORY)],
)
