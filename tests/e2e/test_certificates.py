"""The exact certificate in vmbackup:caFile, and its renewal, with the Pulumi CLI."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from certificates import made
from e2e.stack import MakeStack, assigned
from sample import FILE01, OFFSITE01, SQL01

from pulumi_vmbackup.simulator import Simulator, serve
from pulumi_vmbackup.tls import fingerprint

PROGRAM = f"""\
from pulumi_vmbackup import VmBackupLocationAssignment, get_virtual_machine, plugin

VmBackupLocationAssignment(
    "dynamic", vm_ref=get_virtual_machine(name="SQL01"), backup_location_id="{OFFSITE01}"
)
plugin.VmBackupLocationAssignment("plugin", vm_ref="{FILE01}", backup_location_id="{OFFSITE01}")
"""


def test_a_certificate_for_the_computer_is_trusted_and_its_renewal_is_noticed(
    make_stack: MakeStack, simulator: Simulator, tmp_path: Path
) -> None:
    old, new = made("VMBACKUP01"), made("VMBACKUP01")
    (ca_file := tmp_path / "vmbackup.pem").write_bytes(old.pem)
    stack = make_stack(VMBACKUP_CA_FILE=str(ca_file))
    stack.program(PROGRAM)
    with serve(simulator, certificate=old.write_server(tmp_path)) as served_at:
        port = urlsplit(served_at).port or 0
        url = served_at.replace("127.0.0.1", "localhost")
        stack.config({"vmbackup:baseUrl": url})
        stack.up()
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}", f"{FILE01}/{OFFSITE01}"}
    simulator.calls.clear()
    with serve(simulator, port=port, certificate=new.write_server(tmp_path)):
        printed = [
            stack.up(fails=True),
            stack.refresh("--run-program", fails=True),
            stack.destroy("--run-program", fails=True),
        ]
    assert simulator.calls == []
    for each in printed:
        assert (
            f"{url} presents another certificate (SHA-256 {fingerprint(new.der)[:23]}...) than the "
            f"one in {ca_file} (SHA-256 {fingerprint(old.der)[:23]}...): either it was renewed, or "
            "this is another server."
        ) in each
        assert "Traceback" not in each
    assert len(stack.resources()) == 2
