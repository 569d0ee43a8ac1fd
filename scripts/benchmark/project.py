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
from typing import NamedTuple

import psutil
from pulumi_cli import isolated_environment

from .simulated import PASSWORD, USERNAME, Pair

_PROGRAMS = Path(__file__).parent / "programs"
_SCRIPTS = str(Path(__file__).parents[1])  # where programs find benchmark.programs
_SAMPLE_SECONDS = 0.1
# One of these is in the command line of each provider's process.
_PROVIDERS = ("pulumi.dynamic", "pulumi-resource-vmbackup")


class Cost(NamedTuple):
    """What a command has cost.

    Attributes:
        seconds: how long it took.
        provider_mb: the most MiB that a provider's process held.
        all_mb: the most MiB that all processes held, the CLI's included.
    """

    seconds: float
    provider_mb: float
    all_mb: float


class Project:
    """A project with one stack on a local backend, in a folder of its own."""

    def __init__(self, folder: Path, side: str, base_urls: list[str]) -> None:
        program, *settings = side.split()
        self._state = folder / "pulumi" / "state" / ".pulumi" / "stacks" / "bench"
        self._folder = folder / "project"
        self._folder.mkdir(parents=True)
        (self._folder / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
        shutil.copy(_PROGRAMS / f"{program}.py", self._folder / "__main__.py")
        self._environment = {
            **isolated_environment(folder / "pulumi"),
            "PYTHONPATH": os.pathsep.join((_SCRIPTS, os.environ.get("PYTHONPATH", _SCRIPTS))),
            **_login("VMBACKUP", base_urls[0]),
            "SERVERS": str(len(base_urls)),
            **dict(each.split("=") for each in settings),
        }
        for number, base_url in enumerate(base_urls):
            self._environment |= _login(f"VMBACKUP_SITE_{number}", base_url)
        self.run("stack", "init", "bench")

    def declare(self, pairs: list[Pair]) -> None:
        """Make the program assign these pairs from now on."""
        (self._folder / "pairs.json").write_text(json.dumps(pairs))

    def run(self, *arguments: str) -> Cost:
        """Run the Pulumi CLI."""
        started = time.monotonic()
        process = subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        most, most_of_all, output = 0.0, 0.0, None
        try:
            while output is None:
                try:
                    output, _ = process.communicate(timeout=_SAMPLE_SECONDS)
                except subprocess.TimeoutExpired:
                    provider, every = _held_mb(process.pid)
                    most, most_of_all = max(most, provider), max(most_of_all, every)
            seconds = time.monotonic() - started
        finally:
            process.wait()  # Ctrl-C stops Pulumi as well
        if process.returncode != 0:
            sys.exit(f"`pulumi {' '.join(arguments)}` failed:\n{output.decode()[-5000:]}")
        return Cost(seconds, most, most_of_all)

    def state_bytes(self) -> int:
        """The size of the state's file."""
        return max(file.stat().st_size for file in self._state.glob("bench.json*"))


def _login(prefix: str, base_url: str) -> dict[str, str]:
    login = {"BASE_URL": base_url, "USERNAME": USERNAME, "PASSWORD": PASSWORD}
    return {f"{prefix}_{key}": value for key, value in login.items()}


def _held_mb(pid: int) -> tuple[float, float]:
    """The MiB of the largest process of a provider, and of all processes."""
    provider, every = 0, 0
    with suppress(psutil.NoSuchProcess):
        cli = psutil.Process(pid)
        for process in (cli, *cli.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                held = process.memory_info().rss
                every += held
                if any(each in " ".join(process.cmdline()) for each in _PROVIDERS):
                    provider = max(provider, held)
    return provider / 2**20, every / 2**20
