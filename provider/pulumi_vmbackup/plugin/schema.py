"""The schema of the Pulumi package ``vmbackup``, for all languages and for its documentation."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ..models import PROGRAM_FIELDS, BackupLocation, VirtualMachine
from ..settings import SETTINGS, Setting, camel_case
from .version import semantic_version

# The names of the package and its resources. Users' programs and states hold them.
PACKAGE = "vmbackup"
REPOSITORY = "github.com/pulumi-vmbackup/pulumi-vmbackup"
# Among the inputs of a provider, in the state: the CLI shows no difference in a key of such a name.
EXPLICIT = "__explicit"
VERSION = semantic_version(version("pulumi-vmbackup"))
ASSIGNMENT = "vmbackup:index:VmBackupLocationAssignment"
ASSIGNMENT_SET = "vmbackup:index:VmBackupLocationAssignmentSet"
_DEFAULT_PROVIDER = re.compile(r"default(_\d+_\d+_\d+(_.+)?)?")


def is_explicit_provider(name: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a provider is a resource of the program, and not Pulumi's default provider."""
    return bool(inputs.get(EXPLICIT)) or not _DEFAULT_PROVIDER.fullmatch(name)


FIELD_DESCRIPTIONS: dict[type, dict[str, str]] = {
    VirtualMachine: {
        "ref": "The AltaroVirtualMachineRef, a GUID; not set if VM Backup has none for it.",
        "name": "The VM's name on its hypervisor.",
        "host": "The name of its hypervisor host.",
        "configured": "Whether it is configured in VM Backup, and so can be assigned.",
        "hypervisor_uuid": "The HypervisorVirtualMachineUuid.",
        "next_backup_time": "When the next backup is due, in the server's own time.",
        "next_offsite_copy_time": "When the next offsite copy is due, in the server's own time.",
        "last_backup_time": "When the last backup was made, in the server's own time.",
        "last_backup_result": "How the last backup ended, in the server's words.",
        "last_backup_duration": "How long the last backup took; the unit is not documented.",
        "last_backup_transfer_size_compressed": "How much the last backup transferred, compressed; "
        "the unit is not documented.",
        "last_backup_transfer_size_uncompressed": "How much the last backup transferred, "
        "uncompressed; the unit is not documented.",
        "last_offsite_copy_time": "When the last offsite copy was made, in the server's own time.",
        "last_offsite_copy_result": "How the last offsite copy ended, in the server's words.",
        "last_offsite_copy_duration": "How long the last offsite copy took; the unit is not "
        "documented.",
        "last_offsite_copy_transfer_size_compressed": "How much the last offsite copy transferred, "
        "compressed; the unit is not documented.",
        "last_offsite_copy_transfer_size_uncompressed": "How much the last offsite copy "
        "transferred, uncompressed; the unit is not documented.",
    },
    BackupLocation: {
        "id": "The BackupLocationId, a GUID.",
        "path": "The LocationPath as VM Backup shows it.",
        "kind": "`primary` or `offsite`.",
    },
}
_SCHEMA_TYPES = {
    "str": "string",
    "bool": "boolean",
    "int": "number",
    "datetime": "string",
    "Kind": "string",
}


def _property(kind: str, description: str) -> dict[str, Any]:
    return {"type": kind, "description": description}


_DESCRIPTION = (
    "Assigns virtual machines to backup locations of Hornetsecurity (formerly Altaro) VM Backup."
)
# Of the generated SDKs.
_README = f"""\
{_DESCRIPTION}

This is a Pulumi package. Its plugin, examples and documentation are at https://{REPOSITORY}.
"""
_VM_REF = (
    "string",
    "The VM's AltaroVirtualMachineRef, a GUID in upper or lower case, with or without braces.",
)
_LOCATION_ID = (
    "string",
    "The BackupLocationId, a GUID in upper or lower case, with or without braces.",
)
_CONNECTION = _property(
    "string",
    "The server to use: the name of a connection in `vmbackup:connections` of the stack "
    "configuration. If left out, the settings of the provider apply.",
)
_ASSIGNED_AT = ("string", "When Pulumi assigned or adopted it, as ISO 8601 in UTC.")
_LAST_ASSIGNED_AT = (
    "string",
    "When Pulumi last assigned or adopted a pair of the set, as ISO 8601 in UTC.",
)


