"""Checks format and lint (ruff), types (mypy, for Linux and Windows) and workflows (actionlint).

With arguments, only those of the four that they name.
"""

import subprocess
import sys

from environment import ROOT, use_environment

EXAMPLES = sorted(
    str(each.parent.relative_to(ROOT)) for each in ROOT.glob("examples/*/__main__.py")
)
CHECKS = {
    "format": ["-m ruff format --check ."],
    "lint": ["-m ruff check ."],
    # The examples one by one, since all of them are called __main__.
    "types": ["-m mypy", "-m mypy --platform win32", *(f"-m mypy {each}" for each in EXAMPLES)],
    "workflows": ["scripts/actionlint.py"],
}


def main(chosen: list[str]) -> None:
    for check in chosen or CHECKS:
        if check not in CHECKS:
            sys.exit(f"{check} is none of the checks {', '.join(CHECKS)}.")
        for command in CHECKS[check]:
            done = subprocess.run([sys.executable, *command.split()], check=False)
            if done.returncode != 0:
                sys.exit(done.returncode)


if __name__ == "__main__":
    use_environment()
    main(sys.argv[1:])
