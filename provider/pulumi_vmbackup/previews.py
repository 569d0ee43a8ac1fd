"""What the resources of a stack assign, read from what Pulumi tells of them.

That is a preview or a state as JSON, or what a policy pack is given. Works without Pulumi. Seen
with CLI 3.259: a preview leaves out resources that do not change, unless it is made with
``--show-sames``, and replaced ones that an earlier run could not delete, unless it is made with
``--show-replacement-steps``. It never shows Pulumi's default providers. A resource that
``--target`` or ``--exclude`` leaves out is shown as unchanged, and only then has outputs in its new
state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from .coverage import PartlyKnown, ResourcePlan
from .errors import ArgumentError
from .inventory import Snapshot, read_snapshot
from .models import Pair, normalize_guid
from .plugin.schema import ASSIGNMENT, ASSIGNMENT_SET, PACKAGE, is_explicit_provider
from .settings import ADDRESS_SETTINGS, SETTINGS, provider_server, read_settings
from .states import pair_of_id

DYNAMIC_ASSIGNMENT = "pulumi-python:dynamic/vmbackup:VmBackupLocationAssignment"
HOW_TO_PREVIEW = "`pulumi preview --json --show-sames --show-replacement-steps`"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # what the engine writes for an unknown value
_SECRET = "[secret]"  # noqa: S105  # what the CLI writes for a secret one
_SECRET_KEY = "4dabf18193072939515e22adb298388d"  # noqa: S105  # that of a secret in a state
_PROVIDER = f"pulumi:providers:{PACKAGE}"
_TYPES = (DYNAMIC_ASSIGNMENT, ASSIGNMENT, ASSIGNMENT_SET)
# Most of the text of a state, and not needed.
_LEFT_OUT = frozenset({"stackTrace", "sourcePosition", "propertyDependencies"})

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
        pending: of a state, the replaced resources that the next update un-assigns.
    """

    stack: str
    plans: tuple[ServerPlan, ...]
    is_preview: bool
    pending: tuple[ServerPlan, ...] = ()


def read_preview(text: str, source: str) -> StackPlan:
    """Read the output of ``pulumi preview --json --show-sames --show-replacement-steps``.

    Args:
        text: the output.
        source: what an error calls it, such as ``preview.json of --preview``.

    Raises:
        ArgumentError: it is no such output, the preview failed, or it leaves resources out.
    """
    no_preview = ArgumentError(
        f"{source} is not the output of a preview: give it that of {HOW_TO_PREVIEW}."
    )
    preview = _parsed(text, source, f"give it the output of {HOW_TO_PREVIEW}, without stderr")
    steps = preview.get("steps")
    try:
        errors = [
            str(each["message"]).strip().removeprefix("error: ")
            for each in preview.get("diagnostics") or ()
            if each.get("severity") == "error"
        ]
        left_out = int((preview.get("changeSummary") or {}).get("same", 0))
        config = dict(preview.get("config") or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise no_preview from None
    if errors:
        raise ArgumentError(
            f"{source} is of a preview that failed, so it does not tell what an update would do: "
            f"{errors[0]}"
        )
    if not _are_steps(steps):
        raise no_preview
    if left_out > sum(step["op"] == "same" for step in steps):
        raise ArgumentError(
            f"{source} leaves out resources that do not change, so it does not tell what the "
            f"program declares: make the preview with {HOW_TO_PREVIEW}."
        )
    if any(map(_is_not_targeted, steps)):
        raise ArgumentError(
            f"{source} is of a preview with --target or --exclude, which does not tell what the "
            f"program declares: make it with {HOW_TO_PREVIEW} alone."
        )
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
    no_state = ArgumentError(f"{source} is not what `pulumi stack export` of CLI 3 prints.")
    try:
        resources = list((exported["deployment"] or {}).get("resources") or ())
        steps = [
            {"op": "delete-replaced", "urn": each["urn"], "oldState": each}
            if each.get("delete")
            else {"op": "same", "urn": each["urn"], "oldState": each, "newState": each}
            for each in resources
        ]
    except (AttributeError, KeyError, TypeError):
        raise no_state from None
    kept = [step for step in steps if step["op"] == "same"]
    pending = [step for step in steps if step["op"] != "same" or _is_provider(step["urn"])]
    return StackPlan(
        stack=_stack(steps, stack),
        plans=tuple(_Reader(source, kept, get_config).plans()),
        is_preview=False,
        pending=tuple(_Reader(source, pending, get_config).plans()),
    )


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
        found = dict(pairs)
        if "urn" in found:  # a label of a set may be called the same
            for key in _LEFT_OUT:
                found.pop(key, None)
        return found

    try:
        parsed = json.loads(text, object_pairs_hook=kept)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ArgumentError(f"{source} is not a JSON object: {remedy}.")
    return parsed


def _are_steps(items: object) -> TypeGuard[list[_Json]]:
    return isinstance(items, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("op"), str)
        and isinstance(each.get("urn"), str)
        and isinstance(each.get("oldState") or {}, dict)
        and isinstance(each.get("newState") or {}, dict)
        for each in items
    )


