"""Breaks each promise in a copy of the repository, and sees that the tests notice.

All of scripts/promises.py takes some ten minutes on 2 cores. With arguments, only the breaks whose
promise, words or file hold one of them: `make breaks ARGS=session.py`. After a run of all, the
table in docs/maintainers/breaks.md is written anew.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

from promises import PROMISES, Break
from pulumi_cli import FOR_ALL_LANGUAGES, path_with_cli

TABLE = ROOT / "docs" / "maintainers" / "breaks.md"
AT_A_TIME = 2
LONGEST_SECONDS = 600
_NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".tools", ".quickstart", "node_modules", "dist", "__pycache__", ".*_cache"
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/([^\s\[]+)", re.MULTILINE)


def main(wanted: list[str]) -> None:
    chosen = [
        each
        for promise, breaks in PROMISES.items()
        for each in breaks
        if not wanted or any(word in f"{promise} {each.words} {each.file}" for word in wanted)
    ]
    if not chosen:
        sys.exit(f"No break has one of these words: {' '.join(wanted)}")
    os.environ["PATH"] = path_with_cli(FOR_ALL_LANGUAGES)
    print("The tests without a break", end=": ", flush=True)
    with copied() as folder:
        done = run_tests(folder, {test for each in chosen for test in each.tests.split()})
    if done.returncode != 0:
        sys.exit(f"they have to pass, and do not.\n{done.stdout}{done.stderr}")
    print("passed")
    caught: dict[Break, str | None] = {}
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        for each, by in zip(chosen, threads.map(caught_by, chosen), strict=True):
            caught[each] = by
            print(f"{by or 'SURVIVES':<100} {each.file}: {each.words}", flush=True)
    survivors = [each for each, by in caught.items() if by is None]
    if not wanted and not survivors:
        TABLE.write_text(table(caught), "utf-8")
    print(f"{len(caught) - len(survivors)} of {len(caught)} breaks were caught.")
    sys.exit(bool(survivors))


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the repository in a temporary folder."""
    with TemporaryDirectory(prefix="breaks-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=_NOT_COPIED)
        yield copy


def caught_by(broken: Break) -> str | None:
    """The first test that fails with a break; None when it survives, or the tests do not end."""
    with copied() as folder:
        file = folder / "provider" / "pulumi_vmbackup" / broken.file
        file.write_text(file.read_text("utf-8").replace(broken.old, broken.new), "utf-8")
        try:
            done = run_tests(folder, broken.tests.split())
        except subprocess.TimeoutExpired:  # a test that never ends tells nobody why
            return None
    if done.returncode == 0:
        return None
    found = _FAILED.search(done.stdout)
    if not found:  # an edit that cannot be imported shows nothing
        sys.exit(f"{broken.words}: the tests could not run.\n{done.stdout}{done.stderr}")
    return found[1]


def run_tests(folder: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run some tests with the package of a copy, up to the first failure."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "provider")}
    options = ["-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"tests/{each}" for each in sorted(tests))],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )


def table(caught: dict[Break, str | None]) -> str:
    """The page about the breaks."""
    text = INTRODUCTION.format(breaks=len(caught), promises=len(PROMISES))
    for promise, breaks in PROMISES.items():
        text += f"\n## {promise.rstrip('.')}\n\n| break | file | caught by |\n|---|---|---|\n"
        for each in breaks:
            text += f"| {each.words} | `{each.file}` | `{caught[each]}` |\n"
    return text


INTRODUCTION = """\
# What catches a broken promise

This page lists what this package promises. For each promise, it shows edits of the code that break
it, and the first test that fails then. `make breaks` makes each edit in a copy of the repository,
runs the tests that `scripts/promises.py` names for it, and writes this page. If no test fails after
an edit, `make breaks` fails. Run it before a release, and run a part of it for the files that you
have changed:

```console
$ make breaks ARGS="session.py transport.py"
```

There are {breaks} edits for {promises} promises. If you add a promise, add its edits to that file.
"""

if __name__ == "__main__":
    main(sys.argv[1:])
