"""What a user writes from Pulumi's documentation of dynamic providers.

A handler logs in, makes its one call and logs out, over connections of its own.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import requests
from pulumi import dynamic

# pulumi.dynamic wraps a function of pickle once more for each provider that it serializes and does
# not restore it, so that some 300 resources of a provider like this one exceed Python's limit.
sys.setrecursionlimit(100_000)


class AssignmentProvider(dynamic.ResourceProvider):
    def call(self, method: str, pair: str) -> dict[str, Any]:
        base, user = os.environ["VMBACKUP_BASE_URL"], os.environ["VMBACKUP_USERNAME"]
        login = {"ServerAddress": "LOCALHOST", "ServerPort": "36014", "Domain": ""}
        login.update(Username=user, Password=os.environ["VMBACKUP_PASSWORD"])

        def send(verb: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
            headers = {"Host": "localhost"}
            answer = requests.request(verb, base + path, json=body, headers=headers, timeout=30)
            return dict(answer.json())

        token = send("POST", "/sessions/start", login)["Data"]
        answer = send(method, f"/vms/backuplocations/{token}/{pair}")
        send("POST", f"/sessions/end/{token}")
        if not answer["Success"]:
            raise RuntimeError(answer["ErrorMessage"])
        return answer

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        id_ = f"{props['vm_ref']}/{props['backup_location_id']}"
        self.call("POST", id_)
        return dynamic.CreateResult(id_, props)

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        vm_ref, location_id = id_.split("/")
        locations = self.call("GET", f"{vm_ref}/1/1")["BackupLocations"]
        is_there = any(each["BackupLocationId"] == location_id for each in locations)
        return dynamic.ReadResult(id_ if is_there else "", props)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        self.call("DELETE", _id)


class Assignment(dynamic.Resource):
    def __init__(self, name: str, props: dict[str, Any]) -> None:
        super().__init__(AssignmentProvider(), name, props)


for vm_ref, location_id in json.loads(Path("pairs.json").read_text("utf-8")):
    Assignment(vm_ref, {"vm_ref": vm_ref, "backup_location_id": location_id})