def _is_not_targeted(step: _Json) -> bool:
    """Whether ``--target`` or ``--exclude`` leaves out a resource, which is then not checked."""
    if step["op"] != "same" or _type(step["urn"]) not in _TYPES:
        return False
    new = step.get("newState") or {}
    return not new.get("external") and (bool(new.get("outputs")) or not step.get("oldState"))


def _type(urn: str) -> str:
    """The type of a resource, without those of its parents."""
    return urn.split("::")[2].rpartition("$")[2] if urn.count("::") >= 3 else ""


def _is_provider(urn: str) -> bool:
    return _type(urn) == _PROVIDER


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
# They change nothing on a server. What a refresh finds is in the steps that follow it.
_HARMLESS = frozenset(
    {"read", "read-replacement", "refresh", "discard", "discard-replaced", "remove-pending-replace"}
)


@dataclass(frozen=True)
class _Declared:
    """What a resource declares, in a state or in a program.

    Attributes:
        server: as that of ServerPlan.
        name: as that of ServerPlan.
        pairs: what is wholly known.
        partly_known: the rest.
        exclusive: of a set; None if only the update knows.
        vms: the refs of all its VMs that are known, also of those without a location.
        names: what the state or the program calls the VMs and locations, by their ids.
        exclusive: of a set; None if only the update knows.
        others: the other assignments of an exclusive set that a refresh has found.
    """

    server: str
    name: str | None
    pairs: frozenset[Pair] = frozenset()
    partly_known: tuple[PartlyKnown, ...] = ()
    vms: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    exclusive: bool | None = False
    others: frozenset[Pair] = frozenset()


class _Reader:
    """Reads the steps of one preview, or of a state."""

    def __init__(
        self, source: str, steps: list[_Json], get_config: Callable[[str], object]
    ) -> None:
        self._source = source
        self._steps = steps
        self._get_config = get_config
        self._providers = {step["urn"]: step for step in steps if _is_provider(step["urn"])}
        self._servers: dict[tuple[str | None, tuple[tuple[str, str], ...] | None], str] = {}

    def plans(self) -> Iterator[ServerPlan]:
        deleted = {step["urn"] for step in self._steps if step["op"] in {*_DELETES, "replace"}}
        for step in self._steps:
            op, urn = step["op"], step["urn"]
            type_ = _type(urn)
            old, new = step.get("oldState") or {}, step.get("newState") or {}
            if type_ not in _TYPES or op in _HARMLESS:
                continue
            if old.get("external") or new.get("external"):
                continue  # what is only read is not managed
            resource = f"{urn.rpartition('::')[2]} ({_stack_of(urn)})"
            try:
                if op not in _OPERATIONS:
                    raise ArgumentError(f"its step is {op!r}, which this version does not know.")
                before = None if op in _CREATES else self._read(resource, type_, old, "oldState")
                after = None if op in _DELETES else self._read(resource, type_, new, "newState")
            except (AttributeError, TypeError, ValueError, ArgumentError) as error:
                raise ArgumentError(
                    f"{self._source} cannot be read at the resource {resource}: {error}"
                ) from None
            keeps = bool(old.get("retainOnDelete")) or old.get("deletedWith") in deleted
            names = {**(before.names if before else {}), **(after.names if after else {})}
            plan = ResourcePlan(resource, _stack_of(urn), names=names)
            if op == "same" and before:
                # What is secret in a single resource is known from its id.
                plan = replace(plan, declares=before.pairs, not_shown=before.partly_known)
                yield ServerPlan(before.server, before.name, plan)
                continue
            if before and (after is None or before.server != after.server):
                gone = frozenset() if keeps else before.pairs
                yield ServerPlan(before.server, before.name, replace(plan, unassigns=gone))
                before = None
            if after:
                plan = _changed(plan, before, after, op=op, keeps=keeps)
                yield ServerPlan(after.server, after.name, plan)

    def _read(self, resource: str, type_: str, state: _Json, which: str) -> _Declared:
        # The outputs of a preview may be unknown.
        is_state = which == "oldState"
        properties = (is_state and state.get("outputs")) or state.get("inputs") or {}
        connection = properties.get("connection")
        if type_ == DYNAMIC_ASSIGNMENT or connection is not None:
            name, server = self._of_connection(connection)
        else:
            name, server = self._of_provider(str(state.get("provider")).rpartition("::")[0], which)
        if type_ == ASSIGNMENT_SET:
            found = _of_vms(resource, properties.get("assignments"))
            exclusive = properties.get("exclusive") or False
            return _Declared(
                server,
                name,
                *found,
                exclusive=exclusive if isinstance(exclusive, bool) else None,
                others=_of_vms(resource, properties.get("otherAssignments") or {}).pairs,
            )
        has_id = is_state and state.get("id")
        pair = pair_of_id(str(state["id"])) if has_id else _pair(properties)
        return _Declared(server, name, *_assignments(resource, [pair], _names(pair, properties)))

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
        # If a provider changes in place, its resources are deleted with the new one as well.
        is_old = which == "oldState" and step.get("op") in {*_DELETES, "replace"}
        provider = (is_old and step.get("oldState")) or step.get("newState") or {}
        inputs = (provider or step.get("oldState") or {}).get("inputs") or {}
        name = urn.rpartition("::")[2]
        is_default = not is_explicit_provider(name, inputs) if step else name.startswith("default")
        if is_default:
            return self._of_connection(None)
        if not step:
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
        if key in ADDRESS_SETTINGS or key == "connections":
            is_object = isinstance(value, str) and value.startswith("{")
            given = json.loads(str(value)) if is_object else value
            each = given.values() if isinstance(given, dict) else ()
            addresses = [one.get(name) for one in each for name in ADDRESS_SETTINGS]
            if _SECRET in (value, *addresses):
                raise ArgumentError(
                    f"vmbackup:{key} of the stack is a secret, or an address in it is one, so the "
                    "server is not known: set it without --secret, and only the password with it."
                )
        return value


