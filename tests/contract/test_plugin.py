"""What the engine sees of the plugin: its provider, single assignments and functions."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from contract.plugin import (
    ASSIGNMENT,
    DEFAULT_PROVIDER_URN,
    PROVIDER_URN,
    UNKNOWN,
    Engine,
    Failed,
    Plugin,
    entry,
    failure_of,
    pairs,
    secret,
    stack_configuration,
    urn,
)
from e2e.stack import wait_until
from google.protobuf.empty_pb2 import Empty
from marks import only_full
from pulumi.runtime.proto import provider_pb2
from sample import (
    DC01,
    DISK_E,
    FILE01,
    NAS01,
    NOWHERE,
    OFFSITE01,
    PASSWORD,
    ROTATING,
    SQL01,
    SQL02,
    TEST01,
)

from pulumi_vmbackup.catalog import gather
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.plugin.version import semantic_version
from pulumi_vmbackup.settings import environment_variable
from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

StartPlugin = Callable[..., Plugin]
PAIR = {"vmRef": SQL01, "backupLocationId": NAS01}
ID = f"{SQL01}/{NAS01}"
URN = urn(ASSIGNMENT)
TOKEN = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"


# The plugin itself


def test_it_tells_the_version_of_the_wheel_and_its_schema(unconfigured: Plugin) -> None:
    of_wheel = semantic_version(version("pulumi-vmbackup"))
    assert unconfigured.stub.GetPluginInfo(Empty()).version == of_wheel
    schema = unconfigured.stub.GetSchema(provider_pb2.GetSchemaRequest()).schema
    assert json.loads(schema)["version"] == of_wheel


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_session(
    number: int, simulator: Simulator, plugin: Plugin
) -> None:
    plugin.create(URN, PAIR)
    assert len(simulator.sessions) == 1
    assert plugin.end(number) == ""
    assert plugin.process.returncode == 0
    assert not simulator.sessions


def test_a_call_under_way_does_not_keep_it_from_ending(
    simulator: Simulator, plugin: Plugin
) -> None:
    plugin.create(URN, {**PAIR, "vmRef": SQL02})
    stall = Fault("stall", "POST /vms/backuplocations")
    simulator.faults.append(stall)
    with ThreadPoolExecutor(1) as threads:
        failed = threads.submit(failure_of, lambda: plugin.create(URN, PAIR))
        wait_until(lambda: stall.hits)
        assert plugin.end() == ""
        assert failed.result(5).code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert not simulator.sessions
    simulator.faults.clear()


def test_it_ends_when_its_engine_is_gone(
    simulator: Simulator,
    login: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as engine:
        plugin = Plugin(f"127.0.0.1:{engine.getsockname()[1]}")
        plugin.configure(login)
        plugin.check(URN, PAIR)
        plugin.create(URN, PAIR)
    assert plugin.ended() == ""
    assert not simulator.sessions
    assert list((tmp_path / "vmbackup").iterdir()) == []


def test_a_verbose_run_is_a_run_too(pulumi_engine: Engine, login: dict[str, object]) -> None:
    with pulumi_engine.serve() as address:
        plugin = Plugin("--logtostderr", "-v=9", "--tracing", "http://localhost:9411", address)
        plugin.configure(login)
        exclusive = {"assignments": {"DC01": entry(DC01)}, "exclusive": True}
        plugin.create(urn(f"{ASSIGNMENT}Set"), exclusive, preview=True)
        assert pulumi_engine.warnings == [
            "The set is exclusive, so `pulumi up` will un-assign DC01 from E:\\VMBackups."
        ]
        plugin.end()


def test_a_type_that_there_is_not_is_a_sentence(unconfigured: Plugin) -> None:
    failed = failure_of(lambda: unconfigured.check(urn("vmbackup:index:Assignment"), {}))
    assert failed.says == (
        "The package vmbackup has no resource 'vmbackup:index:Assignment': use "
        "'vmbackup:index:VmBackupLocationAssignment' or "
        "'vmbackup:index:VmBackupLocationAssignmentSet'."
    )


# The provider resource


def test_its_inputs_are_checked_and_its_secrets_marked(unconfigured: Plugin) -> None:
    given = {
        "password": "s3cret",
        "sessionToken": TOKEN,
        "serverPort": 36014,
        "timeoutSeconds": "2.5",
        "version": "0.1.0",
    }
    inputs, failures = unconfigured.check_config(given)
    assert failures == {}
    assert inputs == {**given, "password": secret("s3cret"), "sessionToken": secret(TOKEN)}
    assert unconfigured.check_config({"password": secret("s3cret")})[0] == {
        "password": secret("s3cret")
    }


@pytest.mark.parametrize(
    ("news", "key", "says"),
    [
        ({"baseURL": "x"}, "baseURL", "'baseURL' is not a setting of vmbackup: use 'baseUrl'."),
        (
            {"serverPort": 70000},
            "",
            "The value '70000' of the provider's input serverPort is not a port: use a number "
            "from 1 to 65535.",
        ),
        (
            {"parallelRequests": 2.5},
            "",
            "The value '2.5' of the provider's input parallelRequests is not a number of "
            "requests: use a number from 1 to 32.",
        ),
        (
            {"sessionToken": "not-a-token"},
            "",
            "The value of the provider's input sessionToken is not a session token: "
            "use the GUID that sessions/start returns.",
        ),
    ],
    ids=["unknown setting", "port", "requests", "secret"],
)
def test_a_setting_that_cannot_be_used_is_a_sentence(
    news: dict[str, Any], key: str, says: str, unconfigured: Plugin
) -> None:
    assert unconfigured.check_config(news)[1] == {key: says}


def test_what_is_wrong_in_the_stacks_configuration_is_said_of_the_configuration(
    start_plugin: StartPlugin,
) -> None:
    wrong = {"serverPort": "https"}
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(wrong))
    for news, of in ((wrong, DEFAULT_PROVIDER_URN), ({}, PROVIDER_URN)):
        assert plugin.check_config(news, of)[1] == {
            "": "The value 'https' of vmbackup:serverPort in the stack configuration is not a "
            "port: use a number from 1 to 65535."
        }


def test_settings_that_are_not_known_yet_pass_and_the_others_are_still_looked_at(
    unconfigured: Plugin,
) -> None:
    inputs, failures = unconfigured.check_config({"baseUrl": UNKNOWN, "password": UNKNOWN})
    assert inputs == {"baseUrl": UNKNOWN, "password": secret(UNKNOWN)}
    assert failures == {}
    assert unconfigured.check_config({"baseUrl": UNKNOWN, "pasword": "x"})[1].keys() == {"pasword"}


def test_settings_that_are_not_known_yet_are_never_sent(
    simulator: Simulator, unconfigured: Plugin, login: dict[str, object]
) -> None:
    unconfigured.configure({**login, "password": UNKNOWN})
    failed = failure_of(lambda: unconfigured.create(URN, PAIR))
    assert failed.says == "The provider's input password is not known yet."
    assert not simulator.calls


def test_the_dynamic_providers_connections_may_be_in_the_configuration_too(
    unconfigured: Plugin,
) -> None:
    connections = json.dumps({"site-b": {"username": "b"}})
    assert unconfigured.check_config({"connections": connections})[1] == {}


def test_another_setting_updates_the_provider_and_replaces_nothing(unconfigured: Plugin) -> None:
    olds = {"baseUrl": "https://a.contoso.com/api", "username": "a"}
    diff = unconfigured.diff_config(olds, {**olds, "username": "b", "domain": "CONTOSO"})
    assert diff.changes == diff.DIFF_SOME
    assert sorted(diff.diffs) == ["domain", "username"]
    assert list(diff.replaces) == []
    assert unconfigured.diff_config(olds, olds).changes == diff.DIFF_NONE
    secrets = unconfigured.diff_config({"password": secret("a")}, {"password": "a"})
    assert secrets.changes == diff.DIFF_NONE


WRONG = "wrong-one"


@pytest.mark.parametrize(
    ("inputs", "configuration", "variable", "of"),
    [
        (PASSWORD, WRONG, WRONG, PROVIDER_URN),
        (None, PASSWORD, WRONG, PROVIDER_URN),
        ("", None, PASSWORD, PROVIDER_URN),
        (WRONG, PASSWORD, WRONG, DEFAULT_PROVIDER_URN),
        (PASSWORD, None, WRONG, DEFAULT_PROVIDER_URN),
        (None, None, PASSWORD, DEFAULT_PROVIDER_URN),
        (PASSWORD, WRONG, WRONG, urn("pulumi:providers:vmbackup", "default-site")),
    ],
    ids=[
        "inputs",
        "configuration",
        "environment",
        "configuration of now",
        "configuration of the last up",
        "environment for the default",
        "an own one of such a name",
    ],
)
def test_a_setting_is_the_first_of_inputs_configuration_and_environment(
    inputs: str | None,
    configuration: str | None,
    variable: str,
    of: str,
    login: dict[str, object],
    start_plugin: StartPlugin,
) -> None:
    given = {key: value for key, value in login.items() if key != "password"}
    environment = {"VMBACKUP_PASSWORD": variable, "VMBACKUP_BASE_URL": str(login["baseUrl"])}
    if configuration is not None:
        environment["PULUMI_CONFIG"] = stack_configuration({**given, "password": configuration})
    plugin = start_plugin(**environment)
    plugin.configure({**given, "password": inputs}, of)
    assert plugin.create(URN, PAIR)[0] == ID


SERVER_B = "http://localhost:26013/api/rest"


@pytest.mark.parametrize(
    ("name", "has_configuration"),
    [
        ("default", True),
        ("default", False),
        ("default_site_b", True),
        ("default_1_2_3_b", True),
        ("default_0_1_0", True),
        ("site::default", False),
    ],
)
def test_a_provider_of_the_program_has_its_own_inputs_whatever_its_name(
    name: str, has_configuration: bool, login: dict[str, object], start_plugin: StartPlugin
) -> None:
    configuration = {"baseUrl": SERVER_B, "username": "a", "password": "of A"}
    plugin = start_plugin(
        PULUMI_CONFIG=stack_configuration(configuration if has_configuration else {})
    )
    of = urn("pulumi:providers:vmbackup", name)
    checked, failures = plugin.check_config({**login, "version": "0.1.0"}, of)
    assert failures == {}
    plugin.configure(checked, of)
    assert plugin.create(URN, PAIR)[0] == ID
    # `refresh` and `destroy` come without CheckConfig, and with what the state holds.
    another = start_plugin(PULUMI_CONFIG=stack_configuration(configuration))
    another.configure(checked, of)
    assert another.read(URN, ID)[0] == ID


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("default", {}),
        ("default_0_2_0_rc_1", {"version": "0.2.0-rc.1"}),
        ("default_0_1_0_x", {"version": "0.1.0", "pluginDownloadURL": "https://contoso.com"}),
    ],
)
def test_the_default_provider_is_known_by_its_inputs_and_follows_the_configuration(
    name: str, more: dict[str, str], login: dict[str, object], start_plugin: StartPlugin
) -> None:
    of = urn("pulumi:providers:vmbackup", name)
    was = {**login, "baseUrl": SERVER_B}
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(was))
    news = {key: str(value) for key, value in was.items()} | more
    checked, failures = plugin.check_config(news, of)
    assert failures == {}
    assert checked.keys() == news.keys()
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(login))
    plugin.configure(checked, of)
    assert plugin.create(URN, PAIR)[0] == ID


def test_what_tells_a_provider_from_the_default_one_is_no_difference(
    one_for_all: Plugin, start_plugin: StartPlugin
) -> None:
    of = urn("pulumi:providers:vmbackup", "default")
    given = {"baseUrl": SERVER_B}
    plugin = start_plugin(PULUMI_CONFIG="{}")
    checked, _ = plugin.check_config(given, of)
    assert checked != given
    assert plugin.check_config(checked, of) == (checked, {})
    for olds, news in ((given, checked), (checked, given), (checked, checked)):
        diff = one_for_all.diff_config(olds, news, of)
        assert (diff.changes, list(diff.diffs)) == (diff.DIFF_NONE, [])


# Another server than that of the unnamed settings gets nothing of it.


@pytest.mark.parametrize("where", ["configuration", "environment"])
@pytest.mark.parametrize(
    ("secrets", "given", "missing"),
    [
        ({"username": "Administrator", "password": PASSWORD}, {}, ["username", "password"]),
        ({"username": "a", "password": PASSWORD}, {"username": "Administrator"}, ["password"]),
        ({"username": "Administrator"}, {"password": PASSWORD}, ["username"]),
        ({"sessionToken": TOKEN}, {"username": "Administrator"}, ["password"]),
        ({"sessionToken": TOKEN}, {}, ["username", "password"]),
    ],
    ids=["account", "password", "username", "token with a user name", "token"],
)
def test_a_provider_of_another_server_needs_credentials_of_its_own(
    where: str,
    secrets: dict[str, str],
    given: dict[str, str],
    missing: list[str],
    base_url: str,
    simulator: Simulator,
    start_plugin: StartPlugin,
) -> None:
    unnamed = {"baseUrl": SERVER_B, **secrets}
    environment = (
        {"PULUMI_CONFIG": stack_configuration(unnamed)}
        if where == "configuration"
        else {environment_variable(key): value for key, value in unnamed.items()}
    )
    plugin = start_plugin(**environment)
    plugin.configure({"baseUrl": base_url, **given})
    failed = failure_of(lambda: plugin.create(URN, PAIR))
    also = ", and no password" if len(missing) == 2 else ""
    advice = " ".join(f"Give the provider 'site-b' its {key}." for key in missing)
    at = f"at provider 'site-b' ({base_url})"
    assert failed.says.endswith(f": No {missing[0]} for VM Backup {at} is known{also}. {advice}")
    assert not simulator.calls


def test_a_refused_login_of_a_provider_names_its_inputs(
    login: dict[str, object], start_plugin: StartPlugin
) -> None:
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration({"baseUrl": SERVER_B}))
    plugin.configure({**login, "username": r"CONTOSO\svc"})
    failed = failure_of(lambda: plugin.create(URN, PAIR))
    assert r"refused the login of CONTOSO\svc to LOCALHOST:36014" in failed.says
    assert failed.says.endswith(
        "Check username, password, domain, serverAddress and serverPort of the provider 'site-b'."
    )


def test_an_account_of_a_provider_wins_over_a_token_of_the_configuration(
    simulator: Simulator, login: dict[str, object], start_plugin: StartPlugin
) -> None:
    configuration = {"baseUrl": login["baseUrl"], "sessionToken": TOKEN}
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(configuration))
    plugin.configure(login)
    assert plugin.create(URN, PAIR)[0] == ID
    assert len(simulator.tokens) == 1


# A resource that moves to another provider


AT_A, AT_B = {"baseUrl": "http://localhost:36013/api/rest"}, {"baseUrl": SERVER_B}


@pytest.mark.parametrize(
    ("olds", "news", "is_replaced"),
    [
        (AT_A, AT_B, True),
        (AT_A, {"serverAddress": "VMB02"}, True),
        ({}, AT_B, True),
        (AT_B, {}, True),
        (AT_A, {}, False),
        (AT_B, {**AT_B, "username": "b", "timeoutSeconds": 3}, False),
        (AT_A, {"baseUrl": "http://127.0.0.1:36013/api"}, False),
        (AT_A, {"baseUrl": UNKNOWN}, False),
    ],
)
def test_a_resource_is_replaced_if_its_new_provider_leads_to_another_server(
    olds: dict[str, object], news: dict[str, object], is_replaced: bool, unconfigured: Plugin
) -> None:
    before = unconfigured.diff_config(olds, news)
    assert (
        list(before.replaces) == []
    )  # an address that changes in place is that of the same server
    unconfigured.configure(news)
    after = unconfigured.diff_config(olds, news)
    assert bool(after.replaces) is is_replaced
    assert (list(after.diffs), after.changes) == (list(before.diffs), before.changes)


def test_a_resource_may_move_to_the_default_provider_and_between_its_versions(
    start_plugin: StartPlugin,
) -> None:
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(AT_A))
    plugin.configure({**AT_A, "version": "0.1.0"}, DEFAULT_PROVIDER_URN)
    for olds, is_replaced in (
        ({**AT_A, "version": "0.1.0"}, False),
        ({**AT_B, "version": "0.1.0"}, True),  # of a provider of the program
        ({**AT_B, "version": "0.0.9"}, False),  # the default one: it has another address since
    ):
        news = {**AT_A, "version": "0.1.0"}
        diff = plugin.diff_config(olds, news, DEFAULT_PROVIDER_URN)
        assert bool(diff.replaces) is is_replaced, olds


# A project called vmbackup


def of_project(project: str, name: str) -> str:
    return f"urn:pulumi:test::{project}::pulumi:providers:vmbackup::{name}"


OWN_KEYS = {"offsitePath": "x", "list": '[1,{"a":null}]', "vms": "{}", "name": "a", "empty": ""}


def test_a_project_called_vmbackup_may_have_keys_of_its_own(start_plugin: StartPlugin) -> None:
    news = {"username": "a", **OWN_KEYS}
    plugin = start_plugin(PULUMI_CONFIG=json.dumps({**news, "version": "of the project"}))
    for name in ("default", "default_0_1_0"):
        assert plugin.check_config(news, of_project("vmbackup", name)) == (news, {})
        others = plugin.check_config(news, of_project("backup", name))[1]
        assert others.keys() == OWN_KEYS.keys()
    for name in ("site-b", "default"):
        explicit = {**news, "username": "b"}
        others = plugin.check_config(explicit, of_project("vmbackup", name))[1]
        assert others.keys() == OWN_KEYS.keys()


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("usrname", "username"),
        ("userName", "username"),
        ("passwrd", "password"),
        ("baseurl", "baseUrl"),
        ("base_url", "baseUrl"),
        ("inventryFile", "inventoryFile"),
    ],
)
def test_a_misspelt_setting_is_still_pointed_out_there(
    key: str, meant: str, start_plugin: StartPlugin
) -> None:
    news = {key: "x", "offsitePath": "x"}
    plugin = start_plugin(PULUMI_CONFIG=json.dumps(news))
    failures = plugin.check_config(news, of_project("vmbackup", "default_0_1_0"))[1]
    assert failures.keys() == {key}
    assert failures[key].startswith(f"{key!r} is not a setting of vmbackup: use '{meant}'")


# Started by hand, and attached by Pulumi


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Plugin]:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    plugin = Plugin()
    yield plugin
    plugin.end()


def test_one_that_is_attached_works_for_that_engine(
    by_hand: Plugin, login: dict[str, object], pulumi_engine: Engine, engine_address: str
) -> None:
    by_hand.attach(engine_address)
    by_hand.configure(login, DEFAULT_PROVIDER_URN)
    exclusive = {"assignments": {"DC01": entry(DC01)}, "exclusive": True}
    by_hand.create(urn(f"{ASSIGNMENT}Set"), exclusive, preview=True)
    assert len(pulumi_engine.warnings) == 1


def test_each_attach_begins_a_run_for_which_nothing_is_declared_yet(
    by_hand: Plugin, login: dict[str, object], simulator: Simulator, tmp_path: Path
) -> None:
    for _ in range(2):
        with Engine().serve() as address:
            by_hand.attach(address)
            by_hand.configure(login)
            by_hand.check(URN, PAIR)
            by_hand.attach(address)  # for another provider of the same run
            assert "remove one of them" in by_hand.check(urn(ASSIGNMENT, "b"), PAIR)[1][""]
            by_hand.create(URN, PAIR)
            by_hand.cancel()
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    with Engine().serve() as address:
        by_hand.attach(address)
        by_hand.configure(login)
        by_hand.delete(URN, ID, PAIR)
    assert not simulator.inventory.locations_of(SQL01)
    by_hand.end()
    assert by_hand.process.returncode == 0
    assert not simulator.sessions
    assert list((tmp_path / "home" / "vmbackup").iterdir()) == []


def test_a_password_that_was_refused_is_sent_once_more_in_the_next_run(
    by_hand: Plugin, login: dict[str, object], simulator: Simulator
) -> None:
    simulator.password = "another one"
    for logins in (1, 2):
        with Engine().serve() as address:
            by_hand.attach(address)
            by_hand.configure(login)
            for _ in range(2):
                assert "refused the login" in failure_of(lambda: by_hand.create(URN, PAIR)).says
            assert len(simulator.logins) == logins
            by_hand.cancel()


def test_it_outlives_an_engine_and_forgets_what_that_declared(
    by_hand: Plugin, login: dict[str, object], simulator: Simulator, tmp_path: Path
) -> None:
    with Engine().serve() as address:
        by_hand.attach(address)
        by_hand.configure(login)
        by_hand.check(URN, PAIR)
        by_hand.create(URN, PAIR)
    wait_until(lambda: not by_hand.check(urn(ASSIGNMENT, "b"), PAIR)[1])
    assert list((tmp_path / "home" / "vmbackup").iterdir()) == []
    assert not simulator.sessions
    failed = failure_of(lambda: by_hand.create(URN, PAIR))
    assert failed.says.endswith("The provider has not been configured.")
    assert by_hand.process.poll() is None


def test_it_serves_one_provider_at_a_time(by_hand: Plugin, login: dict[str, object]) -> None:
    with Engine().serve() as address:
        by_hand.attach(address)
        by_hand.configure(login, DEFAULT_PROVIDER_URN)
        by_hand.configure(login, DEFAULT_PROVIDER_URN)
        by_hand.attach(address)
        failed = failure_of(lambda: by_hand.configure(login, PROVIDER_URN))
    assert failed.says == (
        "A plugin that was started by hand serves one provider, and the program has "
        "'default_0_1_0' and 'site-b': run it without PULUMI_DEBUG_PROVIDERS, or remove one of the "
        "providers."
    )


def test_it_says_that_it_takes_no_handshake(by_hand: Plugin) -> None:
    failed = failure_of(lambda: by_hand.stub.Handshake(provider_pb2.ProviderHandshakeRequest()))
    assert failed.code == grpc.StatusCode.UNIMPLEMENTED
    assert by_hand.end() == ""


# The settings of a run


def test_it_says_that_it_previews_and_uses_the_settings_that_it_was_given_last(
    simulator: Simulator, unconfigured: Plugin, login: dict[str, object]
) -> None:
    assert unconfigured.configure({**login, "password": "wrong-one"}).supportsPreview
    failed = failure_of(lambda: unconfigured.create(URN, PAIR))
    assert "refused the login of Administrator" in failed.says
    assert (
        "--run-program" not in failed.says
    )  # which the dynamic provider needs, and the plugin not
    assert failure_of(lambda: unconfigured.create(URN, PAIR)) == failed
    assert len(simulator.calls) == 1
    unconfigured.configure({key: secret(str(value)) for key, value in login.items()})
    assert unconfigured.create(URN, PAIR)[0] == ID


# One assignment


def test_check_brings_ids_to_one_form_and_lets_unknowns_pass(unconfigured: Plugin) -> None:
    news = {"vmRef": f"{{{SQL01.upper()}}}", "backupLocationId": UNKNOWN}
    assert unconfigured.check(URN, news) == ({"vmRef": SQL01, "backupLocationId": UNKNOWN}, {})


def test_check_says_of_each_wrong_id_where_to_find_a_right_one(unconfigured: Plugin) -> None:
    _, failures = unconfigured.check(URN, {"vmRef": "SQL01"})
    assert failures.keys() == PAIR.keys()
    assert failures["vmRef"].startswith("'SQL01' is not a GUID; expected 32")
    assert failures["vmRef"].endswith(
        "Use the ref that getVirtualMachine finds or `vmbackup vms` shows."
    )
    assert failures["backupLocationId"].startswith("A GUID is missing.")


def test_the_same_pair_of_two_resources_names_both(unconfigured: Plugin) -> None:
    a, b = urn(ASSIGNMENT, "a"), urn(ASSIGNMENT, "b")
    assert unconfigured.check(b, PAIR)[1] == {}
    assert unconfigured.check(b, PAIR)[1] == {}
    assert unconfigured.check(a, {**PAIR, "vmRef": SQL01.upper()})[1] == {
        "": f"The resources {a} and {b} both assign VM {SQL01} to backup location {NAS01}: "
        "remove one of them."
    }


def test_of_many_checks_at_once_exactly_one_may_have_the_pair(unconfigured: Plugin) -> None:
    start = threading.Barrier(16)

    def check(number: int) -> bool:
        start.wait(20)
        return not unconfigured.check(urn(ASSIGNMENT, f"a{number}"), PAIR)[1]

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(check, range(16))) == 1


@pytest.mark.parametrize(
    ("news", "changed"),
    [
        (PAIR, []),
        ({**PAIR, "backupLocationId": OFFSITE01}, ["backupLocationId"]),
        ({"vmRef": SQL02, "backupLocationId": UNKNOWN}, ["vmRef", "backupLocationId"]),
    ],
    ids=["none", "another", "unknown"],
)
def test_another_id_is_a_replacement(
    news: dict[str, str], changed: list[str], one_for_all: Plugin
) -> None:
    diff = one_for_all.diff(URN, {**PAIR, "vmName": "SQL01", "kind": "primary"}, news)
    assert diff.changes is bool(changed)
    assert diff.replaces == changed
    assert diff.paths == dict.fromkeys(changed, "update_replace")


def test_a_preview_of_a_create_sends_nothing(simulator: Simulator, plugin: Plugin) -> None:
    id_, outputs = plugin.create(URN, PAIR, preview=True)
    assert id_ == ""
    assert outputs == {
        **PAIR,
        **dict.fromkeys(("vmName", "locationPath", "kind", "assignedAt"), UNKNOWN),
    }
    assert not simulator.calls


def test_an_assignment_is_created_read_and_deleted(simulator: Simulator, plugin: Plugin) -> None:
    id_, outputs = plugin.create(URN, PAIR)
    assert id_ == ID
    assert pairs(simulator, "POST") == [ID]
    assert pairs(simulator, "GET") == []
    assigned_at = datetime.fromisoformat(outputs["assignedAt"])
    assert abs(datetime.now(timezone.utc) - assigned_at) < timedelta(minutes=1)
    named = {"vmName": "SQL01", "locationPath": r"\\NAS01\VMBackups", "kind": "primary"}
    assert outputs == {**PAIR, **named, "assignedAt": outputs["assignedAt"]}
    assert plugin.read(URN, id_, outputs, PAIR) == (ID, PAIR, outputs)
    plugin.delete(URN, id_, outputs)
    assert pairs(simulator, "DELETE") == [ID]
    assert not simulator.inventory.locations_of(SQL01)
    assert plugin.read(URN, id_, outputs, PAIR) == ("", {}, {})
    assert len(simulator.tokens) == 1


def test_what_stands_already_is_adopted(simulator: Simulator, plugin: Plugin) -> None:
    simulator.behavior = Behavior(second_post="refuse")
    id_, outputs = plugin.create(URN, {"vmRef": DC01, "backupLocationId": DISK_E})
    assert id_ == f"{DC01}/{DISK_E}"
    assert outputs["vmName"] == "DC01"


def test_an_import_needs_the_id_alone(plugin: Plugin) -> None:
    id_, inputs, outputs = plugin.read(URN, f"{{{DC01.upper()}}}/{DISK_E}")
    assert id_ == f"{DC01}/{DISK_E}"
    assert inputs == {"vmRef": DC01, "backupLocationId": DISK_E}
    named = {"vmName": "DC01", "locationPath": r"E:\VMBackups", "kind": "primary"}
    assert outputs == {**inputs, **named}
    assert plugin.read(URN, f"{DC01}/{NAS01}")[0] == ""


@pytest.mark.parametrize("id_", ["DC01", DC01, f"{DC01}/", f"{DC01}/{DISK_E}/x", ""])
def test_an_id_of_another_form_is_a_sentence(id_: str, one_for_all: Plugin) -> None:
    assert failure_of(lambda: one_for_all.read(URN, id_)).says == (
        f"{id_!r} is not the id of an assignment: use <vmRef>/<backupLocationId>, two GUIDs as "
        "`vmbackup assignments --json` shows them."
    )


def test_what_was_assigned_just_now_may_be_missing_from_a_lagging_list(
    simulator: Simulator, unconfigured: Plugin, login: dict[str, object]
) -> None:
    unconfigured.configure({**login, "settleSeconds": 60})
    simulator.behavior = Behavior(lag_seconds=60)
    id_, outputs = unconfigured.create(URN, PAIR)
    assert unconfigured.read(URN, id_, outputs)[0] == ID
    long_ago = {**outputs, "assignedAt": "2024-01-01T00:00:00+00:00"}
    assert unconfigured.read(URN, id_, long_ago)[0] == ""


@pytest.mark.parametrize("kind", ["html", *only_full("error", "cut short")])
def test_no_definite_answer_is_never_gone(kind: Any, simulator: Simulator, plugin: Plugin) -> None:
    simulator.faults.append(Fault(kind, "GET /vms", times=None))
    failed = failure_of(lambda: plugin.read(URN, f"{DC01}/{DISK_E}"))
    assert failed.says.startswith(f"Could not read whether VM {DC01} is assigned to")
    assert failed.state is None


def test_an_error_is_a_sentence_without_traceback_or_secrets(
    simulator: Simulator, plugin: Plugin
) -> None:
    failed = failure_of(lambda: plugin.create(URN, {**PAIR, "vmRef": NOWHERE}))
    assert failed == Failed(
        f"Could not assign VM {NOWHERE} to backup location {NAS01}: the server says "
        '"InvalidParameter / The virtual machine was not found". VM Backup manages no VM with '
        "this ref: check the ref, or add the VM to VM Backup.",
        grpc.StatusCode.UNKNOWN,
    )
    assert plugin.end() == ""
    assert simulator.tokens[0] not in failed.says


def test_a_pair_that_is_still_declared_is_not_unassigned(
    simulator: Simulator, plugin: Plugin
) -> None:
    plugin.check(URN, {"vmRef": DC01, "backupLocationId": DISK_E})
    plugin.delete(urn(ASSIGNMENT, "of-another-name"), f"{DC01}/{DISK_E}", {})
    assert simulator.inventory.locations_of(DC01) == [DISK_E]
    assert not simulator.calls


def test_nor_by_another_process_of_the_run(
    simulator: Simulator, plugin: Plugin, start_plugin: StartPlugin, base_url: str
) -> None:
    other = start_plugin(VMBACKUP_BASE_URL=base_url)
    other.configure({})
    other.check(URN, {"vmRef": DC01, "backupLocationId": DISK_E})
    plugin.delete(URN, f"{DC01}/{DISK_E}", {})
    assert simulator.inventory.locations_of(DC01) == [DISK_E]
    other.end()
    plugin.delete(URN, f"{DC01}/{DISK_E}", {})
    assert not simulator.inventory.locations_of(DC01)


def test_many_at_once_share_a_session_and_four_connections(
    simulator: Simulator, plugin: Plugin
) -> None:
    simulator.answer_seconds = 0.05
    vms = (SQL01, SQL02, DC01, FILE01) * 4
    pairs_ = list(zip(vms, (NAS01, DISK_E, OFFSITE01, ROTATING) * 4, strict=True))
    with ThreadPoolExecutor(16) as threads:
        list(
            threads.map(
                lambda pair: plugin.create(URN, {"vmRef": pair[0], "backupLocationId": pair[1]}),
                pairs_,
            )
        )
    assert len(simulator.tokens) == 1
    assert simulator.connections <= 4


# Functions


def test_functions_answer_what_the_lookups_of_python_programs_do(
    simulator: Simulator, plugin: Plugin
) -> None:
    vms = plugin.invoke("getVirtualMachines", configured=False)["virtualMachines"]
    assert [(vm["ref"], vm["name"], vm["configured"]) for vm in vms] == [(TEST01, "TEST01", False)]
    vm = plugin.invoke("getVirtualMachine", name="sql01", host="HV-01")
    assert (vm["ref"], vm["host"]) == (SQL01, "HV-01")
    assert datetime.fromisoformat(vm["nextBackupTime"])
    assert "connection" not in vm
    offsite = {"id": OFFSITE01, "path": r"\\OFFSITE01\VMBackups", "kind": "offsite"}
    assert plugin.invoke("getBackupLocation", path=r"\\offsite01\vmbackups") == offsite
    assert plugin.invoke("getBackupLocations", primary=False)["backupLocations"][0] == offsite
    assert plugin.invoke("getBackupLocations", vmRef=DC01.upper(), offsite=None) == {
        "backupLocations": [{"id": DISK_E, "path": r"E:\VMBackups", "kind": "primary"}]
    }
    assert len(simulator.tokens) == 1


def test_functions_at_once_and_creates_ask_for_each_list_once_in_one_session(
    simulator: Simulator, plugin: Plugin
) -> None:
    simulator.behavior = Behavior(second_session="refuse")
    simulator.answer_seconds = 0.05
    with ThreadPoolExecutor(8) as threads:
        found = list(
            threads.map(lambda _: plugin.invoke("getVirtualMachine", name="SQL01"), range(8))
        )
    assert {vm["ref"] for vm in found} == {SQL01}
    plugin.create(URN, PAIR)  # which needs the lists for the names
    assert len([call for call in simulator.calls if call.method == "GET"]) == 3
    assert len(simulator.tokens) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        (
            "getVirtualMachine",
            {"name": "SQL1"},
            "There is no VM with name 'SQL1': did you mean 'SQL01' or 'SQL02'?",
        ),
        (
            "getBackupLocations",
            {"primary": "yes"},
            "primary of getBackupLocations is 'yes': give a boolean.",
        ),
        (
            "getVirtualMachines",
            {"configured": 1},
            "configured of getVirtualMachines is 1: give a ",
        ),
        ("getVirtualMachine", {"name": 7.5}, "name of getVirtualMachine is 7.5: give a string."),
        ("getBackupLocation", {"kind": True}, "kind of getBackupLocation is true: give a string."),
        ("getBackupLocations", {"vmRef": {}}, "vmRef of getBackupLocations is {}: give a string."),
        ("getBackupLocations", {"offsite": []}, "offsite of getBackupLocations is []: give a boo"),
        (
            "getVirtualMachine",
            {"vmName": "x"},
            "getVirtualMachine has no argument 'vmName': use 'name'.",
        ),
        (
            "getVms",
            {},
            "There is no function 'getVms': use getVirtualMachines, getVirtualMachine, "
            "getBackupLocations, getBackupLocation.",
        ),
    ],
    ids=str,
)
def test_a_function_that_cannot_answer_says_a_sentence(
    name: str, arguments: dict[str, Any], says: str, plugin: Plugin
) -> None:
    assert failure_of(lambda: plugin.invoke(name, **arguments)).says.startswith(says)


def test_a_preview_reads_the_snapshot_with_a_warning_where_an_update_fails(
    pulumi_engine: Engine, start_plugin: StartPlugin, client: Client, tmp_path: Path
) -> None:
    snapshot = tmp_path / "inventory.json"
    snapshot.write_text(gather(client).dump(), "utf-8")
    plugin = start_plugin()
    plugin.configure({"inventoryFile": str(snapshot)})
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(
            lambda _: plugin.invoke("getVirtualMachine", preview=True, name="SQL01"), range(4)
        )
        assert {vm["ref"] for vm in found} == {SQL01}
    assert len(pulumi_engine.warnings) == 1
    assert f"from the inventory file {snapshot}" in pulumi_engine.warnings[0]
    failed = failure_of(lambda: plugin.invoke("getVirtualMachine", name="SQL01"))
    assert "No username for VM Backup is known" in failed.says


def test_a_pair_that_is_still_declared_needs_no_settings_to_be_deleted(
    unconfigured: Plugin,
) -> None:
    unconfigured.check(URN, PAIR)
    unconfigured.delete(urn(ASSIGNMENT, "of-an-old-provider"), ID, PAIR)


def test_a_preview_that_can_read_the_snapshot_does_not_wait_for_a_busy_server(
    start_plugin: StartPlugin,
    login: dict[str, object],
    simulator: Simulator,
    client: Client,
    tmp_path: Path,
) -> None:
    snapshot = tmp_path / "inventory.json"
    snapshot.write_text(gather(client).dump(), "utf-8")
    client.close()
    simulator.console_connected = True
    plugin = start_plugin()
    plugin.configure({**login, "sessionWaitSeconds": 86400, "inventoryFile": str(snapshot)})
    assert plugin.invoke("getVirtualMachine", preview=True, name="SQL01")["ref"] == SQL01
