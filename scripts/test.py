"""Runs what a change has to pass. Other arguments go to pytest, such as a file or `-k WORD`."""

import argparse
import os
import sys

from environment import hand_over, use_environment

if __name__ == "__main__":
    use_environment()

from debian import install_browser
from pulumi_cli import FOR_ALL_LANGUAGES, path_with_cli

FAST = ["--ignore=tests/e2e", "--ignore=tests/reliability"]
COVERAGE = ["--cov", "--cov-report=term:skip-covered"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fast", action="store_true", help="only the unit and contract tests")
    which.add_argument("--all", action="store_true", help="also the full sweeps of faults")
    which.add_argument(
        "--coverage", action="store_true", help="as --fast, and measure lines and branches"
    )
    chosen, arguments = parser.parse_known_args()
    options = ["-m", ""] if chosen.all else []
    if chosen.fast or chosen.coverage:
        options += FAST
    else:
        os.environ["PATH"] = path_with_cli(FOR_ALL_LANGUAGES)
        install_browser()
    if chosen.coverage:
        options += COVERAGE
    # Some tests take long, so a worker takes over those that wait at another one.
    workers = ["-n", "auto", "--dist", "worksteal"]
    hand_over([sys.executable, "-m", "pytest", *workers, *options, *arguments])


if __name__ == "__main__":
    main()
