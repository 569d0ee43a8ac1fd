"""Measures this provider beside an empty one, the naive style, and a bare loop of HTTP calls."""

import argparse
import os
import platform
import subprocess
import sys
from datetime import date

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

from importlib.metadata import version

import psutil
from benchmark.cases import FULL, QUICK
from benchmark.measure import measure
from benchmark.plots import write_plots
from benchmark.results import Results
from pulumi_cli import FOR_ALL_LANGUAGES, path_with_cli

FOLDER = ROOT / "docs" / "performance"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="print the table of a part of it")
    which.add_argument("--report", action="store_true", help="table and plots of results.json")
    arguments = parser.parse_args()
    if arguments.report:
        results = Results.from_json((FOLDER / "results.json").read_text("utf-8"))
    else:
        os.environ["PATH"] = path_with_cli(FOR_ALL_LANGUAGES)
        results = Results(machine())
        measure(QUICK if arguments.quick else FULL, results)
    if arguments.quick:
        print(results.to_markdown())
        return
    (FOLDER / "results.json").write_text(results.to_json(), "utf-8")
    (FOLDER / "results.md").write_text(results.to_markdown(), "utf-8")
    write_plots(results, FOLDER)
    print(f"Written to {FOLDER}.")


def machine() -> str:
    """What the figures depend on."""
    cli = subprocess.run(["pulumi", "version"], capture_output=True, text=True, check=True)
    return (
        f"{date.today()}, {psutil.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, Pulumi CLI {cli.stdout.strip()}, "
        f"SDK {version('pulumi')}"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was written.")
