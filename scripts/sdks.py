"""Writes the SDKs for TypeScript, Go and Python into sdk/, and compiles them.

Pulumi's own generators make them from the plugin's schema. They need Go 1.25 or later, and the SDK
for TypeScript needs Node.js with npm. sdk/nodejs/bin is the package for npm.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

from pulumi_cli import TOOLS, Go, say

from pulumi_vmbackup.plugin.schema import schema

FOLDER = ROOT / "sdk"
GENERATOR = ROOT / "scripts" / "sdk"
SOURCES = [GENERATOR / name for name in ("go.mod", "go.sum", "main.go")]


def main() -> None:
    say("Generating the SDKs for TypeScript, Go and Python.")
    generate(FOLDER)
    compile_go(FOLDER / "go")
    compile_python(FOLDER / "python")
    compile_nodejs(FOLDER / "nodejs")
    say(f"The SDKs are in {FOLDER}.")


def generate(folder: Path) -> None:
    """Write the SDKs into the folders nodejs, go and python of a folder, in place of others."""
    program = generator()
    for language in ("nodejs", "go", "python"):
        shutil.rmtree(folder / language, ignore_errors=True)
    run([str(program), str(folder)], GENERATOR, given=schema())


def generator() -> Path:
    """The program that has Pulumi's generators, compiled if need be."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in SOURCES)).hexdigest()
    program = TOOLS.parent / "sdk" / f"{digest[:16]}{'.exe' if os.name == 'nt' else ''}"
    if not program.exists():
        go = with_go(1)
        program.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all, also when two processes of the tests do it at a time.
        with tempfile.TemporaryDirectory(dir=program.parent) as temporary:
            built = Path(temporary) / program.name
            command = ["build", "-buildvcs=false", "-o", str(built)]
            go.run(command, GENERATOR, "compiling Pulumi's generators of SDKs")
            built.replace(program)
    return program


def compile_nodejs(folder: Path) -> None:
    """Compile the SDK for TypeScript. Its folder bin is then what `npm publish` takes."""
    npm = shutil.which("npm")
    if not npm:
        sys.exit("The SDK for TypeScript is generated but not compiled: install Node.js with npm.")
    say("  Compiling the SDK for TypeScript.")
    run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    run([npm, "run", "build"], folder)
    # As the packages of Pulumi's own providers: without `main`, npm takes index.js and index.d.ts.
    for file in (folder / "package.json", folder / "README.md", ROOT / "LICENSE"):
        shutil.copy(file, folder / "bin")


def compile_go(folder: Path) -> None:
    go = with_go(3)
    go.run(["mod", "tidy"], folder, "fetching the modules of the SDK for Go")
    go.run(["build", "./..."], folder, "compiling the SDK for Go")
    go.run(["vet", "./..."], folder, "checking the SDK for Go")


def compile_python(folder: Path) -> None:
    say("  Compiling the SDK for Python.")
    run([sys.executable, "-m", "compileall", "-q", "."], folder)


def with_go(steps: int) -> Go:
    go = Go(steps, "The SDKs are incomplete")
    if not go.program:
        sys.exit("There is no Go on PATH: install Go 1.25 or later to make the SDKs.")
    return go


def run(command: list[str], folder: Path, given: str = "") -> None:
    """Run a program, whose output is shown only if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=given,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        say(f"{done.stdout}{done.stderr}".rstrip())
        called = " ".join((Path(command[0]).name, *command[1:]))
        sys.exit(f"The SDKs are incomplete: `{called}` failed; its messages say why.")


if __name__ == "__main__":
    main()
