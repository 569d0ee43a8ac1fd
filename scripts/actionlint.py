"""Checks GitHub workflows with actionlint, and gets actionlint if there is none.

The workflows are those of this repository and of its examples; an example may have its own
.github/actionlint.yaml. actionlint comes from PATH, else from the copy in .tools/bin, else from a
build from its Go module.
"""

import os
import shutil
import subprocess
import sys

from environment import ROOT

TOOLS = ROOT / ".tools" / "bin"
COPY = TOOLS / ("actionlint.exe" if os.name == "nt" else "actionlint")
MODULE = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"


def main() -> None:
    # shellcheck and pyflakes are off: not all machines have them, and results must not differ.
    command = [actionlint(), "-shellcheck=", "-pyflakes="]
    failed = False
    for folder in (ROOT, *sorted((ROOT / "examples").iterdir())):
        workflows = sorted(folder.glob(".github/workflows/*.yml"))
        if workflows:
            config = folder / ".github" / "actionlint.yaml"
            option = ["-config-file", str(config)] if config.exists() else []
            done = subprocess.run([*command, *option, *map(str, workflows)], check=False)
            failed = failed or done.returncode != 0
    sys.exit(failed)


def actionlint() -> str:
    """The path of actionlint; builds it if there is none."""
    on_path = shutil.which("actionlint")
    if on_path:
        return on_path
    if not COPY.exists():
        go = shutil.which("go")
        if not go:
            sys.exit(
                "actionlint is missing: put it on PATH (https://github.com/rhysd/actionlint), or "
                "install Go 1.25 or later to build it here."
            )
        print("Building actionlint into .tools/bin, which takes a minute.", flush=True)
        TOOLS.mkdir(parents=True, exist_ok=True)
        # Resolved, because .tools may be a link and go takes only absolute paths.
        environment = {**os.environ, "GOBIN": str(TOOLS.resolve())}
        done = subprocess.run([go, "install", MODULE], env=environment, check=False)
        if done.returncode != 0:
            sys.exit(
                f"actionlint could not be built from {MODULE}; go's messages above say why. "
                "Or put it on PATH (https://github.com/rhysd/actionlint)."
            )
    return str(COPY)


if __name__ == "__main__":
    main()
