"""A Pulumi stack with one of the programs, and what its commands take."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from pulumi_cli import isolated_environment

from .server import PASSWORD, USERNAME, Pair

PROGRAMS = Path(__file__).parent / "programs"
SCRIPTS = Path(__file__).parent.parent

_SAMPLE_SECONDS = 0.1
# What is in the command line of the process that runs a program, or that holds a provider.
_PROCESSES = {
    "pulumi-language-python-exec": "program",
    "pulumi.dynamic": "provider",
    "pulumi-resource-vmbackup": "provider",
}


class Cost(NamedTuple):
    """What one command took.

    Attributes:
        seconds: wall time.
        peak_mb: the most memory that each kind of process held, in MiB: ``"provider"`` and
            ``"program"``, as sampled.
    """

    seconds: float
    peak_mb: dict[str, float]


class Stack:
    """A project with one stack on a local backend, in a folder of its own."""

    def __init__(
        self, folder: Path, program: str, base_url: str, settings: dict[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._project = folder / "project"
        self._project.mkdir(parents=True)
        (self._project / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
        shutil.copy(PROGRAMS / f"{program}.py", self._project / "__main__.py")
        self._environment = {
            **isolated_environment(folder / "pulumi"),
            "PYTHONPATH": str(SCRIPTS),
            "VMBACKUP_BASE_URL": base_url,
            "VMBACKUP_USERNAME": USERNAME,
            "VMBACKUP_PASSWORD": PASSWORD,
            **(settings or {}),
        }
        self.run("stack", "init", "bench")

    def declare(self, pairs: list[Pair]) -> None:
        """Make the program assign these pairs from now on."""
        (self._project / "pairs.json").write_text(json.dumps(pairs))

    def run(self, *arguments: str) -> Cost:
        """Run a command of the Pulumi CLI, which must succeed."""
        started = time.monotonic()
        process = subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self._project,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        peak_mb: dict[str, float] = defaultdict(float)
        ended = threading.Event()
        sampler = threading.Thread(target=_sample, args=(process.pid, peak_mb, ended))
        sampler.start()
        try:
            output, _ = process.communicate()
            seconds = time.monotonic() - started
        finally:  # at Ctrl-C, which Pulumi gets as well
            process.wait()
            ended.set()
            sampler.join()
        if process.returncode != 0:
            sys.exit(f"`pulumi {' '.join(arguments)}` failed:\n{output.decode()[-5000:]}")
        return Cost(seconds, {kind: round(used, 1) for kind, used in peak_mb.items()})

    def state_bytes(self) -> int:
        """How large the stack's state is."""
        state = self._folder / "pulumi" / "state" / ".pulumi" / "stacks" / "bench"
        return next(file.stat().st_size for file in state.glob("bench.json*"))

    def forbid_log(self) -> None:
        """Keep Pulumi from writing its automatic log, for which it has no setting."""
        logs = self._folder / "pulumi" / "home" / "logs"
        if logs.is_dir():
            shutil.rmtree(logs)
            logs.write_text("a file, so that no folder can be made here")


def _sample(pid: int, peak_mb: dict[str, float], ended: threading.Event) -> None:
    kinds: dict[psutil.Process, str | None] = {}
    while not ended.wait(_SAMPLE_SECONDS):
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if kinds.get(process) is None:
                        line = " ".join(process.cmdline())
                        kinds[process] = next(
                            (kind for part, kind in _PROCESSES.items() if part in line), None
                        )
                    kind = kinds[process]
                    if kind:
                        used = process.memory_info().rss / 2**20
                        peak_mb[kind] = max(peak_mb[kind], used)
