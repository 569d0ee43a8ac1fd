"""Writes the parts of docs/reference and docs/registry that come from the code.

A part stands between `<!-- from the code: NAME -->` and `<!-- end -->` of a page. What is around it
is written by hand. The tests compare the pages with what this makes.
"""

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

import click
from docstring_parser import DocstringStyle, parse

import pulumi_vmbackup
from pulumi_vmbackup import VmBackupError, VmBackupLocationAssignment, lookups, plugin
from pulumi_vmbackup.command.group import vmbackup
from pulumi_vmbackup.plugin.schema import ASSIGNMENT, ASSIGNMENT_SET, schema, setting_description
from pulumi_vmbackup.settings import SETTINGS, VERSIONS, environment_variable

PAGES = ("reference", "registry")
COLUMNS = 120
_PART = re.compile(r"(<!-- from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FUNCTIONS = (
    "get_virtual_machine",
    "get_virtual_machines",
    "get_backup_location",
    "get_backup_locations",
)
_RESOURCES = {
    ASSIGNMENT: plugin.VmBackupLocationAssignment,
    ASSIGNMENT_SET: plugin.VmBackupLocationAssignmentSet,
}


def main() -> None:
    for page in pages():
        page.write_text(rendered(page.read_text("utf-8")), "utf-8", newline="\n")


def pages() -> list[Path]:
    """The pages that may have parts."""
    return [page for folder in PAGES for page in sorted((ROOT / "docs" / folder).glob("*.md"))]


