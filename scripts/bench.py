"""Measures this provider beside an empty one, the naive style, and a bare loop of HTTP calls."""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil
from benchmark.measurement import Results
from benchmark.plan import Group, full_plan, quick_plan
from benchmark.plots import write_plots
from benchmark.report import report
from benchmark.run import run_plan
from benchmark.server import serving
from pulumi_cli import ROOT

FOLDER = ROOT / "docs" / "performance"
RESULTS = FOLDER / "results.json"
REPEAT_SECONDS = 17 * 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--quick",
        action="store_true",
        help="a part of it in 3 minutes instead of 20; prints the report and writes nothing",
    )
    which.add_argument(
        "--report", action="store_true", help="write report and plots anew from results.json"
    )
    arguments = parser.parse_args()
    if not arguments.report and not shutil.which("pulumi"):
        sys.exit("There is no Pulumi CLI on PATH: run `make bench`, which gets one.")
    if arguments.quick:
        print(report(measured(quick_plan())))
        return
    if arguments.report:
        results = Results.from_json(RESULTS.read_text("utf-8"))
    else:
        results = measured(full_plan())
        RESULTS.write_text(results.to_json(), "utf-8")
    (FOLDER / "results.md").write_text(report(results), "utf-8")
    write_plots(results, FOLDER)
    print(f"Written to {FOLDER}.")


def measured(plan: list[Group]) -> Results:
    started = time.monotonic()
    results = Results(machine())
    with serving() as server:
        run_plan(plan, server, results, REPEAT_SECONDS)
    results.minutes = round((time.monotonic() - started) / 60, 1)
    return results


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cli = subprocess.run(["pulumi", "version"], capture_output=True, text=True, check=True)
    return {
        "date": date.today().isoformat(),
        "processor": f"{processor()}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "Pulumi's backend": "a folder on this machine",
        "Python": platform.python_version(),
        "Pulumi": f"CLI {cli.stdout.strip()}, SDK {version('pulumi')}",
        "requests": version("requests"),
        "urllib3": version("urllib3"),
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was written.")
