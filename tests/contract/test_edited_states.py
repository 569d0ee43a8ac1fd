"""States that somebody has edited end in sentences, and un-assign nothing by a guess."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from contract.host import Host
from contract.plugin import (
    ASSIGNMENT,
    SET,
    Plugin,
    Properties,
    a_set,
    entry,
    failure_of,
    urn,
)
from sample import NAS01, NOWHERE, PASSWORD, SQL01, SQL02

from pulumi_vmbackup.simulator import Simulator

URN = urn(SET)
TWO = a_set(SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02, NAS=NAS01))
CORRECT = (
    " Nothing was changed on the server. Correct the state with `pulumi state edit`. Or remove the "
    "resource from the state with `pulumi state delete`, which un-assigns nothing, and run `pulumi "
    "up` to adopt what is assigned."
)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"exclusive": False}, "assignments of the set's state: assignments is null: give a map"),
        (
            {"assignments": [SQL01], "exclusive": False},
            "assignments of the set's state: assignments is [",
        ),
        (
            a_set(SQL01={"vmRef": SQL01}),
            "assignments[\"SQL01\"] of the set's state: the VM 'SQL01' is not of the form",
        ),
        (a_set(SQL01=entry(5)), 'assignments["SQL01"].vmRef of the set\'s state: 5.0 is not a GU'),  # type: ignore[arg-type]
        (
            a_set(SQL01=entry(SQL01, NAS="x")),
            'assignments["SQL01"].backupLocationIds["NAS"] of the set\'s state: \'x\' is not a',
        ),
        (
            a_set(a=entry(SQL01, NAS=NAS01), b=entry(SQL01)),
            "assignments[\"b\"].vmRef of the set's state: 'a' and 'b' of the set are both",
        ),
        ({**a_set(), "exclusive": "no"}, "exclusive of the set's state: exclusive is 'no': use"),
        (
            {**a_set(True), "otherAssignments": {"SQL01": 5}},
            "otherAssignments[\"SQL01\"] of the set's state: the VM 'SQL01' is not of the form",
        ),
    ],
    ids=str,
)
def test_a_state_of_a_set_that_cannot_be_read_is_a_sentence_and_unassigns_nothing(
    state: Properties,
    says: str,
    simulator: Simulator,
    one_for_all: Plugin,
    login: dict[str, object],
) -> None:
    one_for_all.configure(login)
    for call in (
        lambda: one_for_all.diff(URN, state, a_set()),
        lambda: one_for_all.read(URN, "it", state, a_set()),
        lambda: one_for_all.update(URN, state, a_set()),
        lambda: one_for_all.update(URN, state, a_set(), preview=True),
        lambda: one_for_all.delete(URN, "it", state),
    ):
        failed = failure_of(call)
        assert failed.says.startswith(f"The property {says}")
        assert failed.says.endswith(CORRECT)
    assert not simulator.calls


ODD_TIMES = ["yesterday", 5, "2026-11-28T04:00:00", {}, ["x"], True]


@pytest.mark.parametrize("time_", ODD_TIMES, ids=str)
def test_a_time_of_a_state_that_cannot_be_read_counts_as_now_until_a_refresh_corrects_it(
    time_: object, simulator: Simulator, one_for_all: Plugin, login: dict[str, object]
) -> None:
    one_for_all.configure({**login, "settleSeconds": 60})
    state = {**TWO, "assignedAt": time_}
    _, _, found = one_for_all.read(URN, "it", state, TWO)
    assert found | {"assignedAt": time_} == state  # listings lack the pairs
    single = {
        "vmRef": SQL01,
        "backupLocationId": NAS01,
        "vmName": 5,
        "kind": [],
        "assignedAt": time_,
    }
    id_, _, outputs = one_for_all.read(urn(ASSIGNMENT), f"{SQL01}/{NAS01}", single)
    assert id_ == f"{SQL01}/{NAS01}"
    for corrected in (found, outputs):
        assert datetime.fromisoformat(corrected["assignedAt"]).tzinfo
    simulator.inventory.assignments[SQL01, NAS01] = None
    one_for_all.delete(urn(ASSIGNMENT), f"{SQL01}/{NAS01}", single)
    assert not simulator.inventory.locations_of(SQL01)


@pytest.mark.parametrize("id_", ["x", SQL01, f"{SQL01}/", f"{SQL01}/{NAS01}/{NAS01}", f"5/{NAS01}"])
def test_an_id_of_a_state_that_is_no_pair_is_a_sentence(
    id_: str, simulator: Simulator, one_for_all: Plugin, login: dict[str, object]
) -> None:
    one_for_all.configure(login)
    state = {"vmRef": SQL01, "backupLocationId": NAS01}
    says = (
        f"The property id of the state is '{id_}', and not <vmRef>/<backupLocationId>, two GUIDs."
    )
    for call in (
        lambda: one_for_all.read(urn(ASSIGNMENT), id_, state),
        lambda: one_for_all.delete(urn(ASSIGNMENT), id_, state),
    ):
        assert failure_of(call).says == says + CORRECT
    assert not simulator.calls


def test_ids_of_a_state_that_are_no_text_are_a_replacement_which_unassigns_by_the_id_alone(
    one_for_all: Plugin,
) -> None:
    news = {"vmRef": SQL01, "backupLocationId": NAS01}
    for olds in ({}, {"vmRef": 5, "backupLocationId": None}):
        difference = one_for_all.diff(urn(ASSIGNMENT), olds, news)
        assert difference.replaces == ["vmRef", "backupLocationId"]


@pytest.fixture
def dynamic(
    engine_address: str, base_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Host]:
    """The host of dynamic resources, with the settle time that users have."""
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    host = Host(engine_address)
    host.configure(baseUrl=base_url, username="Administrator", password=PASSWORD)
    yield host
    host.stop()


def test_an_edited_state_of_a_dynamic_resource_is_a_sentence(
    dynamic: Host, simulator: Simulator
) -> None:
    pair = {"vm_ref": SQL01, "backup_location_id": NAS01}
    for id_ in ("x", SQL01, f"5/{NOWHERE}"):
        for call in (
            lambda: dynamic.read(id_, **pair),  # noqa: B023
            lambda: dynamic.delete(id_, **pair),  # noqa: B023
            lambda: dynamic.update(id_, pair, pair),  # noqa: B023
        ):
            first, *_ = failure_of(call).says.splitlines()
            assert f"The property id of the state is '{id_}', and not <vmRef>/<backup" in first
            assert first.endswith(CORRECT)
    connections: list[object] = [5, ["x"], {}]
    for connection in connections:
        first, *_ = failure_of(
            lambda: dynamic.delete(f"{SQL01}/{NAS01}", **pair, connection=connection)  # noqa: B023
        ).says.splitlines()
        assert "The property connection of the state is " in first
    assert dynamic.diff({**pair, "vm_ref": 5}, pair).changes == 2
    assert not simulator.calls
    for time_ in ODD_TIMES:  # no listing shows the pair, but that is no proof yet
        assert dynamic.read(f"{SQL01}/{NAS01}", **pair, vm_name=5, assigned_at=time_).id
