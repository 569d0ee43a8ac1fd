"""Checks format and lint (ruff), types (mypy, for Linux and Windows) and workflows.

For workflows, there are actionlint and the JSON schemas of GitHub and of Azure DevOps.

With arguments, only those of the four that they name.
"""

import subprocess
import sys
from pathlib import Path

from environment import ROOT, use_environment


def found(*patterns: str) -> list[str]:
    return sorted(
        str(each.relative_to(ROOT)) for pattern in patterns for each in ROOT.glob(pattern)
    )


EXAMPLES = [str(Path(each).parent) for each in found("examples/*/__main__.py")]
WORKFLOWS = " ".join(found(".github/workflows/*.yml", "examples/*/.github/workflows/*.yml"))
PIPELINES = " ".join(found("examples/*/azure-pipelines.yml"))
SCHEMA = "-m check_jsonschema --builtin-schema"
CHECKS = {
    "format": ["-m ruff format --check ."],
    "lint": ["-m ruff check ."],
    # The examples one by one, since all of them are called __main__.
    "types": ["-m mypy", "-m mypy --platform win32", *(f"-m mypy {each}" for each in EXAMPLES)],
    "workflows": [
        "scripts/actionlint.py",
        f"{SCHEMA} vendor.github-workflows {WORKFLOWS}",
        # Its patterns are ECMA's, but not of the kind for Unicode.
        f"{SCHEMA} vendor.azure-pipelines --data-transform azure-pipelines "
        f"--regex-variant nonunicode {PIPELINES}",
    ],
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
