"""catalog.py: what test_lookups cannot see of it, as its threads and a client of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sample import SQL01

from pulumi_vmbackup import LoginError, LostAnswerError, UnreachableError
from pulumi_vmbackup.catalog import Catalog, gather
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import Fault, Simulator


def test_many_threads_ask_for_each_list_once(simulator: Simulator, settings: Settings) -> None:
    simulator.answer_seconds = 0.02
    catalog = Catalog(settings, may_read_snapshot=False, warn=print)
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda _: catalog.get_virtual_machine(name="SQL01").ref, range(8))
        assert {*found} == {SQL01}
    assert len(simulator.calls) == 5  # the session's two, and three lists
    assert not simulator.sessions


def test_a_server_that_does_not_answer_one_thread_is_not_asked_by_the_others(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.faults = [Fault("reset", "GET", times=None)]
    catalog = Catalog(settings)

    def fails(_: int) -> bool:
        with pytest.raises(LostAnswerError):
            catalog.get_virtual_machines()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(fails, range(8)))
    assert [call.method for call in simulator.calls] == ["POST", "GET", "GET", "GET", "POST"]


def test_a_client_of_others_is_asked_and_its_session_left_open(
    simulator: Simulator, settings: Settings, client: Client
) -> None:
    client.log_in()
    catalog = Catalog(settings, may_read_snapshot=False, warn=print, client=client)
    assert catalog.get_virtual_machine(name="SQL01").ref == SQL01
    assert len(simulator.tokens) == len(simulator.sessions) == 1


def test_a_refused_password_is_sent_once(simulator: Simulator, settings: Settings) -> None:
    wrong = replace(settings, password="wrong-one")
    catalog = Catalog(wrong, may_read_snapshot=False, warn=print)
    for _ in range(3):
        with pytest.raises(LoginError, match="Could not list the virtual machines: "):
            catalog.get_virtual_machines()
    assert len(simulator.calls) == 1


def test_many_threads_read_a_snapshot_once(
    settings: Settings, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    file.write_text(gather(client).dump(), "utf-8")
    away = replace(settings, base_url="http://localhost:1/api/rest", inventory_file=str(file))
    warnings: list[str] = []
    catalog = Catalog(away, may_read_snapshot=True, warn=lambda text, *_: warnings.append(text))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: catalog.get_backup_locations(vm_ref=SQL01), range(8)))
    assert len(warnings) == 1
    assert "because the server cannot be asked: No VM Backup API answers" in warnings[0]
    with pytest.raises(UnreachableError):
        Catalog(away, may_read_snapshot=False, warn=print).get_virtual_machines()
