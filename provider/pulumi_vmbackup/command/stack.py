"""The configuration of a Pulumi stack, read with the Pulumi CLI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..files import path_of
from ..settings import SECRET_SETTINGS
from .wording import printable

_PULUMI_SECONDS = 120


def read_stack(stack: str) -> Callable[[str], object]:
    """The configuration of a stack with decrypted secrets, in the form for read_settings()."""
    head, name = os.path.split(stack)
    folder = path_of(head)
    if not name or not folder.is_dir():
        raise SettingsError(
            f"There is no folder {folder.absolute()} with a stack {name!r}: give --stack the "
            "folder of a Pulumi program and the name of its stack, like infrastructure/prod."
        )
    pulumi = shutil.which("pulumi")  # pulumi.exe, or the pulumi.cmd of npm
    if not pulumi:
        raise SettingsError(
            "The configuration of --stack is read with the Pulumi CLI, and there is no `pulumi` on "
            "PATH: install it, or leave --stack out and set VMBACKUP_... variables."
        )
    command = ["config", "--json", "--show-secrets", "--stack", name, "--non-interactive"]
    command += ["--color", "never"]
    try:
        done = subprocess.run(  # noqa: S603  # the user's own CLI
            [Path(pulumi).absolute(), *command],  # PATH may be relative to the present folder
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PULUMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"`pulumi config` did not answer within {_PULUMI_SECONDS} seconds: check whether the "
            "backend of the stack can be reached."
        ) from None
    except OSError as error:
        raise SettingsError(f"`pulumi config` cannot be run: {error.strerror}.") from None
    if done.returncode != 0:
        raise SettingsError(_why_no_config(stack, done.stderr.decode("utf-8", "replace")))
    try:
        config = json.loads(done.stdout)
        entries = {key: dict(entry) for key, entry in config.items()}
    except (ValueError, TypeError, AttributeError):
        raise SettingsError(
            f"`pulumi config --json` of the stack {stack} did not print a "
            "configuration: try another version of the Pulumi CLI."
        ) from None

    def get_config(key: str) -> object:
        entry = entries.get(f"vmbackup:{key}", {})
        value = entry.get("objectValue", entry.get("value"))
        if key == "connections" and isinstance(value, dict):
            return {name: _in_folder(folder, settings) for name, settings in value.items()}
        return _in_folder(folder, {key: value})[key]

    from ..transport import add_secret

    # Now, since the error about a wrong setting may hold the text of a secret one.
    for secret in _secrets(get_config):
        add_secret(secret)
    return get_config


def _secrets(get_config: Callable[[str], object]) -> list[str]:
    connections = get_config("connections")
    places: list[Callable[[str], object]] = [get_config]
    if isinstance(connections, dict):
        places += [each.get for each in connections.values() if isinstance(each, dict)]
    return [str(secret) for get in places for key in SECRET_SETTINGS if (secret := get(key))]


def _in_folder(folder: Path, settings: Any) -> Any:
    """Settings of a stack with paths relative to the folder of the program, as in Pulumi."""
    if not isinstance(settings, dict):
        return settings
    ca_file = settings.get("caFile")
    if not isinstance(ca_file, str) or not ca_file:
        return settings
    return {**settings, "caFile": str(folder / path_of(ca_file))}


def _why_no_config(stack: str, printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    reason = printable(errors[0].removeprefix("error: ")) if errors else "it gives no reason"
    advice = (
        "Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the passphrase of the "
        "stack."
        if "passphrase" in reason
        else "Check the folder and the stack, and that you are logged in to its backend."
    )
    reason = reason.rstrip(".")
    return (
        f'The configuration of the stack {stack} cannot be read: pulumi says "{reason}". {advice}'
    )
