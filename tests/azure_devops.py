"""A stand-in for the part of the REST API of Azure DevOps that is about comments."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "token of the job"


class PullRequest:
    """The threads of comments on pull request 7.

    Attributes:
        threads: as the API lists them.
        fails: the status and the body to answer with instead.
        environment: what an agent and the pipeline set.
    """

    def __init__(self, port: int) -> None:
        self.threads: list[dict[str, Any]] = []
        self.fails: tuple[int, str] | None = None
        self.environment = {
            "SYSTEM_COLLECTIONURI": f"http://127.0.0.1:{port}/contoso/",
            "SYSTEM_TEAMPROJECTID": "project-id",
            "BUILD_REPOSITORY_ID": "repository-id",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
            "SYSTEM_ACCESSTOKEN": TOKEN,
        }

    def texts(self) -> list[str]:
        """The first comment of each thread."""
        return [thread["comments"][0]["content"] for thread in self.threads]

    def answer(self, method: str, path: str, body: Any) -> Any:
        """Do what a call asks for."""
        of_all, version, of_one = (
            "/contoso/project-id/_apis/git/repositories/repository-id/pullRequests/7/threads",
            r"\?api-version=7\.1",
            r"/(\d+)/comments/(\d+)",
        )
        if method == "GET" and re.fullmatch(of_all + version, path):
            return {"value": self.threads, "count": len(self.threads)}
        if method == "POST" and re.fullmatch(of_all + version, path):
            properties = {
                key: {"$type": "System.String", "$value": value}
                for key, value in body["properties"].items()
            }
            thread: dict[str, Any] = {
                "id": 100 + len(self.threads),
                "properties": properties,
                "comments": [{**each, "id": 1} for each in body["comments"]],
                "isDeleted": False,
            }
            self.threads.append(thread)
            return thread
        found = re.fullmatch(of_all + of_one + version, path)
        assert method == "PATCH", (method, path)
        assert found, path
        (thread,) = (each for each in self.threads if each["id"] == int(found[1]))
        (comment,) = (each for each in thread["comments"] if each["id"] == int(found[2]))
        comment.update(body)
        return comment


@contextmanager
def serving() -> Iterator[PullRequest]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if pull_request.fails:
                status, text = pull_request.fails
            elif self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, text = 203, "<html>Sign in</html>"
            else:
                done = pull_request.answer(self.command, self.path, json.loads(body or "null"))
                status, text = 200, json.dumps(done)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PATCH = answer  # noqa: N815  # names of the base class

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pull_request = PullRequest(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield pull_request
        server.shutdown()
        thread.join()
