"""The real Pulumi CLI, with a stack of its own for each test."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from pulumi_cli import isolated_environment
from sample import DC01, DISK_E, PASSWORD

from pulumi_vmbackup.declared import open_shared
from pulumi_vmbackup.simulator import Fault, Simulator

log = logging.getLogger(__name__)

PROGRAM = """\
import json
import pathlib

import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment

for name, pair in json.loads(pathlib.Path("assignments.json").read_text()).items():
    VmBackupLocationAssignment(name, vm_ref=pair[0], backup_location_id=pair[1])
"""


@dataclass(frozen=True)
class Prepared:
    """What the stacks of a test process have in common, since it takes long to make.

    Attributes:
        state: what `pulumi stack init` has written for the stack `test` of the project `backup`.
        settings: its settings, which hold no more than how secrets are encrypted.
        password: PASSWORD as a setting of such a stack, encrypted.
        python: runs Python, but tells by heart what `pip list` said at first: Pulumi's language
            host asks for it in each command, and it stays the same. None on Windows.
    """

    state: str
    settings: dict[str, Any]
    password: dict[str, str]
    python: Path | None

    @classmethod
    def by_pulumi(cls, folder: Path) -> Prepared:
        stack = Stack(folder)
        stack.pulumi("stack", "init", "test")
        state = stack.state_file().read_text("utf-8")
        stack.pulumi("config", "set", "--secret", "vmbackup:password", PASSWORD)
        settings = yaml.safe_load(stack.settings_file().read_text("utf-8"))
        password = settings.pop("config")["vmbackup:password"]
        python = None if sys.platform == "win32" else _python_that_knows_its_packages(folder)
        return cls(state, settings, password, python)


def _python_that_knows_its_packages(folder: Path) -> Path:
    command = ["-m", "pip", "list", "-v", "--format", "json"]
    done = subprocess.run([sys.executable, *command], capture_output=True, check=True)
    (folder / "packages.json").write_bytes(done.stdout)
    python = folder / "python3"
    python.write_text(
        f"""#!/bin/sh
