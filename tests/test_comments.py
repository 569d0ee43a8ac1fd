"""The scripts of examples/pull-request-preview that comment on a pull request."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure_devops import TOKEN, PullRequest, serving

SCRIPTS = Path(__file__).parents[1] / "examples" / "pull-request-preview" / "ci"
LONGEST = 65_536
PAGE = "https://example.com/page"


def run(script: str, folder: Path, *arguments: str, fails: bool = False, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments],
        cwd=folder,
        env={**os.environ, "PULUMI_STACK": "prod", **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == fails, done.stderr
    return done.stderr


def comment(folder: Path, **files: str) -> str:
    for name, content in files.items():
        file = folder / f"{name}.{'md' if name == 'review' else 'txt'}"
        if name == "said":
            file = folder / "review.txt"
        file.write_text(content, "utf-8")
    run("comment.py", folder, PAGE)
    text = (folder / "comment.md").read_text("utf-8")
    assert len(text) <= LONGEST
    return text


def test_the_preview_is_folded_below_the_review(tmp_path: Path) -> None:
    assert comment(tmp_path, preview="+ create\n", said="table\n", review="### Review\n") == (
        "### Review\n"
        f"\n[The page of this review]({PAGE})\n"
        "\n<details><summary>The preview as text</summary>\n\n"
        "```text\n+ create\n```\n"
        "\n</details>\n"
    )


def test_no_fence_in_the_preview_ends_its_block(tmp_path: Path) -> None:
    text = comment(tmp_path, preview="a\n````\n</details> @everyone\n", review="### Review\n")
    assert "\n`````text\na\n````\n</details> @everyone\n`````\n" in text


def test_of_a_long_preview_the_comment_has_what_fits(tmp_path: Path) -> None:
    review = "r" * 60_000 + "\n"
    text = comment(tmp_path, preview="first\n" + "ä" * 70_000 + "\nlast\n", review=review)
    assert text.startswith(review)
    assert "```text\nfirst\nä" in text
    assert text.endswith("ä\n[The rest is in the log of the run.]\n```\n\n</details>\n")
    assert len(text) > LONGEST - 10


def test_the_longest_review_is_whole_and_the_preview_left_out(tmp_path: Path) -> None:
    review = "r" * 65_000
    text = comment(tmp_path, preview="p" * 5_000, review=review)
    assert text.startswith(review)
    assert text.endswith(
        "\nThe preview as text is too long for this comment. The log of the run has it.\n"
    )


def test_a_preview_that_failed_is_shown_to_its_end(tmp_path: Path) -> None:
    text = comment(tmp_path, preview="begin\n" + "p" * 70_000 + "\nerror: no such VM\n")
    assert text.startswith("### The preview of `prod` failed\n\n```text\n[The rest is in the log")
    assert text.endswith("p\nerror: no such VM\n```\n")
    assert "<details>" not in text


def test_without_a_review_the_comment_says_why(tmp_path: Path) -> None:
    text = comment(tmp_path, preview="+ create\n", said="vmbackup: no rule is called requires\n")
    assert text.startswith(
        "### There is no review of `prod`\n\n```text\nvmbackup: no rule is called requires\n```\n"
    )
    assert "```text\n+ create\n```" in text
    text = comment(tmp_path, preview="p" * 70_000, said="s" * 70_000 + "\nvmbackup: the reason\n")
    assert "s\nvmbackup: the reason\n```\n" in text
    assert text.endswith("p\n[The rest is in the log of the run.]\n```\n\n</details>\n")


def test_without_a_preview_the_comment_names_the_log(tmp_path: Path) -> None:
    assert comment(tmp_path) == (
        "### There is no preview of `prod`\n\nThe log of the run says why.\n"
    )


# Azure DevOps


@pytest.fixture
def pull_request() -> Iterator[PullRequest]:
    with serving() as pull_request:
        yield pull_request


def post(folder: Path, pull_request: PullRequest, text: str, **changed: str) -> str:
    (folder / "comment.md").write_text(text, "utf-8")
    environment = {**pull_request.environment, **changed}
    return run("azure_comment.py", folder, fails="fails" in text, **environment)


def test_each_stack_has_one_comment_in_azure_devops(
    tmp_path: Path, pull_request: PullRequest
) -> None:
    of_a_person = {"id": 1, "comments": [{"id": 1, "content": "Why?"}], "properties": None}
    pull_request.threads.append(of_a_person)
    post(tmp_path, pull_request, "first \u274c")
    post(tmp_path, pull_request, "of test", PULUMI_STACK="test")
    post(tmp_path, pull_request, "second \u2705")
    assert pull_request.texts() == ["Why?", "second \u2705", "of test"]
    assert "status" not in pull_request.threads[1]
    pull_request.threads[1]["isDeleted"] = True
    post(tmp_path, pull_request, "third")
    assert pull_request.texts()[3] == "third"


def test_a_comment_that_azure_devops_refuses_is_an_error_that_says_what_to_do(
    tmp_path: Path, pull_request: PullRequest
) -> None:
    pull_request.fails = (403, '{"message": "TF401027"}')
    error = post(tmp_path, pull_request, "fails")
    assert "HTTP 403. Check that the build service of the project has the permission" in error
    assert "TF401027" in error
    pull_request.fails = None
    error = post(tmp_path, pull_request, "fails", SYSTEM_ACCESSTOKEN="another")
    assert "did not accept the token" in error
    nobody = "http://127.0.0.1:9/contoso/"
    error = post(tmp_path, pull_request, "fails", SYSTEM_COLLECTIONURI=nobody)
    assert "Azure DevOps did not answer" in error
    assert "Traceback" not in error
    assert TOKEN not in error
    assert pull_request.threads == []