def _changed(
    plan: ResourcePlan, before: _Declared | None, after: _Declared, *, op: str, keeps: bool
) -> ResourcePlan:
    """What a resource assigns and un-assigns that is created, updated or replaced."""
    nothing = _Declared(after.server, after.name)
    was, is_replaced = before or nothing, op == "replace"
    old = nothing if is_replaced else was  # a replacement is created anew
    newly = after.vms - (old.vms if old.exclusive else frozenset())
    unassigns = was.pairs if is_replaced else was.pairs - after.pairs
    if keeps and is_replaced:
        unassigns = frozenset()
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
        may_exclude_any_vm=after.exclusive is not False
        and any(each.vm_ref is None for each in after.partly_known),
    )


# Resources


class _Found(NamedTuple):
    """The beginning of :class:`_Declared`."""

    pairs: frozenset[Pair]
    partly_known: tuple[PartlyKnown, ...]
    vms: frozenset[str]
    names: dict[str, str]


def _of_vms(resource: str, vms: object) -> _Found:
    if _is_hidden(vms):
        return _assignments(resource, [(vms, vms)], {})
    if not isinstance(vms, dict):
        raise ArgumentError("the assignments are not a map of VMs.")
    given: list[tuple[object, object]] = []
    refs: set[str] = set()
    names: dict[str, str] = {}
    for label, vm in vms.items():
        if _is_hidden(vm):
            given.append((vm, vm))
            continue
        ref, ids = vm.get("vmRef"), vm.get("backupLocationIds")
        if not _is_hidden(ref):
            refs.add(normalize_guid(ref))
            names[normalize_guid(ref)] = label
        elif ids == {}:  # an exclusive set un-assigns all of it
            given.append((ref, ref))
        locations = {"": ids} if _is_hidden(ids) else ids
        given += [(ref, id_) for id_ in locations.values()]
        names |= {
            normalize_guid(id_): path for path, id_ in locations.items() if not _is_hidden(id_)
        }
    found = _assignments(resource, given, names)
    return found._replace(vms=found.vms | refs)


def _assignments(
    resource: str, given: Iterable[tuple[object, object]], names: dict[str, str]
) -> _Found:
    pairs: set[Pair] = set()
    refs: set[str] = set()
    partly_known: dict[PartlyKnown, None] = {}
    for vm_ref, location_id in given:
        ref, id_ = (
            None if _is_hidden(each) else normalize_guid(each) for each in (vm_ref, location_id)
        )
        if ref:
            refs.add(ref)
        if ref and id_:
            pairs.add((ref, id_))
        else:
            is_secret = _is_secret(vm_ref) or _is_secret(location_id)
            partly_known[PartlyKnown(resource, ref, id_, is_secret)] = None
    return _Found(frozenset(pairs), tuple(partly_known), frozenset(refs), names)


def _names(pair: tuple[object, object], properties: _Json) -> dict[str, str]:
    """What a single resource calls its VM and its location."""
    given = (
        (pair[0], properties.get("vm_name", properties.get("vmName"))),
        (pair[1], properties.get("location_path", properties.get("locationPath"))),
    )
    return {
        normalize_guid(id_): name
        for id_, name in given
        if isinstance(name, str) and not _is_hidden(name) and not _is_hidden(id_)
    }


def _pair(properties: _Json) -> tuple[object, object]:
    """The ids, as the dynamic resource or the plugin spells them."""
    if "vmRef" in properties:
        return properties["vmRef"], properties.get("backupLocationId")
    return properties.get("vm_ref"), properties.get("backup_location_id")


def _is_hidden(value: object) -> bool:
    return value == UNKNOWN or _is_secret(value)


def _is_secret(value: object) -> bool:
    return value == _SECRET or (isinstance(value, dict) and _SECRET_KEY in value)