def rendered(page: str) -> str:
    """The text of a page with its parts made anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[3]}", page)


# Words


def _plain(text: str | None) -> str:
    """The text of a docstring or a help as one line of Markdown."""
    text = re.sub(r":\w+:`(\w+)`", r"`\1`", " ".join((text or "").split()))
    parts = text.replace("``", "`").split("`")
    # What stands in angle brackets is HTML for Markdown, but not in code.
    parts[::2] = [re.sub(r"\S*<\w+>[\w.]*", r"`\g<0>`", each) for each in parts[::2]]
    return "`".join(parts)


def _sentence(text: str | None) -> str:
    plain = _plain(text)
    plain = plain[:1].upper() + plain[1:]
    return plain if not plain or plain.endswith((".", ":", "]")) else f"{plain}."


def _paragraph(text: str) -> str:
    return textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _item(text: str, depth: int = 0) -> str:
    """An item of a list, in as many lists as ``depth`` says."""
    indent = "    " * depth
    return textwrap.fill(
        f"- {text}",
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines)
        .replace("| --- ", "|---")
        .replace("|--- |", "|---|")
    )


def _without_version(name: str) -> str:
    return name.rpartition(":")[2]


# Python


def _signature(of: Callable[..., Any], name: str) -> str:
    """A signature as a block of code, with an argument a line, as its source has it."""
    lines = [f"{name}("]
    signature = inspect.signature(of)
    is_keyword_only = False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            lines.append("    *,")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        lines.append(f"    {parameter.name}: {parameter.annotation}{default},")
    returns = signature.return_annotation
    lines.append(")" if returns == "None" else f") -> {returns}")
    return "```python\n" + "\n".join(lines) + "\n```"


def _explained(of: Callable[..., Any], documented: object) -> Iterator[str]:
    """The paragraphs of a docstring, its arguments and its errors."""
    doc = parse(inspect.getdoc(documented) or "", DocstringStyle.GOOGLE)
    for paragraph in (doc.description or "").split("\n\n"):
        yield _paragraph(_plain(paragraph))
    arguments = [each for each in doc.params if each.arg_name in inspect.signature(of).parameters]
    if arguments:
        yield "\n".join(
            _item(f"`{each.arg_name}`: {_plain(each.description)}") for each in arguments
        )
    if doc.raises:
        yield "Errors:"
        yield "\n".join(
            _item(f"`{each.type_name}`: {_plain(each.description)}") for each in doc.raises
        )


def _dynamic() -> str:
    of = VmBackupLocationAssignment
    parts = (_signature(of, of.__name__), *_explained(of, of))
    return "\n\n".join(parts)


def _functions() -> str:
    parts: list[str] = []
    for name in _FUNCTIONS:
        function = getattr(lookups, name)
        parts += (f"### {name}", _signature(function, name), *_explained(function, function))
    return "\n\n".join(parts)


def _twins() -> str:
    names = [f"{name}_output" for name in _FUNCTIONS]
    return "\n\n".join(_signature(getattr(lookups, name), name) for name in names)


def _errors() -> str:
    public = [getattr(pulumi_vmbackup, name) for name in pulumi_vmbackup.__all__]
    errors = [each for each in public if isinstance(each, type) and issubclass(each, VmBackupError)]

    def below(error: type[VmBackupError], depth: int) -> Iterator[str]:
        doc = parse(inspect.getdoc(error) or "", DocstringStyle.GOOGLE)
        what = " ".join(_sentence(each) for each in (doc.description or "").split("\n\n"))
        yield _item(f"`{error.__name__}`: {what}", depth)
        for each in errors:
            if error in each.__bases__:
                yield from below(each, depth + 1)

    return "\n".join(below(VmBackupError, 0))


# The schema


def _type(described: Mapping[str, Any]) -> str:
    if "$ref" in described:
        name = _without_version(described["$ref"])
        return f"[`{name}`](#{name.lower()})"
    if described["type"] == "array":
        return f"list of {_type(described['items'])}"
    if described["type"] == "object":
        return f"map of {_type(described['additionalProperties'])}"
    return str(described["type"])


def _properties(properties: Mapping[str, Any], required: list[str] | None = None) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for key, each in properties.items():
            needed = () if required is None else ("yes" if key in required else "no",)
            yield (f"`{key}`", _type(each), *needed, each.get("description", ""))

    needed = () if required is None else ("required",)
    return _table(("name", "type", *needed, "what it is"), rows())


def _resources() -> str:
    package = json.loads(schema())
    parts: list[str] = []
    for token, of in _RESOURCES.items():
        resource = package["resources"][token]
        own = {
            k: v for k, v in resource["properties"].items() if k not in resource["inputProperties"]
        }
        parts += (
            f"### {_without_version(token)}",
            _paragraph(resource["description"]),
            f"Its type is `{token}`. In Python, with `pulumi_vmbackup.plugin`:",
            _signature(of, of.__name__),
            "Inputs:",
            _properties(resource["inputProperties"], resource["requiredInputs"]),
            "Outputs:",
            _properties(own),
        )
    locations = package["types"]["vmbackup:index:VmBackupLocations"]
    parts += (
        "### VmBackupLocations",
        _paragraph(locations["description"]),
        _properties(locations["properties"], locations["required"]),
    )
    return "\n\n".join(parts)


def _provider() -> str:
    of = plugin.Provider
    described = json.loads(schema())["provider"]["description"]
    return "\n\n".join(
        (
            _paragraph(described),
            "Its inputs are the [settings](settings.md). In Python:",
            _signature(of, of.__name__),
        )
    )


def _invokes() -> str:
    parts: list[str] = []
    for token, function in json.loads(schema())["functions"].items():
        outputs = function["outputs"]["properties"]
        returns = (
            _properties(outputs)
            if all("items" in each for each in outputs.values())
            else f"It returns the fields of [`{token.rpartition(':get')[2]}`]"
            f"(#{token.rpartition(':get')[2].lower()})."
        )
        parts += (
            f"### {_without_version(token)}",
            _paragraph(function["description"]),
            f"Its token is `{token}`. Its arguments, none of which is required:",
            _properties(function["inputs"]["properties"]),
            returns if returns.startswith("It") else f"It returns:\n\n{returns}",
        )
    return "\n\n".join(parts)


def _values() -> str:
    types = json.loads(schema())["types"]
    parts: list[str] = []
    for name in ("VirtualMachine", "BackupLocation"):
        described = types[f"vmbackup:index:{name}"]
        parts += (
            f"### {name}",
            f"{described['description']} In Python, the names are in the case of Python, such as "
            f"`{'last_backup_time' if name == 'VirtualMachine' else 'path'}`.",
            _properties(described["properties"]),
        )
    return "\n\n".join(parts)


# Settings and commands


def _settings() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for key, setting in SETTINGS.items():
            secret = " (secret)" if setting.is_secret else ""
            value = re.compile(r"[\d.]+|false|[A-Z]+").fullmatch(setting.default)
            default = f"`{setting.default}`" if value else _plain(setting.default) or "none"
            yield (
                f"`vmbackup:{key}`{secret}<br>`{environment_variable(key)}`",
                default,
                f"{setting.description}.",
            )

    return _table(("stack configuration, and environment", "default", "what it is"), rows())


def _options_of_registry() -> str:
    return "\n".join(
        _item(
            f"`vmbackup:{key}` (`{environment_variable(key)}`): "
            + _plain(setting_description(setting))
        )
        for key, setting in SETTINGS.items()
    )


def _versions() -> str:
    return _table(
        ("`apiVersion`", "`baseUrl`", "`serverPort`"),
        (
            (f"`{version}`", f"`{each.base_url}`", str(each.server_port))
            for version, each in VERSIONS.items()
        ),
    )


def _options(command: click.Command, context: click.Context) -> dict[str, str]:
    """Each option of a command, and what it does."""
    options = {}
    for each in command.params:
        if isinstance(each, click.Option) and not each.hidden:
            value = "" if each.is_flag else f" {each.make_metavar(context)}"
            options[f"{', '.join(each.opts)}{value}"] = _sentence(each.help)
    return options


def _commands() -> str:
    context = click.Context(vmbackup, info_name="vmbackup")
    found = {name: vmbackup.get_command(context, name) for name in vmbackup.list_commands(context)}
    commands = {name: command for name, command in found.items() if command}
    options = {
        name: _options(command, click.Context(command, context, name))
        for name, command in commands.items()
    }
    first = next(iter(options.values()))
    of_all = {k: v for k, v in first.items() if all(k in each for each in options.values())}
    parts = [
        "## Options before the command",
        *_help(vmbackup),
        _bullets(_options(vmbackup, context)),
    ]
    for name, command in commands.items():
        own = {k: v for k, v in options[name].items() if of_all.get(k) != v}
        parts += (
            f"## vmbackup {name}",
            *_help(command),
            _bullets(own),
            "It also takes the [options of all commands](#options-of-all-commands).",
        )
    parts += (
        "## Options of all commands",
        "They name the server and the account. The [settings](settings.md) say more.",
        _bullets(of_all),
    )
    return "\n\n".join(filter(None, parts))


def _help(command: click.Command) -> list[str]:
    return [_paragraph(_plain(each)) for each in (command.help or "").split("\n\n")]


def _bullets(options: Mapping[str, str]) -> str:
    return "\n".join(_item(f"`{option}`: {what}") for option, what in options.items())


PARTS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "dynamic": _dynamic,
    "errors": _errors,
    "functions": _functions,
    "invokes": _invokes,
    "options": _options_of_registry,
    "provider": _provider,
    "resources": _resources,
    "settings": _settings,
    "twins": _twins,
    "values": _values,
    "versions": _versions,
}


if __name__ == "__main__":
    main()
