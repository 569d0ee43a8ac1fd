"""A Pulumi project with one of the programs, and what its commands cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from pulumi_cli import isolated_environment

from .simulated import PASSWORD, USERNAME, Pair

_PROGRAMS = Path(__file__).parent / "programs"
_SCRIPTS = str(Path(__file__).parents[1])  # where programs find benchmark.programs
_SAMPLE_SECONDS = 0.1
# One of these is in the command line of each provider's process.
_PROVIDERS = ("pulumi.dynamic", "pulumi-resource-vmbackup")


class Project:
    """A project with one stack on a local backend, in a folder of its own."""

    def __init__(self, folder: Path, side: str, base_url: str) -> None:
        program, *settings = side.split()
        self._state = folder / "pulumi" / "state" / ".pulumi" / "stacks" / "bench"
        self._folder = folder / "project"
        self._folder.mkdir(parents=True)
        (self._folder / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
        shutil.copy(_PROGRAMS / f"{program}.py", self._folder / "__main__.py")
        self._environment = {
            **isolated_environment(folder / "pulumi"),
            "PYTHONPATH": os.pathsep.join((_SCRIPTS, os.environ.get("PYTHONPATH", _SCRIPTS))),
            "VMBACKUP_BASE_URL": base_url,
            "VMBACKUP_USERNAME": USERNAME,
            "VMBACKUP_PASSWORD": PASSWORD,
            **dict(each.split("=") for each in settings),
        }
        self.run("stack", "init", "bench")

    def declare(self, pairs: list[Pair]) -> None:
        """Make the program assign these pairs from now on."""
        (self._folder / "pairs.json").write_text(json.dumps(pairs))

    def run(self, *arguments: str) -> tuple[float, float]:
        """Run the Pulumi CLI; returns the seconds it took, and the MiB that the provider held."""
        started = time.monotonic()
        process = subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        most_mb, output = 0.0, None
        try:
            while output is None:
                try:
                    output, _ = process.communicate(timeout=_SAMPLE_SECONDS)
                except subprocess.TimeoutExpired:
                    most_mb = max(most_mb, _provider_mb(process.pid))
            seconds = time.monotonic() - started
        finally:
            process.wait()  # Ctrl-C stops Pulumi as well
        if process.returncode != 0:
            sys.exit(f"`pulumi {' '.join(arguments)}` failed:\n{output.decode()[-5000:]}")
        return seconds, most_mb

    def state_bytes(self) -> int:
        """The size of the state's file."""
        return max(file.stat().st_size for file in self._state.glob("bench.json*"))


def _provider_mb(pid: int) -> float:
    held = 0
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if any(each in " ".join(process.cmdline()) for each in _PROVIDERS):
                    held = max(held, process.memory_info().rss)
    return held / 2**20
