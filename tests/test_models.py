"""models.py: the one form of a GUID."""

import pytest

from pulumi_vmbackup import ArgumentError
from pulumi_vmbackup.models import normalize_guid

GUID = "ba2e9cdc-0d85-48e6-8db7-a45c5a40819e"


@pytest.mark.parametrize(
    "written",
    [GUID, GUID.upper(), f"{{{GUID}}}", f"{{{GUID.upper()}}}", f"({GUID})", GUID.replace("-", "")],
    ids=str,
)
def test_a_guid_in_any_case_with_or_without_braces_or_dashes_becomes_plain(written: str) -> None:
    assert normalize_guid(written) == GUID


@pytest.mark.parametrize(
    "value",
    [
        "",
        "SQL01",
        GUID[:-1],
        GUID + "0",
        GUID + "\n",
        f" {GUID}",
        f"{{{GUID}",
        f"{GUID}}}",
        f"{{{{{GUID}}}}}",
        GUID.replace("-", "", 1),
        f"{{{GUID})",
        GUID.replace("b", "g", 1),
        GUID.replace("1", "\u0661"),  # a digit to Python, and none of the 16 that a GUID has
        f"../{GUID}",
        7,
    ],
    ids=repr,
)
def test_anything_else_is_an_error_that_shows_it(value: object) -> None:
    with pytest.raises(ArgumentError) as raised:
        normalize_guid(value)
    assert f" {value!r} is not a GUID; expected 32 hexadecimal digits" in f" {raised.value}"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "A GUID is missing."),
        (True, "true is not a GUID;"),
        ([None], "[null] is not a GUID;"),
    ],
)
def test_what_is_no_text_is_shown_to_readers_of_any_language(value: object, says: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        normalize_guid(value)
    assert str(raised.value).startswith(says)
