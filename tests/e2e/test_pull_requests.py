"""What the workflow and the pipeline of examples/pull-request-preview run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure_devops import PullRequest, serving
from e2e.stack import MakeStack, Stack
from sample import FILE01, SQL01

from pulumi_vmbackup.simulator import Inventory, Simulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "pull-request-preview"
PLAN = ["Rotating disks", r"\\NAS01\VMBackups", r"\\OFFSITE01\VMBackups"]
FOLDED = "<details><summary>The preview as text</summary>"
GH = """\
#!/bin/sh
[ "$1 $2 $3 $4 $5" = "pr comment 7 --repo contoso/backup" ] || exit 1
shift 5
[ "$*" = "--edit-last --create-if-none --body-file comment.md" ] && cp comment.md posted.md
"""
pytestmark = pytest.mark.skipif(os.name == "nt", reason="these jobs need bash, and run on Linux")


@dataclass(frozen=True)
class Pipeline:
    """The scripts of a workflow, and where its comment goes.

    Attributes:
        stack: the stack of the example, in which they run.
        review: what previews and reviews.
        comment: what comments.
        gate: what is run before a deployment.
        deploy: the deployment.
        environment: what the runner sets.
        options: those with which it starts bash.
        posted: returns the comments on the pull request.
        shown: returns the summary of the run, from what the last script has printed.
    """

    stack: Stack
    review: str
    comment: str
    gate: list[str]
    deploy: str
    environment: dict[str, str]
    options: tuple[str, ...]
    posted: Callable[[], list[str]]
    shown: Callable[[str], str]

    def run(self, script: str) -> tuple[int, str]:
        """Run a script as a runner does; returns its exit code and what it prints."""
        done = subprocess.run(
            [shutil.which("bash") or "bash", *self.options, "-c", script],
            cwd=self.stack.folder,
            env={**self.stack.environment, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=600,
        )
        self.stack.output += done.stdout
        return done.returncode, done.stdout

    def comments(self, code: int) -> str:
        """Run the job of a pull request, whose review ends with a code; returns the comment."""
        for each in ("preview.txt", "review.txt", "review.md", "review.html", "comment.md"):
            (self.stack.folder / each).unlink(missing_ok=True)
        ended_with, printed = self.run(self.review)
        assert ended_with == code, printed
        ended_with, printed = self.run(self.comment)
        assert ended_with == 0, printed
        (posted,) = self.posted()
        assert self.shown(printed) == posted
        has_review = posted.startswith("### Backup review of")
        assert (self.stack.folder / "review.html").exists() == has_review
        if "##vso" in printed:
            page = f"##vso[artifact.upload artifactname=review]{self.stack.folder}/review.html\n"
            assert (page in printed) == has_review
        return posted

    def deploys(self) -> bool:
        """Run the deployment, unless what comes before it fails."""
        codes = [self.run(each)[0] for each in self.gate]  # all of them, whatever fails
        if any(codes):
            return False
        code, printed = self.run(self.deploy)
        assert code == 0, printed
        return True


def github(stack: Stack, folder: Path) -> Pipeline:
    (folder / "gh").write_text(GH)
    (folder / "gh").chmod(0o755)
    posted, summary_file = stack.folder / "posted.md", folder / "summary.md"

    def shown(_: str) -> str:
        text = summary_file.read_text("utf-8")
        summary_file.unlink()  # each step of a run has its own
        return text

    file = EXAMPLE / ".github" / "workflows" / "vmbackup.yml"
    jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"]
    runs = {
        job: [step["run"] for step in jobs[job]["steps"] if "run" in step]
        for job in ("preview", "deploy")
    }
    _, review, comment = runs["preview"]
    _, gate, summary, deploy = runs["deploy"]
    assert summary == 'if [ -e review.md ]; then cat review.md >>"$GITHUB_STEP_SUMMARY"; fi\n'
    return Pipeline(
        stack,
        review,
        comment,
        [gate],
        deploy,
        {
            "GITHUB_REPOSITORY": "contoso/backup",
            "GITHUB_STEP_SUMMARY": str(summary_file),
            "NUMBER": "7",
            "PAGE": "https://example.com/page",
        },
        ("-e", "-o", "pipefail"),
        lambda: [posted.read_text("utf-8")],
        shown,
    )


def azure(stack: Stack, pull_request: PullRequest) -> Pipeline:
    def shown(printed: str) -> str:
        (file,) = re.findall(r"^##vso\[task\.uploadsummary\](.+)$", printed, re.M)
        return Path(file).read_text("utf-8")

    pipeline = yaml.safe_load((EXAMPLE / "azure-pipelines.yml").read_text("utf-8"))
    (preview,), (deploy,), _ = (stage["jobs"] for stage in pipeline["stages"])
    steps: list[dict[str, Any]] = [
        *preview["steps"],
        *deploy["strategy"]["runOnce"]["deploy"]["steps"],
    ]
    bash = {step["displayName"]: step["bash"] for step in steps if "bash" in step}
    cmd = {step["displayName"]: step["script"] for step in steps if "script" in step}
    return Pipeline(
        stack,
        bash["Review"],
        bash["Comment"],
        [cmd["Preview"], cmd["Review"]],  # one line each, which bash takes as cmd does
        cmd["Deploy"],
        {**pull_request.environment, "PAGE": "https://example.com/page"},
        (),
        pull_request.texts,
        shown,
    )


@pytest.fixture(params=["GitHub", "Azure DevOps"])
def pipeline(
    request: pytest.FixtureRequest, make_stack: MakeStack, tmp_path: Path
) -> Iterator[Pipeline]:
    stack = make_stack(init=False)
    shutil.copytree(EXAMPLE, stack.folder, dirs_exist_ok=True)
    stack.init()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    stack.environment["PATH"] = os.pathsep.join((str(programs), stack.environment["PATH"]))
    if request.param == "GitHub":
        yield github(stack, programs)
    else:
        with serving() as pull_request:
            yield azure(stack, pull_request)


def leave_the_server(stack: Stack) -> None:
    for variable in ("VMBACKUP_USERNAME", "VMBACKUP_PASSWORD"):
        del stack.environment[variable]
    stack.environment["VMBACKUP_BASE_URL"] = "http://127.0.0.1:9/api/rest"  # nothing listens there


def plan(preview: str) -> list[str]:
    """The lines of a preview that tell what is created, without the ids of this stack."""
    return sorted(
        line for line in preview.splitlines() if re.search(r"\+ |vm_|location_|kind", line)
    )


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def test_the_comment_is_the_review_with_the_preview_below_and_needs_no_server(
    pipeline: Pipeline, simulator: Simulator
) -> None:
    stack = pipeline.stack
    with_server = stack.pulumi("preview", "--diff")
    assert "inventory file" not in with_server
    assert simulator.calls
    simulator.calls.clear()
    leave_the_server(stack)

    review, folded, text = pipeline.comments(0).partition(FOLDED)
    assert folded
    assert review.startswith("### Backup review of `vmbackup-pull-request-preview/test`\n")
    assert "1 VM gains a primary location." in review
    assert "KEPT: `require any` is kept. 4 VMs excepted.\n" in review
    assert "\n[The page of this review](https://example.com/page)\n" in review
    assert plan(text) == plan(with_server)
    assert re.findall(r'vm_name +: "(\w+)"', text).count("SQL01") == 2
    paths = re.findall(r'location_path +: (".+")', text)
    assert sorted(json.loads(path) for path in paths) == PLAN
    assert re.search(
        r"warning: This preview takes VMs and backup locations from the inventory file "
        r"inventory\.json, which is \d+ days old, because no credentials are configured\.\n",
        text,
    )
    assert simulator.calls == []


def test_the_comment_is_kept_up_to_date_whatever_the_result_is(
    pipeline: Pipeline, simulator: Simulator
) -> None:
    stack = pipeline.stack
    leave_the_server(stack)
    rules, program = stack.folder / "vmbackup-rules.yaml", stack.folder / "__main__.py"
    change(rules, "[EXCH01, SQL02]", "EXCH01")
    review, folded, _ = pipeline.comments(2).partition(FOLDED)
    assert folded
    assert "**BROKEN**: `require any` is broken by 1 VM: `SQL02`." in review

    change(rules, "require:", "requires:")
    review, folded, text = pipeline.comments(1).partition(FOLDED)
    assert review.startswith("### There is no review of `test`\n")
    assert "requires" in review
    assert plan(text)

    change(program, '"FILE01"', '"FIEL01"')
    failed = pipeline.comments(1)
    assert failed.startswith("### The preview of `test` failed\n")
    assert "did you mean 'FILE01'" in failed
    assert FOLDED not in failed
    assert simulator.calls == []


def test_a_failure_of_the_second_preview_is_in_the_comment_too(pipeline: Pipeline) -> None:
    stack = pipeline.stack
    leave_the_server(stack)
    program = stack.folder / "__main__.py"
    once = "import pathlib\nonce = pathlib.Path('once')\nassert not once.exists()\nonce.touch()\n"
    change(program, "ASSIGNMENTS =", f"{once}ASSIGNMENTS =")
    review, _, text = pipeline.comments(1).partition(FOLDED)
    assert "AssertionError" in review
    assert plan(text)


def test_nothing_is_deployed_that_breaks_a_rule_at_the_server(
    pipeline: Pipeline, simulator: Simulator
) -> None:
    stack = pipeline.stack
    program = stack.folder / "__main__.py"
    assert pipeline.deploys()
    assigned = simulator.inventory.assignments
    assert len(assigned) == len(Inventory.sample().assignments) + 3

    change(program, "ASSIGNMENTS = [\n", 'ASSIGNMENTS = [\n    ("WEB01", "Rotating disks"),\n')
    change(program, '    ("SQL01", r"\\\\OFFSITE01\\VMBackups"),\n', "")
    change(program, '    ("FILE01", "Rotating disks"),\n', "")
    assert not pipeline.deploys()
    assert "BROKEN: at most 25% removed is broken: the update removes 2 of 4" in stack.output
    assert len(simulator.inventory.locations_of(SQL01)) == 2

    change(program, "ASSIGNMENTS = [\n", 'ASSIGNMENTS = [\n    ("FIEL01", "Rotating disks"),\n')
    assert not pipeline.deploys()
    assert "did you mean 'FILE01'" in stack.output
    assert simulator.inventory.locations_of(FILE01)
