"""Rules about backup locations, and the file that holds them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from sample import DC01, NAS01, NOWHERE, OFFSITE01, ROTATING, SQL01, SQL02
from test_coverage import assigning, covered, unassigning

from pulumi_vmbackup.coverage import Coverage, PartlyKnown, ResourcePlan
from pulumi_vmbackup.errors import ArgumentError
from pulumi_vmbackup.rules import (
    Judgement,
    Limit,
    Match,
    Requirement,
    Rules,
    Verdict,
    parse_limit,
    read_rules,
)
from pulumi_vmbackup.sentences import judged

TODAY = date(2026, 11, 28)
# SQL01 has both kinds, SQL02 only a primary location, DC01 none.
HELD = ((SQL01, NAS01), (SQL01, OFFSITE01), (SQL02, NAS01))


def rules_of(tmp_path: Path, text: str) -> Rules:
    file = tmp_path / "vmbackup-rules.yaml"
    file.write_text(text, "utf-8")
    return read_rules(file)


def judge(rules: Rules, coverage: Coverage) -> Judgement:
    (judgement,) = rules.judge([coverage], TODAY)
    return judgement


def broken(judgement: Judgement) -> list[str]:
    return [each.label for _, each in judgement.broken]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("any", ["DC01"]), ("primary", ["DC01"]), ("offsite", ["DC01", "SQL02"])],
)
def test_each_vm_must_have_a_location_of_a_kind(wanted: str, expected: list[str]) -> None:
    judgement = judge(Rules((Requirement(wanted),)), covered(*HELD))  # type: ignore[arg-type]
    assert broken(judgement) == expected
    assert judgement.verdict is Verdict.BROKEN


def test_a_requirement_is_kept_or_not_known_yet() -> None:
    rules = Rules((Requirement("any"),))
    assert judge(rules, covered(*HELD, (DC01, NAS01))).verdict is Verdict.KEPT
    unknown = ResourcePlan("x", "s", partly_known=(PartlyKnown("x", DC01, None),))
    judgement = judge(rules, covered(*HELD, plans=[unknown]))
    assert judgement.verdict is Verdict.UNKNOWN
    assert [each.label for _, each in judgement.unknown] == ["DC01"]


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ("1", Verdict.KEPT),
        ("0", Verdict.BROKEN),
        ("34%", Verdict.KEPT),
        ("33%", Verdict.BROKEN),
        ("0%", Verdict.BROKEN),
    ],
)
def test_an_update_may_remove_so_many_assignments(limit: str, verdict: Verdict) -> None:
    coverage = covered(*HELD, plans=[unassigning((SQL01, OFFSITE01), (DC01, ROTATING))])
    judgement = judge(Rules(limits=(parse_limit(limit),)), coverage)
    assert judgement.verdict is verdict
    assert judgement.reason == "the update removes 1 of 3 assignments"


def test_what_may_be_removed_makes_a_limit_unknown() -> None:
    unknown = ResourcePlan("one", "backup/prod", partly_known=(PartlyKnown("one", SQL01, None),))
    coverage = covered(*HELD, plans=[unassigning((SQL01, OFFSITE01)), unknown])
    judgement = judge(Rules(limits=(Limit(0, is_percentage=False),)), coverage)
    assert judgement.verdict is Verdict.UNKNOWN
    assert judgement.reason == "the update removes 0 and up to 1 of 3 assignments"


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%", "5 %%"])
def test_a_limit_is_a_number_or_a_percentage(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number such as 5 nor a percentage"):
        parse_limit(text)


def test_each_assignment_must_be_declared() -> None:
    rules = Rules(forbids_unmanaged=True)
    plans = [assigning((SQL01, NAS01), (SQL01, OFFSITE01))]
    assert broken(judge(rules, covered(*HELD, plans=plans))) == ["SQL02"]
    assert judge(rules, covered(*HELD, plans=[assigning(*HELD)])).verdict is Verdict.KEPT
    unknown = ResourcePlan("x", "s", partly_known=(PartlyKnown("x", None, NAS01),))
    judgement = judge(rules, covered(*HELD, plans=[*plans, unknown]))
    assert judgement.verdict is Verdict.UNKNOWN


# The file


def test_a_file_with_everything(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """\
require:
  - any
  - location: offsite
    vms: ["SQL*", dc*]
    hosts: HV-01
at-most-removed: 10%
forbid: unmanaged
exceptions:
  - vms: sql02
    reason: is replaced in March
    until: 2026-11-28
    rules: [offsite]
  - hosts: hv-*
    reason: the site is rebuilt
    rules: unmanaged