def schema() -> str:
    """The schema as the JSON text that ``pulumi package get-schema`` prints."""
    return json.dumps(
        {
            "name": PACKAGE,
            "displayName": "Hornetsecurity VM Backup",
            "version": VERSION,
            "description": _DESCRIPTION,
            "keywords": [
                *("pulumi", "vmbackup", "backup", "hyper-v", "vmware", "hornetsecurity", "altaro"),
                *("category/utility", "kind/native"),
            ],
            "license": "Apache-2.0",
            "publisher": "pulumi-vmbackup",
            "homepage": f"https://{REPOSITORY}",
            "repository": f"https://{REPOSITORY}",
            # The releases of the repository, which Pulumi gets the plugin from.
            "pluginDownloadURL": f"github://api.{REPOSITORY}",
            "config": {"variables": _settings()},
            "provider": {
                "description": "The settings of one VM Backup server. A setting that is left out "
                "comes from the stack configuration, or else from the environment. But if these "
                "lead to another server, the provider does not take what belongs to that server, "
                "such as its password.",
                "inputProperties": _settings(),
                "properties": _settings(),
            },
            "resources": {ASSIGNMENT: _assignment(), ASSIGNMENT_SET: _assignment_set()},
            "types": {
                "vmbackup:index:VmBackupLocations": _object(
                    "A virtual machine and its backup locations.",
                    {
                        "vmRef": _property(*_VM_REF),
                        "backupLocationIds": {
                            **_map(_property(*_LOCATION_ID)),
                            "description": "The BackupLocationIds (GUIDs). The keys are labels for "
                            "people, such as the paths of the locations.",
                        },
                        "host": _property(
                            "string",
                            "The name of the VM's host. While the host is off, a refresh keeps the "
                            "VM. Warnings show the name.",
                        ),
                    },
                    required=["vmRef", "backupLocationIds"],
                ),
                "vmbackup:index:VirtualMachine": _object(
                    "A virtual machine that VM Backup sees.", _fields(VirtualMachine)
                ),
                "vmbackup:index:BackupLocation": _object(
                    "A place that VM Backup writes backups to.",
                    _fields(BackupLocation),
                    required=["id"],
                ),
            },
            "functions": _functions(),
            # Without it, a generated SDK for TypeScript has a placeholder as its version.
            "meta": {"supportPack": True},
            "language": _languages(),
        },
        indent=2,
    )


def _languages() -> dict[str, Any]:
    """What the generated SDKs are called. The names that Pulumi chooses are taken, or wrong."""
    go = f"{REPOSITORY}/sdk/go"
    names: dict[str, dict[str, Any]] = {
        "nodejs": {
            "packageName": "pulumi-vmbackup",
            "packageDescription": _DESCRIPTION,
            "readme": _README,
            "dependencies": {"@pulumi/pulumi": "^3.248.0"},  # the oldest that a test has run with
        },
        "go": {"modulePath": go, "importBasePath": f"{go}/{PACKAGE}"},
        # pulumi_vmbackup has classes of its own, which take VMs and locations as objects.
        "python": {"packageName": "pulumi_vmbackup_sdk", "readme": _README},
    }
    return {language: {**each, "respectSchemaVersion": True} for language, each in names.items()}


def _assignment() -> dict[str, Any]:
    inputs = {"vmRef": _property(*_VM_REF), "backupLocationId": _property(*_LOCATION_ID)}
    return {
        "description": "Assigns a virtual machine to a backup location. If an id changes, Pulumi "
        "first assigns the new pair, and then un-assigns the old one. An existing assignment is "
        "adopted. The id of the resource, also for `pulumi import`, is "
        "`<vmRef>/<backupLocationId>`.",
        "inputProperties": {
            **{key: {**each, "willReplaceOnChanges": True} for key, each in inputs.items()},
            "connection": {**_CONNECTION, "plain": True},
        },
        "requiredInputs": list(inputs),
        "properties": {
            **inputs,
            "connection": _CONNECTION,
            "vmName": _property(
                "string", "The VM's name when it was assigned; not set if unknown."
            ),
            "locationPath": _property("string", "The location's path; not set if unknown."),
            "kind": _property("string", "`primary` or `offsite`; not set if unknown."),
            "assignedAt": _property(*_ASSIGNED_AT),
        },
        "required": list(inputs),
    }


