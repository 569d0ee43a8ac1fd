"""Keeps the text of comment.md as one comment on a pull request in Azure Repos.

The step of the pipeline has to pass SYSTEM_ACCESSTOKEN. The agent sets the other variables.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PROPERTY = "vmbackup.review"
"""The property of a thread that says of which stack it is, so that the next run finds it."""


def main() -> None:
    content = Path("comment.md").read_text("utf-8")
    stack = os.environ["PULUMI_STACK"]
    threads = (
        "{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECTID}/_apis/git/repositories/{BUILD_REPOSITORY_ID}"
        "/pullRequests/{SYSTEM_PULLREQUEST_PULLREQUESTID}/threads"
    ).format(**os.environ)
    for thread in call("GET", threads)["value"]:
        of_stack = ((thread.get("properties") or {}).get(PROPERTY) or {}).get("$value")
        if of_stack == stack and not thread.get("isDeleted"):
            first = thread["comments"][0]["id"]
            call("PATCH", f"{threads}/{thread['id']}/comments/{first}", {"content": content})
            return
    # Without a status, so that no policy waits until somebody resolves it.
    comment = {"content": content, "commentType": "text", "parentCommentId": 0}
    call("POST", threads, {"comments": [comment], "properties": {PROPERTY: stack}})


def call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310  # the agent gives the address
        f"{url}?api-version=7.1",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['SYSTEM_ACCESSTOKEN']}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        answer = error.read().decode("utf-8", "replace")[:1_000]
        sys.exit(
            f"The comment could not be written: Azure DevOps answered {method} with HTTP "
            f"{error.code}. Check that the build service of the project has the permission "
            f"'Contribute to pull requests' for this repository. The answer: {answer}"
        )
    except ValueError:  # a page to sign in, with HTTP 203
        sys.exit(
            "The comment could not be written: Azure DevOps did not accept the token. Check that "
            "the step passes $(System.AccessToken) as SYSTEM_ACCESSTOKEN."
        )
    except OSError as error:
        sys.exit(f"The comment could not be written: Azure DevOps did not answer ({error}).")


if __name__ == "__main__":
    main()