""",
    )
    judgements = rules.judge([covered(*HELD)], TODAY)
    assert [each.rule for each in judgements] == [
        "require any",
        "require offsite for VMs SQL*, dc* on hosts HV-01",
        "forbid unmanaged",
        "at most 10% removed",
    ]
    assert [broken(each) for each in judgements] == [["DC01"], ["DC01"], [], []]
    assert [each.label for _, each, _ in judgements[1].excepted] == ["SQL02"]
    (*_, later, _) = rules.judge([covered(*HELD)], TODAY)
    assert later.verdict is Verdict.KEPT


def test_an_exception_holds_until_its_day(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        "require: offsite\nexceptions:\n- {vms: '*', reason: new, until: 2026-11-27}\n",
    )
    judgement = judge(rules, covered(*HELD))
    assert broken(judgement) == ["DC01", "SQL02"]
    assert [exemption.line for _, _, exemption in judgement.ended] == [3, 3]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("require: ofsite", 1, "'ofsite' is not one of primary, offsite, any"),
        ("require:\n- any\n- location: x", 3, "'x' is not one of primary, offsite, any"),
        ("require:\n- vms: x", 2, "location is missing: give offsite, primary or any"),
        ("require: []", 1, "the list is empty"),
        ("require:", 1, "text is expected here"),
        ("requires: any", 1, "'requires' is not known here: use 'require'"),
        ("require: any\nrequire: offsite", 2, "'require' is there twice"),
        ("- require", 1, "names and values are expected here"),
        ("at-most-removed: lots", 1, "'lots' is neither a number"),
        ("require: any\nforbid: all", 2, "'all' is not unmanaged"),
        ("require: any\nexceptions:\n- reason: x", 3, "an exception needs vms, hosts or both"),
        ("require: any\nexceptions:\n- vms: x", 3, "an exception needs a reason"),
        ("require: any\nexceptions:\n- {vms: x, reason: ' '}", 3, "an exception needs a reason"),
        (
            "require: any\nexceptions:\n- vms: x\n  reason: y\n  until: soon",
            5,
            "'soon' is not a date such as 2027-03-31",
        ),
        ("require: any\nexceptions:\n- {vms: x, reason: y, until: 20270331}", 3, "'20270331' is"),
        ("at-most-removed: " + "9" * 5_000, 1, "'999"),
        ("require: any\nexceptions:\n- vms: x\n  reason: y\n  rules: al", 5, "'al' is not one of"),
        ("require: [any", 1, "this is not YAML"),
        ("a: b: c", 1, "this is not YAML"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_the_line(
    text: str, line: int, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError) as caught:
        rules_of(tmp_path, text)
    said = str(caught.value)
    assert f"vmbackup-rules.yaml, line {line}: {problem}" in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_a_file_without_rules_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="holds no rules"):
        rules_of(tmp_path, text)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_rules(tmp_path / "missing.yaml")
    (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ArgumentError, match="is not text in UTF-8"):
        read_rules(tmp_path / "rules.yaml")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("require: any\nexceptions:\n- {vms: SLQ*, reason: x}", "line 3: .* exception .VMs SLQ"),
        ("require: any\nexceptions:\n- {vms: [SQL*, SLQ*], reason: x}", "line 3: .* .VMs SLQ"),
        ("require:\n- {location: any, hosts: HV-9*}", "line 2: .* requirement .hosts HV-9"),
    ],
)
def test_a_pattern_that_matches_no_vm_is_told(text: str, what: str, tmp_path: Path) -> None:
    (unmatched,) = rules_of(tmp_path, text).unmatched([covered(*HELD)])
    assert re.search(what, judged(unmatched))
    assert unmatched.verdict is Verdict.UNKNOWN


def test_brackets_without_end_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="this is not YAML"):
        rules_of(tmp_path, "[" * 5_000)


def test_whether_a_declared_vm_that_is_not_listed_keeps_a_rule_is_not_known() -> None:
    plan = ResourcePlan("one", "s", declares=frozenset({(NOWHERE, NAS01)}), names={NOWHERE: "FAR"})
    rules = Rules((Requirement("primary", Match(vms=("SQL*", "F*"))),))
    judgement = judge(rules, covered(*HELD, plans=[plan]))
    assert judgement.verdict is Verdict.UNKNOWN
    assert judgement.unlisted == ["FAR"]
    others = Rules((Requirement("primary", Match(vms=("SQL*",))),))
    assert judge(others, covered(*HELD, plans=[plan])).verdict is Verdict.KEPT
