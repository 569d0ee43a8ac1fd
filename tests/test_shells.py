"""The commands that messages and guides suggest work in bash, PowerShell and cmd."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pulumi_vmbackup

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pulumi_vmbackup.__file__).parent
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = "pulumi|vmbackup|pip|python|ssh"
# What means something else, or nothing, in another shell: quotes, variables, escapes, lists of
# commands, redirected input, and the setting of variables.
ONLY_BASH = re.compile(r"['$\\;&|<]|\bexport \w+=|^\w+=")


def suggested(file: Path) -> list[str]:
    """The commands in the texts of a module, with an x for each value."""
    found = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [str(p.value) if isinstance(p, ast.Constant) else "x" for p in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return [each for text in found for each in re.findall(rf"`((?:{PROGRAMS}) [^`]+)`", text)]


def test_a_command_in_a_message_works_in_each_shell() -> None:
    commands = {each for file in PACKAGE.rglob("*.py") for each in suggested(file)}
    assert len(commands) > 20
    assert 'pip install "pulumi-vmbackup[cli]"' in commands
    assert [each for each in commands if ONLY_BASH.search(each)] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_a_command_in_a_guide_works_in_powershell_or_has_its_form_below(guide: Path) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", guide.read_text("utf-8"), re.M | re.S)
    followed_by = [*(language for language, _ in blocks[1:]), ""]
    for (language, block), next_one in zip(blocks, followed_by, strict=False):
        if language != "console" or next_one == "powershell":
            continue
        for line in re.findall(r"^\$ (.+)$", block, re.M):
            without_literals = re.sub(r"'[^'\"$]*'", "x", line)
            assert not ONLY_BASH.search(without_literals), line
            assert "curl" not in line  # another program in PowerShell 5.1
