"""The configuration of a Pulumi stack, read with the Pulumi CLI."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import SettingsError, quoted
from ..files import path_of, text_of
from ..settings import SECRET_SETTINGS
from .wording import printable, shell_line

_PULUMI_SECONDS = 120
_PROJECT_FILES = ("Pulumi.yaml", "Pulumi.yml", "Pulumi.json")
_PROJECT_NAME = re.compile(r"""^name\s*:\s*(["']?)([\w.-]+)\1\s*(#.*)?$""", re.MULTILINE)
_MOST_STACKS = 10
_IS_NOT_LOGGED_IN = re.compile("PULUMI_ACCESS_TOKEN must be set|not logged in|pulumi login")
_HOW_TO_WRITE = (
    "In the folder of the program or below it, write --stack as Pulumi does: prod, contoso/prod or "
    "contoso/backup/prod. Elsewhere, write the folder before it: infrastructure/prod or "
    "infrastructure/contoso/backup/prod. A folder alone, infrastructure/, is its selected stack."
)


def read_stack(text: str) -> Callable[[str], object]:
    """The configuration of a stack with decrypted secrets, in the form for read_settings().

    Args:
        text: the stack as Pulumi writes it, perhaps after the folder of its program.
    """
    done = _run_pulumi(text, "configuration", "config", "--json", "--show-secrets")
    project = _project_folder(_folder_and_stack(text)[0])
    try:
        config = json.loads(done)
        entries = {key: dict(entry) for key, entry in config.items()}
    except (ValueError, TypeError, AttributeError):
        raise SettingsError(
            f"`pulumi config --json` of the stack {text} did not print a "
            "configuration: try another version of the Pulumi CLI."
        ) from None

    def get_config(key: str) -> object:
        entry = entries.get(f"vmbackup:{key}", {})
        value = entry.get("objectValue", entry.get("value"))
        if key == "connections" and isinstance(value, dict):
            return {name: _in_folder(project, settings) for name, settings in value.items()}
        return _in_folder(project, {key: value})[key]

    from ..transport import add_secret

    # Now, since the error about a wrong setting may hold the text of a secret one.
    for secret in _secrets(get_config):
        add_secret(secret)
    return get_config


def export_stack(text: str) -> str:
    """The state of a stack as JSON, without its secrets; arguments as for read_stack()."""
    return _run_pulumi(text, "state", "stack", "export")


def pulumi_options(text: str) -> str:
    """The options that let a command of Pulumi act on a stack, with a space in front.

    Args:
        text: as for read_stack().
    """
    folder, stack = _folder_and_stack(text)
    words = ["--stack", stack] if stack else []
    if folder.resolve() != Path().resolve():
        words += ["--cwd", str(folder)]
    return f" {shell_line(words)}" if words else ""


def _run_pulumi(text: str, what: str, *command: str) -> str:
    """What a command of the Pulumi CLI prints about a stack.

    Args:
        text: as for read_stack().
        what: what it prints, for errors.
        command: the command and its arguments.

    Raises:
        SettingsError: there is no CLI or no such stack, or the command fails.
    """
    folder, stack = _folder_and_stack(text)
    if stack:
        _refuse_other_project(stack, _project_folder(folder))
    chosen = ["--stack", stack] if stack else []
    done = _pulumi(what, folder, *command, *chosen)
    if done.returncode != 0:
        raise SettingsError(_why_not_read(what, text, folder, done.stderr))
    return text_of(done.stdout)


def _pulumi(what: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the Pulumi CLI in a folder.

    Args:
        what: what is read with it, for errors.
        folder: the folder.
        arguments: the command and its arguments.

    Raises:
        SettingsError: there is no CLI, or it does not end.
    """
    pulumi = shutil.which("pulumi")  # pulumi.exe, or the pulumi.cmd of npm
    if not pulumi:
        raise SettingsError(
            f"The {what} of --stack is read with the Pulumi CLI, and there is no `pulumi` on "
            "PATH: install it, or leave --stack out and set VMBACKUP_... variables."
        )
    # PATH may be relative to the present folder.
    command = [str(Path(pulumi).absolute()), *arguments, "--non-interactive", "--color", "never"]
    try:
        return subprocess.run(  # noqa: S603  # the user's own CLI
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PULUMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"`pulumi {arguments[0]}` did not answer within {_PULUMI_SECONDS} seconds: check "
            "whether the backend of the stack can be reached."
        ) from None
    except OSError as error:
        raise SettingsError(f"`pulumi {arguments[0]}` cannot be run: {error.strerror}.") from None


def _folder_and_stack(text: str) -> tuple[Path, str | None]:
    """The folder to run pulumi in, and the stack in Pulumi's own notation; None for the selected.

    The folder is the longest beginning of the text that has a project in it. Other folders do not
    count, because a folder may have the name of an organization.
    """
    path = path_of(text)
    has_project_above = _has_project(_project_folder(Path()))
    is_folder = text.endswith(("/", "\\")) or path.name in ("", "..") or not has_project_above
    if text and is_folder and _has_project(path):
        return path, None  # pulumi takes the selected one
    if not path.name:
        raise SettingsError(f"{text!r} of --stack names no stack. {_HOW_TO_WRITE}")
    for folder in path.parents:
        stack = path.relative_to(folder).parts
        if len(stack) <= 3 and ".." not in stack and _has_project(folder):
            return folder, "/".join(stack)
    if not path.anchor and ".." not in path.parts:
        return Path(), "/".join(path.parts)
    if not path.parent.is_dir():
        raise SettingsError(
            f"There is no folder {path.parent.absolute()} with a stack {path.name!r}. "
            f"{_HOW_TO_WRITE}"
        )
    return path.parent, path.name  # pulumi looks for the project above


def _has_project(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _PROJECT_FILES)


def _project_folder(folder: Path) -> Path:
    """The folder of the project that pulumi finds; the same folder if it finds none."""
    return next(filter(_has_project, (folder, *folder.resolve().parents)), folder)


def _refuse_other_project(stack: str, folder: Path) -> None:
    """Refuse a stack of another project: pulumi would read the file of a stack of this one."""
    parts = stack.split("/")
    name = _project_name(folder) if len(parts) == 3 else None
    if name and name.casefold() != parts[1].casefold():
        raise SettingsError(
            f"{stack} is a stack of the project {parts[1]!r}, and the folder {folder.absolute()} "
            f"has the project {name!r}: write the folder of {parts[1]!r} before it, like "
            f"DIR/{stack}."
        )


def _project_name(folder: Path) -> str | None:
    """The name of the project; None if it cannot be told."""
    for file in filter(Path.is_file, (folder / name for name in _PROJECT_FILES)):
        with suppress(OSError, ValueError):
            text = text_of(file.read_bytes())
            if text.lstrip().startswith("{"):
                return str(json.loads(text)["name"])
            found = _PROJECT_NAME.search(text)
            return found[2] if found else None
    return None


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


def _stacks(what: str, folder: Path) -> list[str]:
    """The names of some stacks of the project in a folder; none if that cannot be told."""
    with suppress(SettingsError, ValueError, TypeError, KeyError):
        stacks = json.loads(text_of(_pulumi(what, folder, "stack", "ls", "--json").stdout))
        return [quoted(stack["name"]) for stack in stacks][:_MOST_STACKS]
    return []


def _why_not_read(what: str, text: str, folder: Path, printed: bytes) -> str:
    lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines()]
    lines = list(filter(None, lines))
    errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    reason = printable(errors[0].removeprefix("error: ")) if errors else "it gives no reason"
    if "passphrase" in reason:
        advice = (
            "Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the passphrase of "
            "the stack."
        )
    elif _IS_NOT_LOGGED_IN.search(reason):
        advice = (
            "Run `pulumi login` first, or `pulumi login --local` if the stacks are files of this "
            "machine."
        )
    elif "no stack named" in reason and (stacks := _stacks(what, folder)):
        advice = (
            f"In {folder.absolute()}, there are: {', '.join(stacks)}. If the stack is in another "
            f"backend, log in to that first. {_HOW_TO_WRITE}"
        )
    else:
        advice = (
            f"Check the folder (pulumi was run in {folder.absolute()}), the stack, and that you "
            f"are logged in to its backend. {_HOW_TO_WRITE}"
        )
    reason = reason.rstrip(".")
    return f'The {what} of the stack {text} cannot be read: pulumi says "{reason}". {advice}'
