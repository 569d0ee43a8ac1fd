"""What the resources of a stack assign, read from what Pulumi tells of them.

That is a preview or a state as JSON, or what a policy pack is given. Works without Pulumi. Seen
with CLI 3.259: a preview leaves out resources that do not change, unless it is made with
``--show-sames``, and never shows Pulumi's default providers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .coverage import PartlyKnown, ResourcePlan
from .errors import ArgumentError, SettingsError
from .inventory import Snapshot, read_snapshot
from .models import Pair, normalize_guid
from .plugin.schema import ASSIGNMENT, ASSIGNMENT_SET, PACKAGE
from .settings import ADDRESS_SETTINGS, SETTINGS, provider_server, read_settings
from .states import pair_of_id

DYNAMIC_ASSIGNMENT = "pulumi-python:dynamic/vmbackup:VmBackupLocationAssignment"
HOW_TO_PREVIEW = "`pulumi preview --json --show-sames`"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # what the engine writes for an unknown value
_SECRET = "[secret]"  # noqa: S105  # what the CLI writes for a secret one
_SECRET_KEY = "4dabf18193072939515e22adb298388d"  # noqa: S105  # that of a secret in a state
_PROVIDER = f"pulumi:providers:{PACKAGE}"
_TYPES = (DYNAMIC_ASSIGNMENT, ASSIGNMENT, ASSIGNMENT_SET)
_DEFAULT_PROVIDER = re.compile(r"default(_\d+_\d+_\d+(_.+)?)?")
# Most of the text, and not needed.
_LEFT_OUT = frozenset({"stackTrace", "sourcePosition", "__provider", "propertyDependencies"})

_Json = dict[str, Any]


class ServerPlan(NamedTuple):
    """What a resource assigns on one server.

    Attributes:
        server: the server, as ``Settings.server``.
        name: the name of the connection or of the explicit provider; None for the unnamed settings.
        plan: what it assigns there.
    """

    server: str
    name: str | None
    plan: ResourcePlan


@dataclass(frozen=True)
class StackPlan:
    """What the resources of a stack assign.

    Attributes:
        stack: the stack with its project: ``backup/prod``.
        plans: the resources, each with its server. One that moves to another server is there twice.
        is_preview: whether it tells what an update changes. If not, it is the state.
    """

    stack: str
    plans: tuple[ServerPlan, ...]
    is_preview: bool


def read_preview(text: str, source: str) -> StackPlan:
    """Read the output of ``pulumi preview --json --show-sames``.

    Args:
        text: the output.
        source: what an error calls it, such as ``preview.json of --preview``.

    Raises:
        ArgumentError: it is no such output, the preview failed, or it leaves resources out.
    """
    preview = _parsed(text, source, f"give it the output of {HOW_TO_PREVIEW}, without stderr")
    steps = preview.get("steps") or []
    if not {"steps", "changeSummary"} & preview.keys() or not _are_objects(steps):
        raise ArgumentError(
            f"{source} is not the output of a preview: give it that of {HOW_TO_PREVIEW}."
        )
    for diagnostic in preview.get("diagnostics") or ():
        if diagnostic.get("severity") == "error":
            message = str(diagnostic.get("message")).strip().removeprefix("error: ")
            raise ArgumentError(
                f"The preview of {source} failed, so it does not tell what an update would do: "
                f"{message}"
            )
    same = (preview.get("changeSummary") or {}).get("same", 0)
    if same > sum(step.get("op") == "same" for step in steps):
        raise ArgumentError(
            f"{source} leaves out resources that do not change, so it does not tell what the "
            f"program declares: make the preview with {HOW_TO_PREVIEW}."
        )
    config = preview.get("config") or {}
    reader = _Reader(source, steps, lambda key: config.get(f"{PACKAGE}:{key}"))
    return StackPlan(_stack(steps, source), tuple(reader.plans()), is_preview=True)


def read_state(text: str, stack: str, get_config: Callable[[str], object]) -> StackPlan:
    """Read the output of ``pulumi stack export``.

    Args:
        text: the output.
        stack: the stack, as the user writes it.
        get_config: its configuration, by keys such as ``baseUrl``.

    Raises:
        ArgumentError: it is no such output.
    """
    source = f"The state of the stack {stack}"
    exported = _parsed(text, source, "check what `pulumi stack export` prints")
    resources = (exported.get("deployment") or {}).get("resources") or []
    if "deployment" not in exported or not _are_objects(resources):
        raise ArgumentError(f"{source} is not what `pulumi stack export` of CLI 3 prints.")
    steps = [
        {"op": "same", "urn": each.get("urn"), "oldState": each, "newState": each}
        for each in resources
        if not each.get("delete")  # it waits to be deleted, and is no longer declared
    ]
    reader = _Reader(source, steps, get_config)
    return StackPlan(_stack(steps, stack), tuple(reader.plans()), is_preview=False)


class StackResource(NamedTuple):
    """A resource as a policy pack is given it.

    Attributes:
        urn: its URN.
        properties: its outputs; what is not known before the update is :data:`UNKNOWN`.
        provider: the URN of its provider; empty if it has none.
        provider_inputs: the inputs of the provider.
    """

    urn: str
    properties: Mapping[str, Any]
    provider: str
    provider_inputs: Mapping[str, Any]


def read_resources(
    resources: Iterable[StackResource], get_config: Callable[[str], object]
) -> list[ServerPlan]:
    """What the resources of a program assign, as if all of it were new.

    Args:
        resources: the resources; those of other types are left out.
        get_config: the configuration of the stack, by keys such as ``baseUrl``.

    Raises:
        ArgumentError: a resource cannot be read, or its server is not known.
    """
    steps: list[_Json] = []
    for each in resources:
        provider = {"inputs": each.provider_inputs}
        state = {"inputs": each.properties, "provider": f"{each.provider}::id"}
        steps.append({"op": "same", "urn": each.provider, "newState": provider})
        steps.append({"op": "create", "urn": each.urn, "newState": state})
    return list(_Reader("The stack", steps, get_config).plans())


def read_inventory(file: Path, given_by: str) -> Snapshot:
    """Read the snapshot that resources are compared with.

    Args:
        file: the snapshot.
        given_by: what gives its path, as an error names it.

    Raises:
        SettingsError: it cannot be read.
        ArgumentError: it holds no VM.
    """
    snapshot = read_snapshot(file, given_by)
    if not snapshot.virtual_machines:
        raise ArgumentError(
            f"{file} of {given_by} holds no virtual machine at all: write it again with `vmbackup "
            "snapshot`."
        )
    return snapshot


def refuse_foreign(server: str, plans: Iterable[ServerPlan], inventory: Snapshot) -> None:
    """Refuse the inventory of another server.

    Raises:
        ArgumentError: it has none of the VMs and locations that resources of the server name.
    """
    pairs = [pair for each in plans for pair in each.plan.declares | each.plan.unassigns]
    ids = {id_ for pair in pairs for id_ in pair}
    listed = {vm.ref for vm in inventory.virtual_machines}
    listed |= {location.id for location in inventory.backup_locations}
    if ids and ids.isdisjoint(listed):
        raise ArgumentError(
            f"The inventory has no VM and no location of the resources of {server}: check that it "
            "is of the right server, since a tunnel may lead to another site."
        )


def _parsed(text: str, source: str, remedy: str) -> _Json:
    def kept(pairs: list[tuple[str, Any]]) -> _Json:
        return {key: value for key, value in pairs if key not in _LEFT_OUT}

    try:
        parsed = json.loads(text, object_pairs_hook=kept)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ArgumentError(f"{source} is not a JSON object: {remedy}.")
    return parsed


def _are_objects(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(each, dict) for each in items)


def _stack(steps: list[_Json], default: str) -> str:
    return _stack_of(str(steps[0].get("urn"))) if steps else default


@cache
def _stack_of(urn: str) -> str:
    """The project and the stack of a URN, ``urn:pulumi:<stack>::<project>::...``."""
    stack, _, rest = urn.removeprefix("urn:pulumi:").partition("::")
    return f"{rest.partition('::')[0]}/{stack}"


# Steps

_CREATES = frozenset({"create", "create-replacement", "import", "import-replacement"})
_DELETES = frozenset({"delete", "delete-replaced"})
_OPERATIONS = _CREATES | _DELETES | {"same", "update", "replace"}


@dataclass(frozen=True)
class _Declared:
    """What a resource declares, in a state or in a program.

    Attributes:
        server: as that of ServerPlan.
        name: as that of ServerPlan.
        pairs: what is wholly known.
        partly_known: the rest.
        exclusive: of a set; None if only the update knows.
        others: the other assignments of an exclusive set that a refresh has found.
    """

    server: str
    name: str | None
    pairs: frozenset[Pair] = frozenset()
    partly_known: tuple[PartlyKnown, ...] = ()
    exclusive: bool | None = False
    others: frozenset[Pair] = frozenset()

    @property
    def vms(self) -> frozenset[str]:
        partly = {each.vm_ref for each in self.partly_known if each.vm_ref}
        return frozenset({vm_ref for vm_ref, _ in self.pairs} | partly)


class _Reader:
    """Reads the steps of one preview, or of a state."""

    def __init__(
        self, source: str, steps: list[_Json], get_config: Callable[[str], object]
    ) -> None:
        self._source = source
        self._steps = steps
        self._get_config = get_config
        self._providers = {
            step["urn"]: step for step in steps if f"::{_PROVIDER}::" in str(step.get("urn"))
        }
        self._servers: dict[tuple[str | None, tuple[tuple[str, str], ...] | None], str] = {}

    def plans(self) -> Iterator[ServerPlan]:
        deleted = {step.get("urn") for step in self._steps if step.get("op") in _DELETES}
        for step in self._steps:
            op, urn = step.get("op"), str(step.get("urn"))
            type_ = urn.split("::")[2].rpartition("$")[2] if urn.count("::") >= 3 else ""
            old, new = step.get("oldState") or {}, step.get("newState") or {}
            if type_ not in _TYPES or op not in _OPERATIONS:
                continue
            if old.get("external") or new.get("external"):
                continue  # what is only read is not managed
            resource = f"{urn.rpartition('::')[2]} ({_stack_of(urn)})"
            try:
                before = None if op in _CREATES else self._read(resource, type_, old, "oldState")
                after = None if op in _DELETES else self._read(resource, type_, new, "newState")
            except (AttributeError, TypeError, ArgumentError, SettingsError) as error:
                raise ArgumentError(
                    f"{self._source} cannot be read at the resource {resource}: {error}"
                ) from None
            keeps = bool(old.get("retainOnDelete")) or old.get("deletedWith") in deleted
            plan = ResourcePlan(resource, _stack_of(urn))
            if op == "same" and before:
                # What is secret in the program is known from the state.
                yield ServerPlan(before.server, before.name, replace(plan, declares=before.pairs))
                continue
            if before and (after is None or before.server != after.server):
                gone = frozenset() if keeps else before.pairs
                yield ServerPlan(before.server, before.name, replace(plan, unassigns=gone))
                before = None
            if after:
                plan = _changed(plan, before, after, keeps=keeps and op == "replace")
                yield ServerPlan(after.server, after.name, plan)

    def _read(self, resource: str, type_: str, state: _Json, which: str) -> _Declared:
        # The outputs of a preview may be unknown.
        is_state = which == "oldState"
        properties = (is_state and state.get("outputs")) or state.get("inputs") or {}
        if type_ == DYNAMIC_ASSIGNMENT:
            name, server = self._of_connection(properties.get("connection"))
        else:
            name, server = self._of_provider(str(state.get("provider")).rpartition("::")[0], which)
        declared = _Declared(server, name)
        if type_ == ASSIGNMENT_SET:
            pairs, partly_known = _of_vms(resource, properties.get("assignments"))
            others, _ = _of_vms(resource, properties.get("otherAssignments") or {})
            exclusive = properties.get("exclusive") or False
            return replace(
                declared,
                pairs=pairs,
                partly_known=partly_known,
                exclusive=exclusive if isinstance(exclusive, bool) else None,
                others=others,
            )
        if is_state and state.get("id"):
            return replace(declared, pairs=frozenset({pair_of_id(str(state["id"]))}))
        pairs, partly_known = _assignments(resource, [_pair(properties)])
        return replace(declared, pairs=pairs, partly_known=partly_known)

    def _of_connection(self, connection: object) -> tuple[str | None, str]:
        if _is_hidden(connection):
            raise ArgumentError("its connection is a secret, or known only during `pulumi up`.")
        name = None if connection is None else str(connection)
        if (name, None) not in self._servers:
            without = SETTINGS.keys() - {*ADDRESS_SETTINGS}
            settings = read_settings(self._config, os.environ, name, without=without)
            self._servers[name, None] = settings.server
        return name, self._servers[name, None]

    def _of_provider(self, urn: str, which: str) -> tuple[str | None, str]:
        step = self._providers.get(urn) or {}
        provider = step.get(which) or step.get("newState") or step.get("oldState") or {}
        inputs = provider.get("inputs") or {}
        name = urn.rpartition("::")[2]
        if _DEFAULT_PROVIDER.fullmatch(name) and "__explicit" not in inputs:
            return self._of_connection(None)
        if not provider:
            raise ArgumentError(f"its provider {name!r} is not there.")
        given = {key: inputs[key] for key in ADDRESS_SETTINGS if inputs.get(key) is not None}
        if any(map(_is_hidden, given.values())):
            raise ArgumentError(
                f"the address of its provider {name!r} is a secret, or known only during `pulumi "
                "up`: give the provider an address that a preview shows."
            )
        address = {key: str(value) for key, value in given.items()}
        place = (name, tuple(address.items()))
        if place not in self._servers:
            self._servers[place] = provider_server(self._config, os.environ, address)
        return name, self._servers[place]

    def _config(self, key: str) -> object:
        value = self._get_config(key)
        if key in ADDRESS_SETTINGS and value == _SECRET:
            raise ArgumentError(
                f"vmbackup:{key} of the stack is a secret, so the server is not known: set it "
                "without --secret."
            )
        return value


def _changed(
    plan: ResourcePlan, before: _Declared | None, after: _Declared, *, keeps: bool
) -> ResourcePlan:
    """What a resource assigns and un-assigns that is created, updated or replaced."""
    old = before or _Declared(after.server, after.name)
    newly = after.vms - (old.vms if old.exclusive else frozenset())
    unassigns = frozenset() if keeps else old.pairs - after.pairs
    if after.exclusive:
        unassigns |= {pair for pair in old.others if pair[0] in after.vms}
    return replace(
        plan,
        declares=after.pairs,
        assigns=after.pairs - old.pairs,
        unassigns=unassigns,
        partly_known=after.partly_known,
        exclusive_vms=newly if after.exclusive else frozenset(),
        may_be_exclusive_vms=newly if after.exclusive is None else frozenset(),
    )


# Resources


_Found = tuple[frozenset[Pair], tuple[PartlyKnown, ...]]


def _of_vms(resource: str, vms: object) -> _Found:
    if _is_hidden(vms):
        return _assignments(resource, [(vms, vms)])
    if not isinstance(vms, dict):
        raise ArgumentError("the assignments are not a map of VMs.")
    given: list[tuple[object, object]] = []
    for vm in vms.values():
        if _is_hidden(vm):
            given.append((vm, vm))
            continue
        ref, ids = vm.get("vmRef"), vm.get("backupLocationIds")
        given += [(ref, ids)] if _is_hidden(ids) else [(ref, id_) for id_ in ids.values()]
    return _assignments(resource, given)


def _assignments(resource: str, given: Iterable[tuple[object, object]]) -> _Found:
    pairs: set[Pair] = set()
    partly_known: dict[PartlyKnown, None] = {}
    for vm_ref, location_id in given:
        known = [
            None if _is_hidden(each) else normalize_guid(each) for each in (vm_ref, location_id)
        ]
        ref, id_ = known
        if ref and id_:
            pairs.add((ref, id_))
        else:
            is_secret = _is_secret(vm_ref) or _is_secret(location_id)
            partly_known[PartlyKnown(resource, ref, id_, is_secret)] = None
    return frozenset(pairs), tuple(partly_known)


def _pair(properties: _Json) -> tuple[object, object]:
    """The ids, as the dynamic resource or the plugin spells them."""
    if "vmRef" in properties:
        return properties["vmRef"], properties.get("backupLocationId")
    return properties.get("vm_ref"), properties.get("backup_location_id")


def _is_hidden(value: object) -> bool:
    return value == UNKNOWN or _is_secret(value)


def _is_secret(value: object) -> bool:
    return value == _SECRET or (isinstance(value, dict) and _SECRET_KEY in value)
