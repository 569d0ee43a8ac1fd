"""Measures this provider beside an empty one, the naive style, and a bare loop of HTTP calls.

    python scripts/bench.py             everything, in less than 20 minutes on 2 cores
    python scripts/bench.py --quick     a look at it, in less than 3
    python scripts/bench.py --report    write the report and the plots anew from results.json

The first and the last write docs/performance; the second prints its report.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil
from benchmark.measurement import Results
from benchmark.plan import full_plan, quick_plan
from benchmark.plots import write_plots
from benchmark.report import report
from benchmark.run import run_plan
from benchmark.server import serving
from pulumi_cli import ROOT

FOLDER = ROOT / "docs" / "performance"
RESULTS = FOLDER / "results.json"


def main() -> None:
    if "--report" in sys.argv:
        results = Results.from_json(RESULTS.read_text("utf-8"))
    else:
        is_quick = "--quick" in sys.argv
        results = measured(is_quick=is_quick)
        if is_quick:
            print(report(results))
            return
        FOLDER.mkdir(exist_ok=True)
        RESULTS.write_text(results.to_json(), "utf-8")
    (FOLDER / "results.md").write_text(report(results), "utf-8")
    write_plots(results, FOLDER)
    print(f"Written to {FOLDER}.")


def measured(*, is_quick: bool) -> Results:
    started = time.monotonic()
    results = Results(machine())
    with serving() as server:
        run_plan(quick_plan() if is_quick else full_plan(), server, results)
    results.minutes = round((time.monotonic() - started) / 60, 1)
    return results


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cli = subprocess.run(["pulumi", "version"], capture_output=True, text=True, check=True)
    return {
        "date": date.today().isoformat(),
        "processor": f"{processor()}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
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
    main()