def _assignment_set() -> dict[str, Any]:
    inputs = {
        "assignments": {
            **_map({"$ref": "#/types/vmbackup:index:VmBackupLocations"}),
            "description": "The virtual machines and their backup locations. The keys are labels "
            "for people, such as the VMs' names: another label changes nothing on the server.",
        },
        "exclusive": _property(
            "boolean",
            "Whether to un-assign all other backup locations of these virtual machines. False if "
            "left out.",
        ),
    }
    return {
        "description": "Assigns many virtual machines to backup locations, as one resource. An "
        "update first assigns the new pairs, and then un-assigns those that the program no longer "
        "has. A delete un-assigns only the set's own assignments. For `pulumi import`, the id is "
        "the refs of the virtual machines, with commas between them.",
        "inputProperties": {**inputs, "connection": {**_CONNECTION, "plain": True}},
        "requiredInputs": ["assignments"],
        "properties": {
            **inputs,
            "connection": _CONNECTION,
            "otherAssignments": {
                **_map({"$ref": "#/types/vmbackup:index:VmBackupLocations"}),
                "description": "Other assignments of the virtual machines of an exclusive set, "
                "found by the last refresh. The next update un-assigns them.",
            },
            "assignedAt": _property(*_LAST_ASSIGNED_AT),
        },
        "required": ["assignments", "exclusive"],
    }


def _functions() -> dict[str, Any]:
    vms = {"$ref": "#/types/vmbackup:index:VirtualMachine"}
    locations = {"$ref": "#/types/vmbackup:index:BackupLocation"}
    return {
        "vmbackup:index:getVirtualMachines": _function(
            "Lists the virtual machines that the server sees.",
            {
                "configured": (
                    "boolean",
                    "True: only those that can be assigned. False: only the others. If left out: "
                    "all.",
                )
            },
            {
                "virtualMachines": {
                    "type": "array",
                    "items": vms,
                    "description": "The virtual machines.",
                }
            },
            required=["virtualMachines"],
        ),
        "vmbackup:index:getVirtualMachine": _function(
            "Finds one virtual machine by name or ref. It must be configured in VM Backup.",
            {
                "name": ("string", "The VM's name, in upper or lower case."),
                "host": ("string", "The name of its host, if several VMs have the name."),
                "ref": ("string", "Its AltaroVirtualMachineRef (a GUID). It is enough alone."),
            },
            _fields(VirtualMachine),
            required=["ref"],
        ),
        "vmbackup:index:getBackupLocations": _function(
            "Lists the backup locations of the server, or those that one virtual machine is "
            "assigned to.",
            {
                "primary": ("boolean", "Whether to include primary locations. True if left out."),
                "offsite": ("boolean", "Whether to include offsite locations. True if left out."),
                "vmRef": (
                    "string",
                    "List only the locations of the VM with this ref. If left out: all.",
                ),
            },
            {
                "backupLocations": {
                    "type": "array",
                    "items": locations,
                    "description": "The backup locations.",
                }
            },
            required=["backupLocations"],
        ),
        "vmbackup:index:getBackupLocation": _function(
            "Finds one backup location by path, id or kind.",
            {
                "path": (
                    "string",
                    "The LocationPath as VM Backup shows it, in upper or lower case.",
                ),
                "id": ("string", "Its BackupLocationId (a GUID). It is enough alone."),
                "kind": ("string", "`primary` or `offsite`, if several locations match."),
            },
            _fields(BackupLocation),
            required=["id"],
        ),
    }


def _function(
    description: str,
    arguments: dict[str, tuple[str, str]],
    outputs: dict[str, Any],
    *,
    required: list[str],
) -> dict[str, Any]:
    return {
        "description": description,
        "inputs": {
            "type": "object",
            "properties": {
                **{key: _property(*each) for key, each in arguments.items()},
                "connection": _CONNECTION,
            },
        },
        "outputs": {"type": "object", "properties": outputs, "required": required},
    }


def _settings() -> dict[str, Any]:
    return {
        key: _property(setting.type, setting_description(setting))
        | ({"secret": True} if setting.is_secret else {})
        for key, setting in SETTINGS.items()
    }


def setting_description(setting: Setting) -> str:
    """A setting's description as sentences, with its default."""
    return f"{setting.description}." + (f" Default: {setting.default}." if setting.default else "")


def _fields(of: type[VirtualMachine] | type[BackupLocation]) -> dict[str, Any]:
    """The fields of a value that come from the server."""
    properties = {}
    for each in dataclasses.fields(of):
        if each.name not in PROGRAM_FIELDS:
            kind = _SCHEMA_TYPES[str(each.type).partition(" ")[0]]
            properties[camel_case(each.name)] = _property(kind, FIELD_DESCRIPTIONS[of][each.name])
    return properties


def _object(
    description: str, properties: dict[str, Any], required: list[str] | None = None
) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required or [],
    }


def _map(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}
