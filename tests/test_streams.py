"""streams.py: what the processes of this package print, on any machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pulumi_vmbackup

PACKAGE = Path(pulumi_vmbackup.__file__).parent
JAPANESE = "\u30d0\u30c3\u30af\u30a2\u30c3\u30d7"
LIKE_WINDOWS = """\
import sys
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(encoding="cp1252")  # as on a pipe of Windows
"""
PRINTS = f"import sys; print({JAPANESE!a}, flush=True); sys.stderr.write({JAPANESE!a})"


def test_the_sources_are_ascii_so_that_each_console_shows_each_message() -> None:
    sources = [*PACKAGE.rglob("*.py")]
    assert len(sources) > 40
    assert [path.name for path in sources if not path.read_bytes().isascii()] == []


@pytest.mark.parametrize(
    "program",
    [
        # The function that serves ends at once, and the process prints in its place.
        f"from pulumi_vmbackup.plugin import server; import grpc, os\n"
        f"def serve(*_, **__): {PRINTS}; sys.stderr.flush(); os._exit(0)\n"
        f"grpc.server = serve; server.main()",
        f"from pulumi_vmbackup.simulator import __main__ as simulator\n"
        f"def serve(): {PRINTS}; raise SystemExit\n"
        f"simulator._arguments = serve; simulator.main()",
    ],
    ids=["plugin", "simulator"],
)
def test_plugin_and_simulator_print_utf8_on_any_machine(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIKE_WINDOWS + program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.stdout.decode().strip() == JAPANESE, done.stderr
    assert done.stderr.decode() == JAPANESE