[ "$*" = "{" ".join(command)}" ] && exec cat "{folder}/packages.json"
exec "{sys.executable}" "$@"
"""
    )
    python.chmod(0o755)
    return python


ENCRYPTED = "PASSWORD, encrypted"
"""For :meth:`Stack.config`."""


def replaced(text: str, old: str, new: str) -> str:
    """A text with another one in place of one that occurs once."""
    assert text.count(old) == 1
    return text.replace(old, new)


class Stack:
    """A Pulumi project with a stack, and the commands that are run in it.

    Attributes:
        folder: that of the project.
        name: of the stack that the commands are about.
        environment: the variables that they are given.
        output: all that they have printed.
    """

    def __init__(self, folder: Path, prepared: Prepared | None = None, **settings: str) -> None:
        self.folder = folder / "program"
        self.folder.mkdir(parents=True)
        self.name = "test"
        self.environment = {**isolated_environment(folder / "pulumi"), **settings}
        # What Python has compiled once need not be compiled in each process.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if prepared and prepared.python:
            self.environment["PULUMI_PYTHON_CMD"] = str(prepared.python)
        self._prepared = prepared
        self._state = folder / "pulumi" / "state"
        self.output = ""
        (self.folder / "Pulumi.yaml").write_text("name: backup\nruntime: python\n")
        self.program(PROGRAM)

    def init(self, name: str = "test", folder: Path | None = None) -> None:
        """Make a stack and select it, as `pulumi stack init` does, but in no time."""
        assert self._prepared
        self.name = self.environment["PULUMI_STACK"] = name
        folder = folder or self.folder
        project = _project(folder)
        file = self.state_file(project)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._prepared.state.replace("/backup/test", f"/{project}/{name}"))
        settings_file = folder / f"Pulumi.{name}.yaml"
        settings_file.write_text(yaml.safe_dump(self._prepared.settings))

    def config(self, settings: dict[str, Any]) -> None:
        """Set settings, as `pulumi config set` does; ``ENCRYPTED`` is PASSWORD, encrypted."""
        assert self._prepared
        file = self.settings_file()
        content = yaml.safe_load(file.read_text("utf-8"))
        content["config"] = {**content.get("config", {}), **settings}
        text = json.dumps(content).replace(
            json.dumps(ENCRYPTED), json.dumps(self._prepared.password)
        )
        file.write_text(text, "utf-8")

    def settings_file(self) -> Path:
        return self.folder / f"Pulumi.{self.name}.yaml"

    def state_file(self, project: str = "") -> Path:
        """The backend's file with the stack's state."""
        stacks = self._state / ".pulumi" / "stacks" / (project or _project(self.folder))
        return stacks / f"{self.name}.json"

    def program(self, text: str) -> None:
        file = self.folder / "__main__.py"
        before = file.stat().st_mtime if file.exists() else 0
        file.write_text(text, "utf-8")
        # Python takes a program of the same second and size for the one that it has compiled.
        changed_at = max(file.stat().st_mtime, before + 2)
        os.utime(file, (changed_at, changed_at))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that occurs once in a file of a program in another language."""
        file = self.folder / name
        file.write_text(replaced(file.read_text("utf-8"), old, new), "utf-8")

    def assignments(self, **pairs: tuple[str, str]) -> None:
        """What the program assigns from now on: VM and location by the resource's name."""
        (self.folder / "assignments.json").write_text(json.dumps(pairs))

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Run the CLI; its output, which is also kept in ``output`` with that of all commands."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=600,
        )
        output = done.stdout.decode("utf-8")
        log.debug("%s", output)
        self.output += output
        assert (done.returncode != 0) is fails, output
        if arguments[:2] in (("stack", "init"), ("stack", "select")):
            self.name = self.environment["PULUMI_STACK"] = arguments[2]
        return output

    def pulumi_to_file(self, name: str, *arguments: str) -> str:
        """Run the CLI with its standard output in a file of the folder; what the file holds."""
        with (self.folder / name).open("wb") as file:
            subprocess.run(
                ["pulumi", *arguments, "--non-interactive"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                check=True,
                timeout=600,
            )
        return (self.folder / name).read_text("utf-8")

    def vmbackup(
        self,
        *arguments: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        ends: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Run the command of this package, in the folder of the program or in another one.

        ``ends`` is the exit code; None for any.
        """
        done = subprocess.run(
            [sys.executable, "-m", "pulumi_vmbackup.command", *arguments],
            cwd=folder or self.folder,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=600,
        )
        log.debug("%s", done.stdout + done.stderr)
        assert ends in (None, done.returncode), done.stderr
        return done

    def up(self, *arguments: str, fails: bool = False) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, fails=fails)

    def refresh(self, *arguments: str, fails: bool = False) -> str:
        return self.pulumi("refresh", "--yes", "--skip-preview", *arguments, fails=fails)

    def destroy(self, *arguments: str, fails: bool = False) -> str:
        return self.pulumi("destroy", "--yes", "--skip-preview", *arguments, fails=fails)

    @contextmanager
    def start_up(self, *arguments: str) -> Iterator[Run]:
        """Start `pulumi up` as the foreground job of a terminal; what is left of it is killed."""
        with (self.folder / "output.txt").open("w+b") as output:
            process = subprocess.Popen(
                ["pulumi", "up", "--yes", "--skip-preview", "--color", "never", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
            run = Run(process, Path(output.name))
            try:
                yield run
            finally:
                run.kill()
                self.output += run.output()

    def resources(self) -> dict[str, dict[str, Any]]:
        """The outputs of the stack's assignments, by the resource's name."""
        return {
            resource["urn"].rpartition("::")[2]: resource
            for resource in self.state().get("resources", ())
            if "VmBackupLocationAssignment" in resource["type"]
        }

    def ids(self) -> dict[str, str]:
        """The ids of the stack's assignments, by the resource's name."""
        return dict(self.recorded())

    def recorded(self) -> list[tuple[str, str]]:
        """Names and ids of all the assignments in the state, those to be deleted included."""
        return [
            (resource["urn"].rpartition("::")[2], resource["id"])
            for resource in self.state().get("resources", ())
            if "VmBackupLocationAssignment" in resource["type"]
        ]

    def state(self) -> dict[str, Any]:
        """What `pulumi stack export` shows, read from the backend's file: that takes no time."""
        text = self.state_file().read_text("utf-8")
        latest: dict[str, Any] = json.loads(text)["checkpoint"]["latest"]
        return latest

    def outputs(self) -> dict[str, Any]:
        """What the program exports."""
        stack, *_ = self.state()["resources"]
        return dict(stack["outputs"])

    def declared_files(self) -> list[Path]:
        """The files by which the processes of a run tell each other what the program declares."""
        return list((Path(self.environment["PULUMI_HOME"]) / "vmbackup").glob("*"))

    def declared(self) -> str:
        """What those files hold."""
        text = ""
        for path in self.declared_files():
            with suppress(FileNotFoundError), open_shared(path) as file:
                text += file.read()
        return text

    def keep(self, folder: Path) -> None:
        """Copy the state, for :meth:`restore`."""
        shutil.copytree(self._state, folder)

    def restore(self, folder: Path) -> None:
        """Make the state what it was, locks and history included."""
        shutil.rmtree(self._state)
        shutil.copytree(folder, self._state)


def _project(folder: Path) -> str:
    return str(yaml.safe_load((folder / "Pulumi.yaml").read_text("utf-8"))["name"])


class Run:
    """A `pulumi up` that is under way."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output

    def output(self) -> str:
        return self._output.read_text("utf-8")

    def processes(self) -> list[psutil.Process]:
        """Its processes, the CLI's first: Pulumi gives plugins process groups of their own."""
        try:
            cli = psutil.Process(self._process.pid)
            return [cli, *cli.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so, as long as it runs."""
        wait_until(lambda: condition() or self._process.poll() is not None)
        assert condition(), self.output()

    def interrupt(self, *, group: bool) -> None:
        """Send Ctrl-C to the CLI, or as a terminal does: to all of the foreground job.

        On Windows it is Ctrl-Break to all of the job, since no program can send Ctrl-C to another.
        """
        if sys.platform == "win32":
            self._process.send_signal(signal.CTRL_BREAK_EVENT)
        elif group:
            os.killpg(self._process.pid, signal.SIGINT)
        else:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill all of its processes at once."""
        kill(self.processes())
        self._process.wait(600)

    def kill_cli(self) -> list[psutil.Process]:
        """Kill the process of the CLI alone, and return those that it had started."""
        started = self.processes()[1:]
        self._process.kill()
        self._process.wait(600)
        return started

    def end(self, *, fails: bool = False) -> str:
        """Wait until it ends by itself, and return what it has printed."""
        self._process.wait(600)
        assert (self._process.returncode != 0) is fails, self.output()
        return self.output()


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: all(map(has_ended, processes)))


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, also where nobody has asked for its exit code yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is so, or fail after minutes, which no machine needs."""
    give_up_at = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < give_up_at, "it was waited for in vain"
        time.sleep(0.005)


def met(fault: Fault, times: int = 1) -> Callable[[], bool]:
    """Whether so many calls have met a fault, for :meth:`Run.until`."""
    return lambda: fault.hits >= times


def pairs(simulator: Simulator, method: str) -> list[str]:
    """The pairs, or the VMs, that the calls of a method were about."""
    found = [
        call.path.partition("/vms/backuplocations/[token]/")[2].removesuffix("/1/1")
        for call in simulator.calls
        if call.method == method
    ]
    return [pair for pair in found if pair]


def assigned(simulator: Simulator) -> set[str]:
    """The pairs that the server holds, but for the one that it held from the start."""
    held = {"/".join(pair) for pair in simulator.inventory.assignments}
    return held - {f"{DC01}/{DISK_E}"}


MakeStack = Callable[..., Stack]
