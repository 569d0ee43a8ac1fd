"""Runs examples/quickstart with the real Pulumi CLI against the simulator, and shows each step."""

import shlex
import shutil
import subprocess
import sys

from pulumi_cli import ROOT, isolated_environment

from pulumi_vmbackup import VmBackupError
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.settings import read_settings
from pulumi_vmbackup.simulator import Simulator, serve

FOLDER = ROOT / ".quickstart"
STACK_FILE = ROOT / "Pulumi.quickstart.yaml"
CREDENTIALS = {"username": "Administrator", "password": "simulator"}


class Quickstart:
    """One run: a simulated server, a client that looks at it, and the Pulumi CLI."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._client = Client(read_settings({"baseUrl": base_url, **CREDENTIALS}.get, {}))
        self._environment: dict[str, str] = {}
        self._cli = ""
        self.step = ""
        self._steps = 0

    def run(self) -> None:
        self.begin("Prepare the Pulumi CLI and a stack on a local backend")
        self._environment = {
            **isolated_environment(FOLDER),
            "VMBACKUP_BASE_URL": self._base_url,
            "VMBACKUP_USERNAME": CREDENTIALS["username"],
            "VMBACKUP_PASSWORD": CREDENTIALS["password"],
            # Assignments are removed by hand seconds after they were made here; by default, that
            # is not taken for drift within the first 30 seconds.
            "VMBACKUP_SETTLE_SECONDS": "0",
        }
        self._cli = shutil.which("pulumi", path=self._environment["PATH"]) or "pulumi"
        print(f"Pulumi CLI: {self._cli}")
        self.pulumi("stack", "init", "quickstart")

        self.begin("What the VM Backup server (a simulator) holds before")
        self.show_assignments()

        self.begin("Assign three VMs to an offsite location (examples/quickstart)")
        self.pulumi("up", "--yes", "--skip-preview")

        self.begin("What the server holds now")
        self.show_assignments()

        self.begin("What a changed program would do: another offsite location")
        self.pulumi("config", "set", "offsitePath", "Rotating disks")
        self.pulumi("preview", "--diff")
        self.pulumi("config", "rm", "offsitePath")

        self.begin("Somebody un-assigns SQL01 by hand, and Pulumi notices")
        self.unassign_by_hand("SQL01")
        print("SQL01 was un-assigned on the server, without Pulumi.")
        self.pulumi("refresh", "--yes", "--skip-preview")

        self.begin("The next `pulumi up` assigns SQL01 again")
        self.pulumi("up", "--yes", "--skip-preview")

        self.begin("Take back what the program assigned, and nothing else")
        self.pulumi("destroy", "--yes", "--skip-preview")

        self.begin("What the server holds at the end")
        self.show_assignments()

    def begin(self, step: str) -> None:
        self._steps += 1
        self.step = f"{self._steps}. {step}"
        print(f"\n=== {self.step}", flush=True)

    def pulumi(self, *arguments: str) -> None:
        command = shlex.join(("pulumi", *arguments))
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            [self._cli, *arguments, "--non-interactive"],
            cwd=ROOT,
            env=self._environment,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            sys.exit(
                f"Step {self.step} failed: `{command}` ended with exit code {done.returncode}, and "
                "its output above says why."
            )

    def show_assignments(self) -> None:
        with self._client as client:
            for vm in client.virtual_machines():
                locations = client.vm_backup_locations(vm.ref) if vm.ref else []
                paths = [location.path or "" for location in locations]
                print(f"  {vm.name:8} {', '.join(paths) or '-'}")

    def unassign_by_hand(self, vm_name: str) -> None:
        with self._client as client:
            for vm in client.virtual_machines():
                if vm.name == vm_name and vm.ref:
                    for location in client.vm_backup_locations(vm.ref, "offsite"):
                        client.unassign(vm.ref, location.id)


def remove_leftovers() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    STACK_FILE.unlink(missing_ok=True)


def main() -> None:
    remove_leftovers()
    with serve(Simulator()) as base_url:
        quickstart = Quickstart(base_url)
        try:
            quickstart.run()
        except VmBackupError as error:
            sys.exit(f"Step {quickstart.step} failed: {error}")
        except KeyboardInterrupt:
            sys.exit(f"Stopped in step {quickstart.step}.")
        finally:
            remove_leftovers()
    print("\nDone. README.md tells how to point a program at a real VM Backup server.")


if __name__ == "__main__":
    main()
