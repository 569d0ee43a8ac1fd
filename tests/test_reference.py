"""docs/reference, docs/registry and the picture of the imports: they are what the code gives."""

from __future__ import annotations

import re
from pathlib import Path

import architecture
import pytest
import reference
from environment import ROOT

import pulumi_vmbackup
from pulumi_vmbackup import lookups
from pulumi_vmbackup.command.group import _MODULES

PAGES = reference.pages()


def text(name: str) -> str:
    return (ROOT / "docs" / "reference" / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_what_the_code_gives(page: Path) -> None:
    shown = page.read_text("utf-8")
    assert shown == reference.rendered(shown), "run `make docs`"


def test_each_part_is_on_one_page() -> None:
    shown = "".join(page.read_text("utf-8") for page in PAGES)
    parts = re.findall(r"<!-- from the code: (\w+) -->", shown)
    assert sorted(parts) == sorted(reference.PARTS)
    assert shown.count("<!-- end -->") == len(parts)


def test_each_public_function_and_resource_is_in_the_reference() -> None:
    for name in pulumi_vmbackup.__all__:
        page = "functions" if hasattr(lookups, name) and name.startswith("get_") else None
        if page:
            assert f"```python\n{name}(" in text(page), name
    for name in pulumi_vmbackup.plugin.__all__:
        assert f"```python\n{name}(" in text("resources"), name


def test_each_command_and_each_of_its_options_is_in_the_reference() -> None:
    shown = text("commands")
    for name in _MODULES:
        assert f"\n## vmbackup {name}\n" in shown
    for option in ("--save-certificate FILE", "--connection NAME", "--record FILE", "--kind "):
        assert f"- `{option}" in shown


def test_each_error_in_the_reference_can_be_caught() -> None:
    names = set(re.findall(r"`(\w+Error)`", text("errors")))
    assert len(names) > 9
    assert names <= set(pulumi_vmbackup.__all__)


def test_the_picture_is_that_of_the_imports_and_none_points_upward() -> None:
    assert architecture.PICTURE.read_text("utf-8") == architecture.picture(), "run `make docs`"


def test_each_file_of_the_package_is_in_a_layer() -> None:
    listed = [name for names in architecture.layers().values() for name in names]
    files = {
        each.stem
        for each in architecture.PACKAGE.iterdir()
        if each.suffix == ".py" or (each.is_dir() and list(each.glob("*.py")))
    }
    assert sorted(listed) == sorted(files - {*architecture.APART})


def test_an_import_that_points_upward_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "imports", lambda: iter([("errors", "client")]))
    with pytest.raises(SystemExit, match=r"^errors \(values\) imports client \(calls\), which is"):
        architecture.between_layers()
