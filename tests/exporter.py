"""A monitoring exporter: a second client of the VM Backup API, for tests of the simulator.

It shares no code with the package, and is written from the description of the API alone: what
both clients misread in the same way is then a fault of the description. It behaves as the public
exporters do (seen), rude habits included:

- it trusts every certificate;
- its base URL ends with a slash, so that every path begins with two;
- it takes durations and sizes for numbers, and fails on any other value;
- it keeps its session between scrapes;
- after each failure it ends the sessions of all clients, and logs in again at the next scrape.

As a program it scrapes until its standard input is closed:

    python tests/exporter.py URL USERNAME PASSWORD SECONDS_BETWEEN_SCRAPES
"""

import dataclasses
import datetime
import http.client
import json
import ssl
import sys
import threading
import urllib.request
from typing import Any

TIMEOUT = 60  # seconds: sessions/start and vms/list can take that long (seen)

NUMBERS = (
    "LastBackupDuration",
    "LastBackupTransferSizeCompressed",
    "LastBackupTransferSizeUncompressed",
    "LastOffsiteCopyDuration",
    "LastOffsiteCopyTransferSizeCompressed",
    "LastOffsiteCopyTransferSizeUncompressed",
)
TIMES = ("NextBackupTime", "NextOffsiteCopyTime", "LastBackupTime", "LastOffsiteCopyTime")
RESULTS = ("LastBackupResult", "LastOffsiteCopyResult")


class RefusedError(Exception):
    """The server answered Success: false."""


# What a scrape may raise. The first two come of connections and HTTP errors, the others of answers
# that are no JSON, lack a field, or have null for a number.
FAILURES = (OSError, http.client.HTTPException, RefusedError, ValueError, KeyError, TypeError)


@dataclasses.dataclass(frozen=True)
class Scrape:
    """All that one scrape read.

    Attributes:
        gauges: numbers by name of the field, by name of the configured VM.
        protocol_version: the answer of protocol/version.
        vms: all VMs, as the server lists them.
        locations: all backup locations, as the server lists them.
        primary: ids of the primary locations.
        offsite: ids of the offsite locations.
        assigned: ids of the locations of a VM, by AltaroVirtualMachineRef.
        hypervisor_uuids: HypervisorVirtualMachineUuid by AltaroVirtualMachineRef.
    """

    gauges: dict[str, dict[str, float]]
    protocol_version: str
    vms: list[dict[str, Any]]
    locations: list[dict[str, Any]]
    primary: list[str]
    offsite: list[str]
    assigned: dict[str, list[str]]
    hypervisor_uuids: dict[str, str]


