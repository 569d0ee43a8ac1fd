"""plugin/schema.py: it has all that there is, in the types that the plugin answers."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
from contract.plugin import ASSIGNMENT, SET, a_set, entry
from sample import DC01, DISK_E, NAS01, SQL01

import pulumi_vmbackup
from pulumi_vmbackup import BackupLocation, VirtualMachine
from pulumi_vmbackup.catalog import Catalog
from pulumi_vmbackup.plugin import functions, resources
from pulumi_vmbackup.plugin.context import Context, PluginProcess
from pulumi_vmbackup.plugin.schema import schema
from pulumi_vmbackup.plugin.set_handler import SetHandler
from pulumi_vmbackup.plugin.single_handler import SingleHandler
from pulumi_vmbackup.settings import SECRET_SETTINGS, SETTINGS, Settings, camel_case
from pulumi_vmbackup.simulator import Simulator

SCHEMA: dict[str, Any] = json.loads(schema())


@pytest.fixture
def context(settings: Settings) -> Iterator[Context]:
    process = PluginProcess([])
    process.configure(lambda _: settings)
    yield process.on(None)
    process.end()


def assert_fits(value: object, of: dict[str, Any], where: str = "it") -> None:
    """A value is of a type of the schema."""
    if "$ref" in of:
        of = {"type": "object", **SCHEMA["types"][of["$ref"].removeprefix("#/types/")]}
    kinds: dict[str, Any] = {
        "string": str,
        "number": (int, float),
        "boolean": bool,
        "object": dict,
        "array": list,
    }
    assert isinstance(value, kinds[of["type"]]), where
    assert isinstance(value, bool) is (of["type"] == "boolean"), where
    if isinstance(value, list):
        for each in value:
            assert_fits(each, of["items"], where)
    elif isinstance(value, dict):
        assert {*of.get("required", ())} <= value.keys(), where
        for key, each in value.items():
            assert key in of.get("properties", {}) or "additionalProperties" in of, f"{where}.{key}"
            kind = of.get("properties", {}).get(key) or of["additionalProperties"]
            assert_fits(each, kind, f"{where}.{key}")


def descriptions(value: Any, where: str = "schema") -> Iterator[tuple[str, object]]:
    """The description of each property, resource, type and function."""
    if isinstance(value, dict):
        for key, each in value.items():
            named = isinstance(each, dict) and key not in (
                "inputs",
                "outputs",
                "config",
                "language",
            )
            parent = where.rpartition(".")[2]
            if named and parent in ("properties", "inputProperties", "variables"):
                yield f"{where}.{key}", each.get("description")
            if named and parent in ("resources", "types", "functions"):
                yield f"{where}.{key}", each.get("description")
            yield from descriptions(each, f"{where}.{key}".replace("vmbackup:index:", ""))


def test_everything_has_a_description() -> None:
    found = dict(descriptions(SCHEMA))
    assert len(found) > 80
    assert [where for where, text in found.items() if not text] == []
    assert [where for where, text in found.items() if not str(text).endswith(".")] == []


def test_every_setting_is_configuration_and_an_input_of_the_provider() -> None:
    config, provider = SCHEMA["config"]["variables"], SCHEMA["provider"]
    assert list(config) == [*SETTINGS]
    assert config == provider["inputProperties"] == provider["properties"]
    assert [key for key in config if config[key].get("secret")] == [*SECRET_SETTINGS]


@pytest.mark.parametrize(
    ("type_", "of"), [("VirtualMachine", VirtualMachine), ("BackupLocation", BackupLocation)]
)
def test_every_field_of_what_is_looked_up_is_there(type_: str, of: Any) -> None:
    fields = {camel_case(field.name) for field in dataclasses.fields(of)} - {"connection", "server"}
    assert SCHEMA["types"][f"vmbackup:index:{type_}"]["properties"].keys() == fields


@pytest.mark.parametrize(
    ("token", "of"),
    [
        (ASSIGNMENT, resources.VmBackupLocationAssignment),
        (SET, resources.VmBackupLocationAssignmentSet),
    ],
)
def test_every_output_is_a_property_of_the_python_class(token: str, of: Any) -> None:
    def properties(cls: type) -> set[str]:
        members = inspect.getmembers(cls, lambda member: isinstance(member, property))
        return {camel_case(name) for name, _ in members}

    own = properties(of) - properties(pulumi.CustomResource)
    assert SCHEMA["resources"][token]["properties"].keys() == own


def arguments_of(of: Any) -> dict[str, bool]:
    """The named arguments of a class or a function, and whether they can be left out."""
    return {
        camel_case(each.name): each.default is not inspect.Parameter.empty
        for each in inspect.signature(of).parameters.values()
        if each.kind is inspect.Parameter.KEYWORD_ONLY and each.name != "opts"
    }


@pytest.mark.parametrize(
    ("token", "of"),
    [
        (ASSIGNMENT, resources.VmBackupLocationAssignment),
        (SET, resources.VmBackupLocationAssignmentSet),
    ],
)
def test_every_input_is_an_argument_of_the_python_class(token: str, of: Any) -> None:
    resource = SCHEMA["resources"][token]
    inputs = {key: key not in resource["requiredInputs"] for key in resource["inputProperties"]}
    assert inputs == arguments_of(of)
    assert inputs["connection"]


@pytest.mark.parametrize("name", [*functions.ARGUMENTS])
def test_every_argument_of_a_function_is_one_of_the_python_look_up(name: str) -> None:
    inputs = SCHEMA["functions"][f"vmbackup:index:{name}"]["inputs"]
    python_name = re.sub(r"(?=[A-Z])", "_", name).lower()
    for look_up in (python_name, f"{python_name}_output"):
        of = arguments_of(getattr(pulumi_vmbackup, look_up))
        assert of == dict.fromkeys(inputs["properties"], True), look_up
    assert "connection" in inputs["properties"]


def test_an_assignment_answers_what_the_schema_says(context: Context) -> None:
    resource = SCHEMA["resources"][ASSIGNMENT]
    inputs = {"vmRef": SQL01, "backupLocationId": NAS01}
    assert {*resource["requiredInputs"]} == inputs.keys()
    assert {*resource["inputProperties"]} == {*inputs, "connection"}
    _, outputs = SingleHandler(context).create("urn", inputs)
    assert {*outputs, "connection"} == resource["properties"].keys()
    assert_fits(outputs, {"type": "object", **resource})


def test_a_set_answers_what_the_schema_says(
    context: Context, simulator: Simulator, settings: Settings
) -> None:
    resource = SCHEMA["resources"][SET]
    inputs = a_set(True, SQL01=entry(SQL01, NAS=NAS01))
    assert_fits(inputs, {"type": "object", "properties": resource["inputProperties"]})
    _, outputs = SetHandler(context).create("a::b::it", inputs)
    simulator.inventory.assignments[SQL01, DISK_E] = None
    other = PluginProcess([])  # each lists the locations of a VM once
    other.configure(lambda _: settings)
    found = SetHandler(other.on(None)).read("it", inputs, outputs)
    other.end()
    assert found
    assert {*found.outputs, "connection"} == resource["properties"].keys()
    assert_fits(found.outputs, {"type": "object", **resource})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("getVirtualMachines", {"configured": True}),
        ("getVirtualMachine", {"name": "SQL01", "host": "HV-01", "ref": SQL01}),
        ("getBackupLocations", {"primary": True, "offsite": True, "vmRef": DC01}),
        ("getBackupLocation", {"path": r"E:\VMBackups", "id": DISK_E, "kind": "primary"}),
    ],
)
def test_a_function_takes_and_answers_what_the_schema_says(
    name: str, arguments: dict[str, object], settings: Settings
) -> None:
    function = SCHEMA["functions"][f"vmbackup:index:{name}"]
    assert function["inputs"]["properties"].keys() == {*arguments, "connection"}
    assert_fits(arguments, function["inputs"])
    catalog = Catalog(settings)
    assert_fits(functions.call(name, arguments, catalog), function["outputs"])


def test_there_is_no_other_function() -> None:
    assert {*SCHEMA["functions"]} == {f"vmbackup:index:{name}" for name in functions.ARGUMENTS}
