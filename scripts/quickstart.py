"""Runs examples/quickstart with the real Pulumi CLI against the simulator, and shows each step."""

import shlex
import shutil
import subprocess
import sys

from environment import BIN, ROOT, use_environment

if __name__ == "__main__":
    use_environment()

from pulumi_cli import isolated_environment

from pulumi_vmbackup.simulator import Simulator, serve

FOLDER = ROOT / ".quickstart"
STACK_FILE = ROOT / "Pulumi.quickstart.yaml"
COMMAND = BIN.relative_to(ROOT) / "vmbackup"
WHAT_NEXT = f"""
Done. What to do next, with your own VM Backup server:

1. Check the connection to the server, on its machine or through a tunnel (docs/connecting.md):
     ssh -N -L 36013:localhost:36013 backup-server
     {COMMAND} doctor --username Administrator

2. See which VM goes where:
     {COMMAND} assignments --username Administrator

   Both commands ask for the password and change nothing. Before VM Backup V9.1, add
   --api-version 8 or --api-version 9.0.

3. Install this package and a Pulumi CLI, and log in to a backend (docs/linux.md). Then copy
   the folder examples/quickstart, name your own VMs and location in it, and run in it:
     pulumi stack init dev
     pulumi config set vmbackup:username Administrator
     pulumi config set --secret vmbackup:password
     pulumi preview --diff

Are many VMs assigned already? docs/taking-over.md shows how to make a program of that.
"""


class Quickstart:
    """One run: a simulated server, the Pulumi CLI, and the `vmbackup` command."""

    def __init__(self, simulator: Simulator, base_url: str) -> None:
        self._simulator = simulator
        self._base_url = base_url
        self._environment: dict[str, str] = {}
        self.step = ""
        self._steps = 0

    def run(self) -> None:
        self.begin("Prepare the Pulumi CLI and a stack on a local backend")
        self._environment = {
            **isolated_environment(FOLDER),
            # In an editable install, Pulumi looks for the plugin of this package, and warns of the
            # one on PATH. The program has only dynamic resources, which need no plugin.
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
            "PULUMI_OPTION_NON_INTERACTIVE": "true",
            "PULUMI_OPTION_SUPPRESS_PROGRESS": "true",
            "VMBACKUP_BASE_URL": self._base_url,
            "VMBACKUP_USERNAME": "Administrator",
            "VMBACKUP_PASSWORD": "simulator",
            # An assignment is removed here seconds after its creation. By default, refresh does not
            # count that as drift within the first 30 seconds.
            "VMBACKUP_SETTLE_SECONDS": "0",
        }
        print(f"Pulumi CLI: {self.path('pulumi')}")
        self.show("pulumi", "stack", "init", "quickstart")

        self.begin("What the VM Backup server (a simulator) holds before")
        self.show("vmbackup", "assignments")

        self.begin("Assign three VMs to an offsite location (examples/quickstart)")
        self.show("pulumi", "up", "--yes", "--skip-preview")

        self.begin("What the server holds now")
        self.show("vmbackup", "assignments")

        self.begin("What a changed program would do: another offsite location")
        self.show("pulumi", "config", "set", "offsitePath", "Rotating disks")
        self.show("pulumi", "preview", "--diff")
        self.show("pulumi", "config", "rm", "offsitePath")

        self.begin("Somebody un-assigns SQL01 by hand, and Pulumi shows it")
        self.unassign_by_hand("SQL01")
        print("SQL01 was un-assigned on the server, without Pulumi.")
        self.show("pulumi", "refresh", "--yes", "--skip-preview")

        self.begin("The next `pulumi up` assigns SQL01 again")
        self.show("pulumi", "up", "--yes", "--skip-preview")

        self.begin("Un-assign what the program assigned, and nothing else")
        self.show("pulumi", "destroy", "--yes", "--skip-preview")

        self.begin("What the server holds at the end")
        self.show("vmbackup", "assignments")

    def begin(self, step: str) -> None:
        self._steps += 1
        self.step = f"{self._steps}. {step}"
        print(f"\n=== {self.step}", flush=True)

    def show(self, tool: str, *arguments: str) -> None:
        """Run a command, after a line that shows it."""
        command = shlex.join((tool, *arguments))
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            [self.path(tool), *arguments],
            cwd=ROOT,
            env=self._environment,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            sys.exit(
                f"Step {self.step} failed: `{command}` ended with exit code {done.returncode}; its "
                "output above says why."
            )

    def path(self, tool: str) -> str:
        return shutil.which(tool, path=self._environment["PATH"]) or tool

    def unassign_by_hand(self, vm_name: str) -> None:
        inventory = self._simulator.inventory
        for vm_ref, location_id in list(inventory.assignments):
            if inventory.virtual_machines[vm_ref]["VirtualMachineName"] == vm_name:
                del inventory.assignments[vm_ref, location_id]


def remove_leftovers() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    STACK_FILE.unlink(missing_ok=True)


def main() -> None:
    remove_leftovers()
    simulator = Simulator()
    with serve(simulator) as base_url:
        quickstart = Quickstart(simulator, base_url)
        try:
            quickstart.run()
        except KeyboardInterrupt:
            sys.exit(f"Stopped in step {quickstart.step}.")
        finally:
            remove_leftovers()
    print(WHAT_NEXT, end="")


if __name__ == "__main__":
    main()
