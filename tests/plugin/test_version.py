"""plugin/version.py: versions of Python packages as semantic versions."""

from __future__ import annotations

import json
import re

import pytest

from pulumi_vmbackup.plugin.schema import schema
from pulumi_vmbackup.plugin.version import semantic_version

NUMBER = r"(?:0|[1-9]\d*)"
IDENTIFIER = rf"(?:{NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"
SEMANTIC = re.compile(
    rf"{NUMBER}\.{NUMBER}\.{NUMBER}"
    rf"(?:-{IDENTIFIER}(?:\.{IDENTIFIER})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


@pytest.mark.parametrize(
    ("of_package", "of_plugin"),
    [
        ("0.1.0", "0.1.0"),
        ("1", "1.0.0"),
        ("1.0", "1.0.0"),
        ("2026.01", "2026.1.0"),
        ("1.2.3.4", "1.2.3+4"),
        ("0.2.0rc1", "0.2.0-rc.1"),
        ("0.2.0c1", "0.2.0-rc.1"),
        ("0.2.0a1", "0.2.0-alpha.1"),
        ("0.2b10", "0.2.0-beta.10"),
        ("1.0RC", "1.0.0-rc.0"),
        ("1.0-alpha.3", "1.0.0-alpha.3"),
        ("1.0.0.dev4", "1.0.0-dev.4"),
        ("0.3.0.dev4+g1a2b", "0.3.0-dev.4+g1a2b"),
        ("1.0a2.dev3", "1.0.0-alpha.2.dev.3"),
        ("1.0.0.post1", "1.0.0+post.1"),
        ("1.0-1", "1.0.0+post.1"),
        ("1.0rc1.post2.dev3", "1.0.0-rc.1.dev.3+post.2"),
        ("1.0+ubuntu-1_007", "1.0.0+ubuntu.1.007"),
        ("1!2.0", "2.0.0+epoch.1"),
        ("1!2.0.1rc1.post2+local", "2.0.1-rc.1+epoch.1.post.2.local"),
        ("v1.0", "1.0.0"),
    ],
)
def test_each_form_of_a_python_version_becomes_a_semantic_one(
    of_package: str, of_plugin: str
) -> None:
    assert semantic_version(of_package) == of_plugin
    assert SEMANTIC.fullmatch(of_plugin)


def test_what_is_no_version_is_named() -> None:
    with pytest.raises(ValueError, match=r"'1\.0\.x' is not a version of a Python package\."):
        semantic_version("1.0.x")


def test_the_schema_has_a_semantic_version() -> None:
    assert SEMANTIC.fullmatch(json.loads(schema())["version"])
