"""``vmbackup doctor --report``: what a bug report needs, as Markdown."""

from __future__ import annotations

import os
import platform
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import VmBackupError
from ..files import path_of
from ..recorder import Recorder, recorder_of_process
from ..recording import Exchange, read_recording
from ..settings import RECORD, SETTINGS, Settings
from ..transport import redact

_EXCHANGES = 50
# Names that no setting and no answer holds: of a proxy, and of another server's certificate.
_NAMES_IN_FINDINGS = re.compile(r"through the proxy ([^\s:]+)| is for (.+?), not for ")
_LONGEST_LINE = 2000
_PULUMI_SECONDS = 20.0


@contextmanager
def recording() -> Iterator[None]:
    """Record the doctor's own exchanges if nothing else is recorded: they hold the names."""
    if os.environ.get(RECORD):
        yield
        return
    with TemporaryDirectory(prefix="vmbackup-") as folder:
        os.environ[RECORD] = str(Path(folder) / "recording")
        try:
            yield
        finally:
            del os.environ[RECORD]


def bug_report(
    settings: Settings | None, sources: Mapping[str, str], findings: Sequence[str]
) -> str:
    """The report.

    Args:
        settings: the settings of the connection; None if they cannot be used.
        sources: where they come from, by key, as setting_sources() returns them.
        findings: the lines that the doctor printed.

    Raises:
        SettingsError: the recording cannot be written.
    """
    recorder = recorder_of_process(os.environ, redact)
    if settings:
        recorder.learn(settings)
    for name in filter(None, chain(*_NAMES_IN_FINDINGS.findall("\n".join(findings)))):
        for each in name.split(", "):
            recorder.stand_ins.learn("host", each)
    shown = recorder.stand_ins.prose
    lines = ["# Report of `vmbackup doctor`", "", "## Versions", ""]
    lines += [f"- {name}: {found}" for name, found in _versions().items()]
    lines += ["", "## Settings", "", *_settings(recorder, settings, sources)]
    lines += ["", "## Findings", "", *_block(map(shown, findings))]
    lines += ["", f"## The last {_EXCHANGES} exchanges of the recording", ""]
    lines += _exchanges(recorder)
    return "\n".join(lines) + "\n"


def _versions() -> dict[str, str]:
    packages = ("pulumi-vmbackup", "pulumi", "requests", "urllib3")
    return {
        **{name: _version(name) for name in packages},
        "Pulumi CLI": _pulumi_cli(),
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION,
        "operating system": f"{platform.system()} {platform.release()} ({platform.version()}), "
        f"{platform.machine()}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _pulumi_cli() -> str:
    pulumi = shutil.which("pulumi")
    if not pulumi:
        return "not on PATH"
    try:
        done = subprocess.run(  # noqa: S603  # the program that users run
            [pulumi, "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_PULUMI_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no answer ({type(error).__name__})"
    return redact(done.stdout.strip()) or f"no answer (exit code {done.returncode})"


def _settings(
    recorder: Recorder, settings: Settings | None, sources: Mapping[str, str]
) -> Iterator[str]:
    if settings is None:
        yield "They cannot be used: see the findings."
        return
    shown = recorder.stand_ins.prose
    for key, setting in SETTINGS.items():
        value = getattr(settings, setting.name)
        source = shown(sources.get(key, "the default"))
        if setting.is_secret:
            text = "set" if value else "not set"
        elif value in (None, ""):
            text = "not set"
        else:
            text = shown("true" if value is True else "false" if value is False else str(value))
        yield f"- {key}: {text} (from {source})" if key in sources else f"- {key}: {text}"


def _exchanges(recorder: Recorder) -> Iterator[str]:
    try:
        exchanges = read_recording(path_of(os.environ[RECORD]).absolute())
    except VmBackupError as error:
        yield f"{type(error).__name__}: the recording cannot be read."
        return
    # An earlier process may have recorded names.
    yield from _block(map(_line, map(recorder.stand_ins.exchange, exchanges[-_EXCHANGES:])))


def _line(exchange: Exchange) -> str:
    line = exchange.to_line()
    rest = len(line) - _LONGEST_LINE
    return line if rest <= 0 else f"{line[:_LONGEST_LINE]}... and {rest:,} more characters"


def _block(lines: Iterator[str]) -> Iterator[str]:
    """Lines as a block of text, in which nothing is Markdown."""
    kept = list(lines)
    longest = max((len(run) for line in kept for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}text"
    yield from kept
    yield fence
