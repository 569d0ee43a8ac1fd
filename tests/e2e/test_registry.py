"""The pages for the Pulumi Registry: their form, and their programs in Python and YAML.

test_typescript.py and test_go.py compile the programs in these languages.
"""

from __future__ import annotations

import json
import re

import pytest
import yaml
from e2e.stack import Stack
from environment import ROOT
from sample import OFFSITE01, SQL01

from pulumi_vmbackup.plugin.schema import schema
from pulumi_vmbackup.simulator import Simulator

FOLDER = ROOT / "docs" / "registry"
INDEX = (FOLDER / "_index.md").read_text("utf-8")
CONFIGURATION = (FOLDER / "installation-configuration.md").read_text("utf-8")


@pytest.mark.parametrize("page", [INDEX, CONFIGURATION], ids=["index", "configuration"])
def test_a_page_has_the_form_of_the_registry(page: str) -> None:
    _, front_matter, body = page.split("---\n", 2)
    assert yaml.safe_load(front_matter).keys() == {"title", "meta_desc", "layout"}
    assert yaml.safe_load(front_matter)["layout"] == "package"
    assert not re.search(r"^# ", re.sub(r"```.*?```", "", body, flags=re.S), re.M)
    assert not re.search(r"\]\((?!https://)", body)  # no other page of docs/ is there
    opened = re.findall(r"{{% choosable (?:language|os) (\w+) %}}", body)
    (offered,) = re.findall(r'{{< chooser (?:language|os) "([\w,]+)" >}}', body)
    assert opened == offered.split(",")
    assert body.count("{{% /choosable %}}") == len(opened)
    assert body.count("{{< /chooser >}}") == 1


def test_the_sdks_are_those_of_the_schema() -> None:
    package = json.loads(schema())
    language = package["language"]
    npm, go = language["nodejs"]["packageName"], language["go"]
    assert f"npmjs.com/package/{npm})" in CONFIGURATION
    assert f'from "{npm}";' in INDEX
    assert f"`{go['modulePath']}`" in CONFIGURATION
    assert f'"{go["importBasePath"]}"' in INDEX
    assert f"vmbackup --server {package['pluginDownloadURL']}\n" in CONFIGURATION


@pytest.mark.parametrize(("language", "name"), [("python", "__main__.py"), ("yaml", "Pulumi.yaml")])
def test_a_program_of_the_page_works(
    language: str, name: str, stack: Stack, simulator: Simulator
) -> None:
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", INDEX, re.M | re.S)
    (stack.folder / name).write_text(program, "utf-8")
    stack.up()
    assert simulator.inventory.locations_of(SQL01) == [OFFSITE01]
    assert "sql01-offsite" in stack.resources()
    stack.destroy()
    assert simulator.inventory.locations_of(SQL01) == []
