"""The real CLI on the plugin's schema."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from contract.plugin import COMMAND
from pulumi_cli import isolated_environment

from pulumi_vmbackup.plugin.schema import schema


def test_the_cli_prints_the_schema_and_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    def pulumi(*arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", *arguments],
            cwd=tmp_path,
            env=isolated_environment(tmp_path / "pulumi"),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    plugin = str(COMMAND) + (".exe" if sys.platform == "win32" else "")
    printed = json.loads(pulumi("package", "get-schema", plugin))
    ours = json.loads(schema())
    assert printed["resources"].keys() == ours["resources"].keys()
    assert printed["functions"].keys() == ours["functions"].keys()
    (tmp_path / "schema.json").write_text(json.dumps(ours))
    assert "Errors" not in pulumi("schema", "check", "schema.json")
