"""The rules as a policy of Pulumi, with resources as Pulumi gives them to a policy pack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pulumi_policy import (
    EnforcementLevel,
    PolicyCustomTimeouts,
    PolicyProviderResource,
    PolicyResource,
    PolicyResourceOptions,
    StackValidationArgs,
)
from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UnknownValueError, unknown_checking_proxy
from sample import DC01, DISK_E, NAS01, OFFSITE01, ROTATING, SQL01, SQL02
from test_coverage import LOCATIONS, holding

from pulumi_vmbackup.models import Pair
from pulumi_vmbackup.plugin.schema import ASSIGNMENT, ASSIGNMENT_SET
from pulumi_vmbackup.policy import backup_rules
from pulumi_vmbackup.previews import DYNAMIC_ASSIGNMENT, UNKNOWN

DEFAULT = "default_0_1_0"
OPTIONS = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])
ALL = ((DC01, OFFSITE01), (SQL01, OFFSITE01), (SQL02, ROTATING))


def resource(type_: str, props: dict[str, Any], provider: str = DEFAULT) -> PolicyResource:
    def urn(of: str, name: str) -> str:
        return f"urn:pulumi:prod::backup::{of}::{name}"

    of_provider = "pulumi:providers:vmbackup"
    inputs = {} if provider == DEFAULT else {"baseUrl": f"https://{provider}/api/rest"}
    given = PolicyProviderResource(of_provider, inputs, urn(of_provider, provider), provider)
    proxy = unknown_checking_proxy(props)
    return PolicyResource(type_, proxy, urn(type_, "one"), "one", OPTIONS, given, None, [], {})


def single(vm_ref: str, location_id: str, provider: str = DEFAULT) -> PolicyResource:
    props = {"vmRef": vm_ref, "backupLocationId": location_id}
    return resource(ASSIGNMENT, props, provider)


def dynamic(vm_ref: str, location_id: str, **more: str) -> PolicyResource:
    props = {"vm_ref": vm_ref, "backup_location_id": location_id, **more}
    return resource(DYNAMIC_ASSIGNMENT, props)


def of_set(vm_ref: str, *location_ids: str, exclusive: Any = False) -> PolicyResource:
    ids = {str(number): location_id for number, location_id in enumerate(location_ids)}
    assignments = {"vm": {"vmRef": vm_ref, "backupLocationIds": ids}}
    return resource(ASSIGNMENT_SET, {"assignments": assignments, "exclusive": exclusive})


class Pack:
    """A policy pack, what it reports and what it calls not known yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.not_known = ""
        self.rules("require: offsite")
        self.holding()

    def rules(self, text: str) -> None:
        (self.folder / "vmbackup-rules.yaml").write_text(text, "utf-8")

    def holding(self, *pairs: Pair, file: str = "inventory.json", **more: Any) -> None:
        (self.folder / file).write_text(holding(*pairs, **more).dump(), "utf-8")

    def judge(self, *resources: PolicyResource, **options: Any) -> list[str]:
        reported: list[str] = []
        policy = backup_rules(self.folder, **options)
        self.not_known = ""

        def report(text: str, _urn: str | None = None) -> None:
            reported.append(text)

        try:
            policy.validate(StackValidationArgs([*resources]), report)
        except UnknownValueError as error:
            self.not_known = error.message
        return reported


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    monkeypatch.delenv("VMBACKUP_BASE_URL", raising=False)
    return Pack(tmp_path)


def test_vms_without_such_a_location_are_named_in_one_sentence(pack: Pack) -> None:
    assert pack.judge() == ["require offsite is broken by 3 VMs: DC01, SQL01, SQL02."]
    resources = [single(DC01, OFFSITE01), dynamic(SQL01, OFFSITE01), of_set(SQL02, NAS01)]
    assert pack.judge(*resources) == ["require offsite is broken by 1 VM: SQL02."]
    assert pack.judge(*resources[:2], of_set(SQL02, NAS01, ROTATING)) == []
    assert pack.not_known == ""


def test_resources_of_other_packages_are_left_out(pack: Pack) -> None:
    other = resource("aws:s3/bucket:Bucket", {"bucket": UNKNOWN})
    assert pack.judge(other, *(single(*pair) for pair in ALL)) == []


def test_what_the_stack_does_not_declare_counts_only_if_that_is_wanted(pack: Pack) -> None:
    pack.holding(*ALL)
    (sentence,) = pack.judge(single(DC01, OFFSITE01))
    assert sentence == (
        "require offsite is broken by 2 VMs: SQL01, SQL02. On the server, SQL01, SQL02 have one "
        "that this stack does not declare, so it does not count."
    )
    assert pack.judge(single(DC01, OFFSITE01), counts_undeclared=True) == []
    # But not what an exclusive set un-assigns.
    (sentence,) = pack.judge(of_set(SQL02, NAS01, exclusive=True), counts_undeclared=True)
    assert sentence.startswith("require offsite is broken by 1 VM: SQL02. ")


