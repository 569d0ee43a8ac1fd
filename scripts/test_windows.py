r"""Runs the tests on Windows programs under Wine, with more arguments for pytest if there are any.

On Windows, `py scripts\test.py` runs all tests.
"""

import sys

from environment import use_environment

if __name__ == "__main__":
    use_environment()

if sys.platform != "win32":
    from wine import run

    TESTS = ["--ignore=tests/e2e", "--ignore=tests/reliability"]

    sys.exit(run("python", "-m", "pytest", "-n", "auto", *TESTS, *sys.argv[1:]))
