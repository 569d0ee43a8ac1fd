"""settings.py: where a setting comes from, and what each wrong value says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme

from pulumi_vmbackup import SettingsError
from pulumi_vmbackup.settings import (
    SECRET_SETTINGS,
    SETTINGS,
    Settings,
    environment_variable,
    for_programs,
    is_loopback,
    read_settings,
    to_configure,
)

TOKEN = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"

KEYS = {
    "apiVersion": "VMBACKUP_API_VERSION",
    "baseUrl": "VMBACKUP_BASE_URL",
    "sessionToken": "VMBACKUP_SESSION_TOKEN",
    "username": "VMBACKUP_USERNAME",
    "password": "VMBACKUP_PASSWORD",
    "domain": "VMBACKUP_DOMAIN",
    "serverAddress": "VMBACKUP_SERVER_ADDRESS",
    "serverPort": "VMBACKUP_SERVER_PORT",
    "caFile": "VMBACKUP_CA_FILE",
    "hostHeader": "VMBACKUP_HOST_HEADER",
    "timeoutSeconds": "VMBACKUP_TIMEOUT_SECONDS",
    "sessionWaitSeconds": "VMBACKUP_SESSION_WAIT_SECONDS",
    "settleSeconds": "VMBACKUP_SETTLE_SECONDS",
    "parallelRequests": "VMBACKUP_PARALLEL_REQUESTS",
    "inventoryFile": "VMBACKUP_INVENTORY_FILE",
    "allowMassRemoval": "VMBACKUP_ALLOW_MASS_REMOVAL",
}


def read(config: dict[str, object] | None = None, /, **environment: str) -> Settings:
    return read_settings((config or {}).get, environment)


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def test_nothing_set_gives_the_documented_defaults() -> None:
    assert read() == Settings(
        base_url="http://localhost:36013/api/rest",
        session_token=None,
        username=None,
        password=None,
        domain="",
        server_address="LOCALHOST",
        server_port=36014,
        ca_file=None,
        host_header="localhost:36013",
        timeout_seconds=30,
        session_wait_seconds=60,
        settle_seconds=30,
        parallel_requests=4,
        inventory_file=None,
        allow_mass_removal=False,
    )


@pytest.mark.parametrize(
    ("version", "base_url", "server_port"),
    [
        ("8", "http://localhost:35113/api", 35107),
        ("9.0", "http://localhost:36015/api", 36014),
        ("9.1", "http://localhost:36013/api/rest", 36014),
    ],
)
def test_the_api_version_chooses_base_url_and_server_port(
    version: str, base_url: str, server_port: int
) -> None:
    settings = read({"apiVersion": version})
    assert (settings.base_url, settings.server_port) == (base_url, server_port)


def test_a_number_in_yaml_is_a_version_too() -> None:
    assert read({"apiVersion": 8}).server_port == 35107


def test_each_setting_is_asked_for_by_its_key_and_its_variable() -> None:
    asked: list[str] = []

    def get_config(key: str) -> None:
        asked.append(key)

    read_settings(get_config, {})
    assert sorted(asked) == sorted(KEYS) == sorted(SETTINGS)
    assert {key: environment_variable(key) for key in KEYS} == KEYS


def test_all_settings_can_be_given_in_the_configuration_or_in_the_environment(
    ca_file: Path,
) -> None:
    texts: dict[str, object] = {
        "apiVersion": "9.0",
        "baseUrl": "https://127.0.0.1:8443/api/",
        "sessionToken": TOKEN,
        "username": "backup",
        "password": "s3cret",
        "domain": "CONTOSO",
        "serverAddress": "VMB01",
        "serverPort": "40000",
        "caFile": str(ca_file),
        "hostHeader": "localhost:1",
        "timeoutSeconds": "1.5",
        "sessionWaitSeconds": "0",
        "settleSeconds": "7",
        "parallelRequests": "32",
        "inventoryFile": "inventory.json",
        "allowMassRemoval": "true",
    }
    expected = Settings(
        api_version="9.0",
        base_url="https://127.0.0.1:8443/api",
        session_token=TOKEN,
        username="backup",
        password="s3cret",
        domain="CONTOSO",
        server_address="VMB01",
        server_port=40000,
        ca_file=str(ca_file),
        host_header="localhost:1",
        timeout_seconds=1.5,
        session_wait_seconds=0,
        settle_seconds=7,
        parallel_requests=32,
        inventory_file="inventory.json",
        allow_mass_removal=True,
    )
    assert texts.keys() == KEYS.keys()
    assert read(texts) == expected
    assert read(**{KEYS[key]: str(text) for key, text in texts.items()}) == expected


def test_configuration_wins_over_the_environment_and_empty_text_counts_as_unset() -> None:
    assert read({"username": "a"}, VMBACKUP_USERNAME="b").username == "a"
    assert read({"username": ""}, VMBACKUP_USERNAME="b").username == "b"
    assert read({"username": ""}, VMBACKUP_USERNAME="").username is None


@pytest.mark.parametrize(
    ("written", "means"),
    [("true", True), ("True", True), (True, True), ("FALSE", False), (False, False), ("", False)],
)
def test_a_switch_is_true_or_false_in_any_case(written: object, means: bool) -> None:
    assert read({"allowMassRemoval": written}).allow_mass_removal is means


@pytest.mark.parametrize(
    ("base_url", "host_header"),
    [
        ("http://127.0.0.1:36013/api/rest", "localhost:36013"),
        ("http://[::1]:36013/api/rest", "localhost:36013"),
        ("https://localhost/api", "localhost"),
        ("https://vmb01.contoso.com:8443/api", None),
    ],
)
def test_a_loopback_address_is_spoken_to_as_localhost(
    base_url: str, host_header: str | None
) -> None:
    assert read({"baseUrl": base_url}).host_header == host_header


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.contoso.com", False),
        ("127.0.0.1.contoso.com", False),
        ("", False),
        (None, False),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(host: str | None, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("apiVersion", "7", "is not a known API version: use 8, 9.0, 9.1"),
        ("username", "Administrator ", "begins or ends with a space or a quotation mark, which"),
        ("domain", '"CONTOSO"', "begins or ends with a space or a quotation mark"),
        ("serverAddress", " LOCALHOST", "begins or ends with a space or a quotation mark"),
        ("baseUrl", "localhost:36013", "is not a URL"),
        ("baseUrl", "ftp://localhost/api", "is not a URL"),
        ("baseUrl", "http://localhost:port/api", "is not a URL"),
        ("baseUrl", "http://localhost:0/api", "is not a URL"),
        ("baseUrl", "http://[::1/api", "is not a URL"),
        ("baseUrl", "http:///api", "is not a URL"),
        ("baseUrl", "http://local host/api", "is not a URL"),
        ("baseUrl", "https://vmb01..contoso.com/api", "is not a URL"),
        ("baseUrl", "https://*.contoso.com/api", "is not a URL"),
        ("baseUrl", f"https://{'a' * 64}.contoso.com/api", "is not a URL"),
        ("baseUrl", "http://vmb01.contoso.com/api", "unencrypted to another machine: use https"),
        ("serverPort", "https", "is not a port: use a number from 1 to 65535"),
        ("serverPort", "0", "is not a port"),
        ("serverPort", "65536", "is not a port"),
        ("serverPort", "²", "is not a port"),
        ("serverPort", "9" * 5000, "is not a port"),
        ("caFile", "no/such.pem", "is not a file (looked for "),
        ("caFile", "~no-such-user/ca.pem", "is not a file (looked for "),
        ("hostHeader", "localhost\r\nX: y", "is not a Host header"),
        ("timeoutSeconds", "0", "is not a number of seconds: use more than 0"),
        ("timeoutSeconds", "nan", "is not a number of seconds"),
        ("timeoutSeconds", "inf", "is not a number of seconds"),
        ("sessionWaitSeconds", "-1", "is not a number of seconds: use 0 or more"),
        ("settleSeconds", "half a minute", "is not a number of seconds"),
        ("parallelRequests", "0", "is not a number of requests: use a number from 1 to 32"),
        ("parallelRequests", "33", "is not a number of requests"),
        ("parallelRequests", "4.5", "is not a number of requests"),
        ("parallelRequests", "²", "is not a number of requests"),
        ("allowMassRemoval", "yes", "is not a choice: use true or false"),
        ("allowMassRemoval", "1", "is not a choice: use true or false"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_the_value_and_its_source(
    key: str, text: str, says: str
) -> None:
    for config, environment, source in (
        ({key: text}, {}, f"vmbackup:{key} in the stack configuration"),
        ({}, {KEYS[key]: text}, f"{KEYS[key]} in the environment"),
    ):
        with pytest.raises(SettingsError) as raised:
            read_settings(config.get, environment)
        message = str(raised.value)
        assert message.startswith(f"The value {text!r} of {source} ")
        assert says in message
        assert "\n" not in message


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "certificate.der"
    file.write_bytes(b"\x30\x82\x01\x00")
    with pytest.raises(SettingsError, match=r"certificate\.der.* holds no certificate"):
        read({"caFile": str(file)})


def test_wrong_secrets_are_not_repeated() -> None:
    with pytest.raises(SettingsError) as raised:
        read({"sessionToken": "not-a-token-but-secret"})
    assert str(raised.value) == (
        "The value of vmbackup:sessionToken in the stack configuration is not a session token: "
        "use the GUID that sessions/start returns."
    )
    with pytest.raises(SettingsError) as raised:
        read(VMBACKUP_BASE_URL="http://backup:s3cret@localhost:36013/api")
    assert "VMBACKUP_BASE_URL in the environment holds more than an address" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_secrets_are_not_shown_by_repr() -> None:
    shown = repr(read({"password": "s3cret", "sessionToken": TOKEN}))
    assert "s3cret" not in shown
    assert TOKEN not in shown


def test_the_ways_to_set_a_setting_keep_secrets_encrypted() -> None:
    assert for_programs(read().to_set("username")) == (
        "Set VMBACKUP_USERNAME or run `pulumi config set vmbackup:username`."
    )
    for key in SECRET_SETTINGS:
        assert to_configure(key) == f"run `pulumi config set --secret vmbackup:{key}`"


# Named connections

SITES: dict[str, object] = {
    "connections": {
        "site-a": {"baseUrl": "https://a.contoso.com/api", "username": "a"},
        "site-b": {"baseUrl": "https://b.contoso.com/api", "password": "b"},
    },
    "username": "of no connection",
    "domain": "CONTOSO",
}


def read_site(
    name: str, config: dict[str, object] | None = None, /, **environment: str
) -> Settings:
    return read_settings((SITES if config is None else config).get, environment, name)


def test_a_connection_has_settings_of_its_own_and_the_same_defaults() -> None:
    assert read_site("site-a") == Settings(
        base_url="https://a.contoso.com/api", connection="site-a", username="a"
    )


def test_the_provider_is_given_connections_as_a_text() -> None:
    text: dict[str, object] = {"connections": json.dumps(SITES["connections"])}
    assert read_site("site-a", text) == read_site("site-a")


def test_the_environment_of_a_connection_has_its_name() -> None:
    settings = read_site(
        "site-b", VMBACKUP_SITE_B_USERNAME="b", VMBACKUP_USERNAME="other", VMBACKUP_PASSWORD="other"
    )
    assert (settings.username, settings.password) == ("b", "b")
    alone = read_site("site-c", {}, VMBACKUP_SITE_C_BASE_URL="https://c.contoso.com/api")
    assert alone.base_url == "https://c.contoso.com/api"


def test_an_unknown_connection_lists_those_there_are() -> None:
    with pytest.raises(SettingsError) as raised:
        read_site("site-x")
    assert str(raised.value) == (
        "There is no connection 'site-x' in vmbackup:connections of the stack configuration (there "
        "are: 'site-a', 'site-b'), nor a variable VMBACKUP_SITE_X_... in the environment: correct "
        "the name, or run `pulumi config set --path vmbackup:connections.site-x.baseUrl`."
    )
    with pytest.raises(SettingsError, match=r"there are: none"):
        read_site("site-x", {})


@pytest.mark.parametrize(
    ("connections", "says"),
    [
        (
            "site-a",
            "is not an object: give it one object for each name, as `pulumi config set --path",
        ),
        (["site-a"], "is not an object"),
        (
            {"site-a": "https://a.contoso.com"},
            "'site-a' of vmbackup:connections .* is not an object",
        ),
        (
            {"site-a": {"baseURL": "x"}},
            r"site-a\.baseURL of vmbackup:connections .* is not a setting: use 'baseUrl'\.",
        ),
        (
            {"site-a": {}, "site_A": {}},
            "'site-a' and 'site_A' of .* share the environment variables VMBACKUP_SITE_A_\\.\\.\\.",
        ),
    ],
    ids=str,
)
def test_connections_that_are_none_are_a_sentence(connections: object, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        read_site("site-a", {"connections": connections})
    assert "\n" not in str(raised.value)


def test_a_wrong_value_of_a_connection_names_the_connection() -> None:
    config: dict[str, object] = {"connections": {"site-a": {"serverPort": "https"}}}
    with pytest.raises(SettingsError) as raised:
        read_site("site-a", config)
    assert "'https' of vmbackup:connections.site-a.serverPort in the stack" in str(raised.value)


def test_the_ways_to_set_a_setting_of_a_connection_are_its_own() -> None:
    settings = read_site("site-b")
    assert settings.name_of("caFile") == "vmbackup:connections.site-b.caFile"
    assert for_programs(settings.to_set("password")) == (
        "Set VMBACKUP_SITE_B_PASSWORD or run `pulumi config set --secret --path "
        "vmbackup:connections.site-b.password`."
    )


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        ("site b", 'run `pulumi config set --path "vmbackup:connections.site b.domain"`'),
        (
            "b.contoso.com",
            "run `pulumi config set --path` with "
            'vmbackup:connections["b.contoso.com"].domain, quoted for your shell',
        ),
    ],
)
def test_a_name_in_a_command_is_quoted_as_each_shell_reads_it(connection: str, says: str) -> None:
    assert to_configure("domain", connection) == says


def test_the_readmes_table_has_a_row_for_each_setting_with_its_default() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    for key, setting in SETTINGS.items():
        secret = " (secret)" if setting.is_secret else ""
        row = f"| `vmbackup:{key}`{secret} | `{environment_variable(key)}` | "
        assert readme.count(row) == 1, row
        default = readme.partition(row)[2].replace("`", "")
        assert default.startswith(setting.default or "none"), row
    assert readme.count("\n| `vmbackup:") == len(SETTINGS)