class Exporter:
    """Reads a VM Backup server again and again, with one session.

    Args:
        url: base URL of the API, such as https://localhost:36013/api/rest.
        username: account of the server.
        password: its password.
        server_port: port of the VM Backup server, which is not the one of its API.
    """

    def __init__(self, url: str, username: str, password: str, server_port: int = 36014) -> None:
        self.base = url.rstrip("/") + "/"
        self.username = username
        self.password = password
        self.server_port = server_port
        self.logins = 0
        self._token: str | None = None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def scrape(self) -> Scrape:
        """Read everything. After a failure, end all sessions of the server and raise it again."""
        try:
            if self._token is None:
                self._log_in()
            return self._read()
        except FAILURES:
            self._end_all_sessions()
            raise

    def close(self) -> None:
        """End the session of this exporter, when it has one."""
        if self._token is not None:
            self._call("POST", f"/sessions/end/{self._token}")
            self._token = None

    def _log_in(self) -> None:
        account = {
            "ServerAddress": "LOCALHOST",
            "ServerPort": self.server_port,
            "Username": self.username,
            "Password": self.password,
            "Domain": ".",
        }
        self._token = self._call("POST", "/sessions/start", account)["Data"]
        self.logins += 1

    def _end_all_sessions(self) -> None:
        self._token = None
        try:
            self._call("POST", "/sessions/end")
        except FAILURES as error:  # the next scrape logs in, whatever became of this
            print(f"cannot end the sessions: {error!r}", file=sys.stderr)

    def _read(self) -> Scrape:
        token = self._token
        configured = self._call("GET", f"/vms/list/{token}/1")["VirtualMachines"]
        vms = self._call("GET", f"/vms/list/{token}")["VirtualMachines"]
        refs = [vm["AltaroVirtualMachineRef"] for vm in configured]
        return Scrape(
            gauges={vm["VirtualMachineName"]: _gauges(vm) for vm in configured},
            protocol_version=str(self._call("GET", "/protocol/version")["Data"]),
            vms=vms,
            locations=self._locations(f"/backuplocations/{token}"),
            primary=_ids(self._locations(f"/backuplocations/{token}/1/0")),
            offsite=_ids(self._locations(f"/backuplocations/{token}/0/1")),
            assigned={
                ref: _ids(self._locations(f"/vms/backuplocations/{token}/{ref}/1/1"))
                for ref in refs
            },
            hypervisor_uuids={ref: self._hypervisor_uuid(ref) for ref in refs},
        )

    def _locations(self, path: str) -> list[dict[str, Any]]:
        locations: list[dict[str, Any]] = self._call("GET", path)["BackupLocations"]
        return locations

    def _hypervisor_uuid(self, ref: str) -> str:
        """Look the VM up by its reference, and back again."""
        details = "VirtualMachineIdentificationDetails"
        found = self._call("GET", f"/vms/hypervisor-uuid/{self._token}/{ref}")[details]
        uuid: str = found["HypervisorVirtualMachineUuid"]
        back = self._call("GET", f"/vms/altaro-ref/{self._token}/{uuid}")[details]
        if back["AltaroVirtualMachineRef"] != ref:
            raise ValueError(f"VM {ref} has the UUID {uuid}, which the server gives to {back}")
        return uuid

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if method == "GET" else json.dumps(body).encode() if body else b""
        request = urllib.request.Request(
            self.base + path,
            data=data,
            # A server answers to no other host name (seen), whatever address leads to it.
            headers={"Content-Type": "application/json", "Host": "localhost"},
            method=method,
        )
        with self._opener.open(request, timeout=TIMEOUT) as response:
            answer: dict[str, Any] = json.load(response)
        if answer["Success"] is not True:
            raise RefusedError(
                f"{answer['ErrorCode']}: {answer['ErrorMessage']} "
                f"({answer['ErrorAdditionalDetails']})"
            )
        return answer


def _ids(locations: list[dict[str, Any]]) -> list[str]:
    for location in locations:
        if not location["LocationPath"]:
            raise ValueError(f"a location without a path: {location}")
    return [location["BackupLocationId"] for location in locations]


def _gauges(vm: dict[str, Any]) -> dict[str, float]:
    """Numbers of a VM. No value is checked first: a sum with null or text raises TypeError."""
    return {
        **{name: 0.0 + vm[name] for name in NUMBERS},
        **{name: _seconds(vm[name]) for name in TIMES if vm[name]},
        **{name: float(vm[name] == "Success") for name in RESULTS},
    }


def _seconds(time: str) -> float:
    return datetime.datetime.strptime(time, "%Y-%m-%d-%H-%M-%S").timestamp()


def main() -> None:
    url, username, password, pause = sys.argv[1:]
    exporter = Exporter(url, username, password)
    stopped = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        stopped.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    succeeded = failed = 0
    while True:
        try:
            vms = len(exporter.scrape().gauges)
            succeeded += 1
            print(f"read {vms} VMs", flush=True)
        except FAILURES as error:
            failed += 1
            print(f"failed: {error!r}", flush=True)
        if stopped.wait(float(pause)):
            break
    exporter.close()
    print(f"{succeeded} succeeded, {failed} failed, logins: {exporter.logins}", flush=True)


if __name__ == "__main__":
    main()