@pytest.mark.parametrize(
    ("unknown", "broken", "not_known"),
    [
        (single(SQL02, UNKNOWN), [], "require offsite may be broken by 1 VM: SQL02: only `pulumi "),
        (
            of_set(SQL02, UNKNOWN_OBJECT_VALUE),
            [],
            "require offsite may be broken by 1 VM: SQL02: only `pulumi ",
        ),
        (
            dynamic(UNKNOWN, OFFSITE01),
            ["SQL02"],
            r"one (backup/prod) assigns a VM that only `pulumi up` knows to ",
        ),
        (
            resource(ASSIGNMENT_SET, {"assignments": UNKNOWN_OBJECT_VALUE}),
            ["SQL02"],
            r"one (backup/prod) assigns VMs and locations that only `pulumi up` knows.",
        ),
    ],
    ids=["location", "location of a set", "VM", "a whole set"],
)
def test_what_only_the_update_knows_is_not_guessed(
    unknown: PolicyResource, broken: list[str], not_known: str, pack: Pack
) -> None:
    reported = pack.judge(single(DC01, OFFSITE01), single(SQL01, OFFSITE01), unknown)
    assert reported == [f"require offsite is broken by 1 VM: {vm}." for vm in broken]
    assert pack.not_known.startswith(not_known)


def test_a_location_without_a_kind_is_no_wait_for_the_update(pack: Pack) -> None:
    pack.holding(locations=LOCATIONS[:2])
    assert pack.judge(*(single(*pair) for pair in ALL[1:]), single(DC01, NAS01)) == [
        "require offsite is broken by 3 VMs: DC01, SQL01, SQL02."
    ]
    pack.holding((SQL01, OFFSITE01), locations=LOCATIONS[:2])
    pack.rules("require:\n- {location: offsite, vms: SQL01}")
    assert pack.judge(single(SQL01, OFFSITE01)) == [
        "require offsite for VMs SQL01 may be broken by 1 VM: SQL01: the server does not list a "
        "location's kind."
    ]
    assert pack.not_known == ""


def test_exceptions_hold_and_other_rules_are_left_to_the_review(pack: Pack) -> None:
    pack.rules(
        "require: [offsite, primary]\nat-most-removed: 0\nforbid: unmanaged\n"
        "exceptions:\n- {vms: 'SQL*', reason: new, rules: primary}\n"
        "- {vms: DC01, reason: old, until: 2020-01-31}\n"
    )
    pack.holding((DC01, DISK_E))
    assert pack.judge(*(single(*pair) for pair in ALL)) == [
        "require primary is broken by 1 VM: DC01. The exception in line 6 held until 2020-01-31. "
        "2 VMs excepted. On the server, DC01 has one that this stack does not declare, so it does "
        "not count."
    ]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda pack: pack.rules("require: ofsite"), "vmbackup-rules.yaml, line 1: 'ofsite' is"),
        (lambda pack: pack.rules("forbid: unmanaged"), "has no `require`, and a policy pack can"),
        (
            lambda pack: pack.rules("require: any\nexceptions:\n- {vms: X, reason: y}"),
            "line 3: no VM matches this exception",
        ),
        (
            lambda pack: (pack.folder / "vmbackup-rules.yaml").unlink(),
            "cannot be read (No such file or directory): correct rules of backup_rules(), or",
        ),
        (
            lambda pack: (pack.folder / "inventory.json").unlink(),
            "correct inventory of backup_rules(), or write it again with `vmbackup snapshot`.",
        ),
    ],
    ids=["rules", "no require", "exception", "no rules", "no inventory"],
)
def test_a_wrong_file_is_one_sentence(
    damage: Callable[[Pack], None], said: str, pack: Pack
) -> None:
    damage(pack)
    sentence, *_ = pack.judge(single(SQL01, OFFSITE01))
    assert said in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_resource_that_cannot_be_read_is_named(pack: Pack) -> None:
    (sentence,) = pack.judge(single("SQL01", OFFSITE01))
    assert "The stack cannot be read at the resource one (backup/prod)" in sentence


def test_each_server_has_its_own_snapshot(pack: Pack) -> None:
    resources = [*(single(*pair) for pair in ALL), single(SQL01, NAS01, "site-b")]
    (sentence,) = pack.judge(*resources)
    assert sentence == (
        "inventory of backup_rules() has no snapshot of site-b:443: give one by the name of its "
        "connection or provider (there are: site-b)."
    )
    pack.holding(file="b.json")
    inventory = {None: "inventory.json", "site-b": "b.json"}
    assert pack.judge(*resources, inventory=inventory) == [
        "require offsite is broken by 3 VMs: DC01, SQL01, SQL02."
    ]
    of_b = [single(*pair, "site-b") for pair in ALL]
    assert pack.judge(*resources, *of_b, inventory=inventory) == []
    (sentence,) = pack.judge(*of_b, inventory={"site-b": "b.json", "site-c": "b.json"})
    assert "3 VMs: DC01, SQL01, SQL02" in sentence
    # One server needs no name.
    assert pack.judge(*of_b) == []


def test_the_snapshot_of_another_server_is_refused(pack: Pack) -> None:
    (sentence,) = pack.judge(
        single("11111111-2222-4333-8444-555555555555", "11111111-2222-4333-8444-666666666666")
    )
    assert "check that it is of the right server" in sentence


def test_the_enforcement_level_is_that_of_the_argument(tmp_path: Path) -> None:
    assert backup_rules(tmp_path).enforcement_level is None
    policy = backup_rules(tmp_path, enforcement_level=EnforcementLevel.MANDATORY)
    assert policy.enforcement_level is EnforcementLevel.MANDATORY
    assert policy.name == "vmbackup-rules"
