"""Times the Pulumi CLI with this provider, and with one that does nothing, side by side.

python scripts/bench.py [COUNT …]     how many resources; 10 and 100 when left out

What the provider that does nothing takes is the engine's own work, and so the floor.
"""

import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from pulumi_cli import isolated_environment

from pulumi_vmbackup.simulator import Inventory, Simulator, serve

ASSIGNMENTS = """\
from pulumi_vmbackup import VmBackupLocationAssignment

for vm_ref in {refs!r}:
    VmBackupLocationAssignment(vm_ref, vm_ref=vm_ref, backup_location_id={location!r})
"""
NOTHING = """\
from pulumi import dynamic


class Provider(dynamic.ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props):
        return dynamic.CreateResult(props["vm_ref"], dict(props))


class Nothing(dynamic.Resource, name="Nothing"):
    pass


for vm_ref in {refs!r}:
    Nothing(Provider(), vm_ref, {{"vm_ref": vm_ref, "backup_location_id": {location!r}}})
"""
COMMANDS = ("up", "refresh", "destroy")


def main() -> None:
    counts = [int(text) for text in sys.argv[1:]] or [10, 100]
    print(f"{'':14} {'command':8} {'nothing':>9} {'vmbackup':>9} {'calls':>6} {'connections':>12}")
    for count in counts:
        inventory = Inventory.sample()
        vm = next(iter(inventory.virtual_machines.values()))
        refs = [str(uuid.uuid4()) for _ in range(count)]
        inventory.virtual_machines = {ref: {**vm, "AltaroVirtualMachineRef": ref} for ref in refs}
        inventory.assignments.clear()
        names = {"refs": refs, "location": next(iter(inventory.kinds))}
        simulator = Simulator(inventory)
        with tempfile.TemporaryDirectory() as folder, serve(simulator) as base_url:
            nothing = stack(Path(folder) / "nothing", NOTHING.format(**names), base_url)
            assignments = stack(Path(folder) / "vmbackup", ASSIGNMENTS.format(**names), base_url)
            for command in COMMANDS:
                floor = seconds(nothing, command)
                simulator.calls.clear()
                simulator.connections = 0
                ours = seconds(assignments, command)
                print(
                    f"{count:4} resources {command:8} {floor:7.1f} s {ours:7.1f} s "
                    f"{len(simulator.calls):6} {simulator.connections:12}",
                    flush=True,
                )


def stack(folder: Path, program: str, base_url: str) -> tuple[Path, dict[str, str]]:
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
    (folder / "__main__.py").write_text(program)
    environment = {
        **isolated_environment(folder / "pulumi"),
        "VMBACKUP_BASE_URL": base_url,
        "VMBACKUP_USERNAME": "Administrator",
        "VMBACKUP_PASSWORD": "simulator",
    }
    pulumi(folder, environment, "stack", "init", "bench")
    return folder, environment


def seconds(stack: tuple[Path, dict[str, str]], command: str) -> float:
    started = time.monotonic()
    pulumi(*stack, command, "--yes", "--skip-preview")
    return time.monotonic() - started


def pulumi(folder: Path, environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        ["pulumi", *arguments, "--non-interactive"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"`pulumi {arguments[0]}` failed:\n{done.stdout.decode()}")


if __name__ == "__main__":
    main()
