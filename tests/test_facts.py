"""facts.py: the list of facts, its page in docs/, and the file of facts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pulumi_vmbackup.errors import ArgumentError
from pulumi_vmbackup.facts import (
    FACTS,
    GUID_SPELLINGS,
    Answer,
    Facts,
    checked,
    guid_spelling,
    rounded,
    spelled,
    time_spelling,
)
from pulumi_vmbackup.models import normalize_guid
from pulumi_vmbackup.simulator.behavior import PRESETS, facts_of

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "server-facts.md"
STEPS = {
    "reads": "`vmbackup probe`",
    "writes": "`--vm`, `--location`",
    "second location": "`--second-location`",
    "none": "none",
}
GUID = "ba2e9cdc-0d85-48e6-8db7-a45c5a40819e"


def test_the_page_has_the_list() -> None:
    page, _, _ = PAGE.read_text("utf-8").partition("## The file of facts")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert dict(rows) == {
        key: " | ".join(
            (fact.what, fact.grade, fact.assumed, fact.source, fact.if_wrong, STEPS[fact.step])
        )
        for key, fact in FACTS.items()
    }
    assert [key for key, _ in rows] == sorted(
        FACTS, key=lambda key: [fact.part for fact in FACTS.values()].index(FACTS[key].part)
    )


def test_the_example_of_the_page_is_a_file_of_facts() -> None:
    example = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    facts = Facts.parse(example[0], "the page")
    assert facts.dump() == example[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_no_surer_than_the_list(preset: str) -> None:
    grades = ("found", "documented", "seen", "unknown")
    facts = facts_of(preset)
    assert facts.api_version == preset.removeprefix("v")
    for key, grade in facts.grades.items():
        assert grades.index(grade) >= grades.index(FACTS[key].grade), key


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    facts = Facts(
        "9.0",
        {
            "scheme": "https",
            "loginSeconds": 0.5,
            "parallelListings": 2,
            "secondSession": Answer("refused", 200, "A", None, "B"),
            "vmFields": {"HostName": ("null", "text")},
        },
        {"scheme": "seen", "loginSeconds": "found"},
        {"vmListing": "no VM is configured"},
    )
    file = tmp_path / "facts.json"
    file.write_text(facts.dump(), "utf-16")
    read = Facts.load(file)
    assert (read.api_version, read.values, read.not_found) == (
        facts.api_version,
        facts.values,
        facts.not_found,
    )
    assert (read.grades["scheme"], read.grades["secondSession"]) == ("seen", "found")


def with_fact(key: str, value: object, **more: object) -> dict[str, Any]:
    return {"format": 1, "apiVersion": "9.1", "facts": {key: {"value": value, **more}}}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], 'they have no "format": 1'),
        ({"format": 2}, "use a file that `vmbackup probe` writes"),
        ({"format": 1, "apiVersion": "7", "facts": {}}, "apiVersion is '7': use 8, 9.0, 9.1"),
        ({"format": 1, "apiVersion": "9.1"}, "they have no object of facts"),
        ({"format": 1, "apiVersion": "9.1", "facts": {"scheme": "http"}}, "'scheme' is no object"),
        (with_fact("scheme", "ftp"), "the value of 'scheme' is 'ftp': use 'http' or 'https'"),
        (with_fact("scheme", "http", grade="sure"), "the grade of 'scheme' is 'sure': use"),
        (with_fact("colour", "red"), "there is no fact 'colour'"),
        (with_fact("idleSession", "300"), "there is no fact 'idleSession'"),
        (with_fact("loginSeconds", -1), "use a number of seconds from 0 to 86400"),
        (with_fact("loginSeconds", True), "use a number of seconds from 0 to 86400"),
        (with_fact("parallelListings", 0), "use a whole number from 1 to 32"),
        (with_fact("protocolVersion", 1), "use a text"),
        (with_fact("secondAssign", "accepted"), "use an object such as"),
        (with_fact("secondAssign", {"form": "maybe"}), "its form is 'maybe': use 'accepted'"),
        (with_fact("secondAssign", {}), "its form is null: use"),
        (with_fact("secondAssign", {"form": "none"}), "its status is not an HTTP status"),
        (
            with_fact("secondAssign", {"form": "page", "status": "404"}),
            "its status is not a number",
        ),
        (with_fact("secondAssign", {"form": "page", "code": 1}), "its words are not text"),
        (with_fact("secondAssign", {"form": "page", "body": ""}), "an answer has no body"),
        (with_fact("vmFields", []), "use an object of field names and lists of types"),
        (
            with_fact("vmFields", {"HostName": ["word"]}),
            "the types of 'HostName' are not a list of",
        ),
        ({**with_fact("scheme", "http"), "notFound": []}, '"notFound" is no object'),
    ],
)
def test_what_are_no_facts_is_one_sentence(data: object, says: str, tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(data), "utf-8")
    with pytest.raises(ArgumentError) as caught:
        Facts.load(file)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"The facts in {file} cannot be used: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe\x00\xd8"])
def test_a_file_that_is_no_json_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"^The (facts in|file of facts) .+\.$"):
        Facts.load(file)


def test_a_file_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"facts.json cannot be read: No such file"):
        Facts.load(tmp_path / "facts.json")


@pytest.mark.parametrize("spelling", GUID_SPELLINGS)
def test_a_guid_is_spelled_and_its_spelling_is_read(spelling: str) -> None:
    assert guid_spelling(spelled(GUID, spelling)) == spelling
    assert normalize_guid(spelled(GUID, spelling)) == GUID


@pytest.mark.parametrize("guid", ["00000000-0000-0000-0000-000000000000", "aB" * 16])
def test_a_guid_that_does_not_tell_has_no_spelling(guid: str) -> None:
    assert guid_spelling(guid) is None


@pytest.mark.parametrize(
    ("time", "spelling"),
    [
        ("2026-03-01-22-00-00", "YYYY-MM-DD-hh-mm-ss"),
        ("2026-03-01T22:00:00.1234567", "ISO 8601"),
        ("2026-03-01 22:00:00Z", "ISO 8601"),
        ("/Date(1234)/", "another"),
    ],
)
def test_the_spelling_of_a_time(time: str, spelling: str) -> None:
    assert time_spelling(time) == spelling


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (Answer("accepted"), "accepted"),
        (Answer("refused", 500, "Code"), 'refused (HTTP 500): "Code"'),
        (Answer("empty", 401), "an empty body (HTTP 401)"),
        (Answer("none", 0), "no answer"),
        (Answer("other", 200), "not the API's answer"),
    ],
)
def test_an_answer_in_words(answer: Answer, shown: str) -> None:
    assert str(answer) == shown


def test_durations_are_rounded_to_tenths() -> None:
    assert [rounded(each) for each in (0.04, 0.05, 0.25, 1.96)] == [0.0, 0.1, 0.3, 2.0]


def test_a_value_in_its_own_form_is_accepted() -> None:
    assert checked("secondAssign", Answer("accepted")) == Answer("accepted")
    assert checked("vmFields", {"A": ("text", "null")}) == {"A": ("null", "text")}
