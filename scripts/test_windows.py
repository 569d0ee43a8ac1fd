"""Runs the tests on Windows programs under Wine, with more arguments for pytest if there are any.

On Windows, `make test` runs them all.
"""

import sys

if sys.platform != "win32":
    from wine import run, windows

    TESTS = ["--ignore=tests/e2e", "--ignore=tests/reliability"]

    with windows():
        sys.exit(run("python", "-m", "pytest", "-n", "auto", *TESTS, *sys.argv[1:]))
