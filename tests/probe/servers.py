"""Probes of simulated servers, within the test's process."""

from __future__ import annotations

from dataclasses import replace

from sample import NAS01, PASSWORD, SQL01

from pulumi_vmbackup.client import Client
from pulumi_vmbackup.facts import Facts, Value
from pulumi_vmbackup.models import BackupLocation, VirtualMachine
from pulumi_vmbackup.probe.calls import Found
from pulumi_vmbackup.probe.reads import read_facts
from pulumi_vmbackup.probe.writes import Restored, WritingProbe, journal_file
from pulumi_vmbackup.settings import Settings

THE_VM = VirtualMachine(SQL01, "SQL01", "HV-01", configured=True)
PRIMARY = BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary")


def settings_for(base_url: str, **more: object) -> Settings:
    settings = Settings(
        base_url=base_url,
        username="Administrator",
        password=PASSWORD,
        host_header="localhost",
        settle_seconds=0.2,
        parallel_requests=8,
    )
    return replace(settings, **more)  # type: ignore[arg-type]  # settings by name


def found_by_reads(settings: Settings) -> dict[str, Value]:
    """What a probe finds that changes nothing."""
    found = Found(settings)
    with Client(settings) as client:
        read_facts(client, found, say=print)
    return without_names(found)


class Writes:
    """The writing half of a probe.

    Attributes:
        file: its journal.
        restored: what became of the VM, as it was told; None before.
    """

    def __init__(
        self,
        client: Client,
        location: BackupLocation = PRIMARY,
        second: BackupLocation | None = None,
    ) -> None:
        self.file = journal_file(client.settings)
        self.found = Found(client.settings)
        self.restored: Restored | None = None
        self.said: list[str] = []
        self.probe = WritingProbe(
            client, THE_VM, location, second, self.found, self.said.append, self._tell
        )

    def _tell(self, restored: Restored) -> None:
        self.restored = restored


def without_names(found: Found) -> dict[str, Value]:
    """The facts as a file holds them."""
    return dict(Facts.parse(found.facts.dump(), "the probe").values)
