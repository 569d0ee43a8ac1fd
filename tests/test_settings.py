"""settings.py: where a setting comes from, and what each wrong value says."""

from __future__ import annotations

import json
from dataclasses import replace
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
    provider_server,
    read_provider_settings,
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


# Accounts


@pytest.mark.parametrize(
    ("username", "user", "domain"),
    [
        (r"CONTOSO\svc", "svc", "CONTOSO"),
        ("svc@contoso.com", "svc", "contoso.com"),
        ("first@last@contoso.com", "first@last", "contoso.com"),
        (r".\svc", "svc", ""),
        (r"CONTOSO\svc@backup", "svc@backup", "CONTOSO"),
        ("svc", "svc", ""),
    ],
)
def test_a_user_name_may_hold_its_domain(username: str, user: str, domain: str) -> None:
    settings = read({"username": username})
    assert (settings.username, settings.domain) == (user, domain)
    assert settings.account == (f"{domain}\\{user}" if domain else user)
    assert read(VMBACKUP_USERNAME=username) == settings
    assert read_settings(_no, {}, options={"username": username}) == settings
    of_connection = read_site("x", {"connections": {"x": {"username": username}}})
    assert of_connection == replace(settings, connection="x")
    of_provider = read_provider_settings(_no, {}, "p", {"username": username})
    assert (of_provider.username, of_provider.domain) == (user, domain)


@pytest.mark.parametrize(
    ("username", "domain", "sent"),
    [
        (r"CONTOSO\svc", "contoso", "contoso"),
        ("svc@Contoso.com", "contoso.com", "contoso.com"),
        (r".\svc", ".", ""),
        (r".\svc", "", ""),
        ("svc", "CONTOSO", "CONTOSO"),
        ("svc", ".", "."),
    ],
)
def test_the_same_domain_may_be_set_as_well(username: str, domain: str, sent: str) -> None:
    settings = read({"username": username}, VMBACKUP_DOMAIN=domain)
    assert (settings.username, settings.domain) == ("svc", sent)


@pytest.mark.parametrize(
    ("username", "domain", "names"),
    [
        (r"CONTOSO\svc", "FABRIKAM", "the domain 'CONTOSO'"),
        ("svc@contoso.com", "CONTOSO", "the domain 'contoso.com'"),
        (r".\svc", "CONTOSO", "no domain"),
        (r"CONTOSO\svc", ".", "the domain 'CONTOSO'"),
    ],
)
def test_two_domains_name_both_settings(username: str, domain: str, names: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read({"username": username}, VMBACKUP_DOMAIN=domain)
    assert str(raised.value) == (
        f"The value '{username}' of vmbackup:username in the stack configuration names {names}, "
        f"and the value of VMBACKUP_DOMAIN in the environment is '{domain}': remove one of the two "
        "domains."
    )


@pytest.mark.parametrize("username", ["CONTOSO\\", r"\svc", "@x", "svc@", "\\", "@", r"A\B\svc"])
def test_half_an_account_is_an_error(username: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read({"username": username})
    assert str(raised.value) == (
        f"The value '{username}' of vmbackup:username in the stack configuration is not an "
        r"account: use one like svc, CONTOSO\svc or svc@contoso.com."
    )


# Provider resources

UNNAMED: dict[str, object] = {
    "baseUrl": "http://localhost:36013/api/rest",
    "apiVersion": "9.0",
    "username": "Administrator",
    "password": "of A",
    "domain": "A",
    "sessionToken": TOKEN,
    "serverPort": "1",
    "hostHeader": "a",
    "inventoryFile": "a.json",
    "caFile": "no/such.pem",  # a server that the provider has nothing to do with
    "timeoutSeconds": "1",
    "sessionWaitSeconds": "2",
    "settleSeconds": "3",
    "parallelRequests": "5",
    "allowMassRemoval": "true",
}
OF_NO_SERVER = {
    "api_version": "9.0",
    "timeout_seconds": 1,
    "session_wait_seconds": 2,
    "settle_seconds": 3,
    "parallel_requests": 5,
    "allow_mass_removal": True,
}


def in_environment(config: dict[str, object]) -> dict[str, str]:
    return {KEYS[key]: str(value) for key, value in config.items()}


def _no(_key: str) -> None:
    return None


def read_provider(
    inputs: dict[str, str], config: dict[str, object], /, **environment: str
) -> Settings:
    return read_provider_settings(config.get, environment, "site-b", inputs)


@pytest.mark.parametrize("where", ["configuration", "environment"])
@pytest.mark.parametrize(
    ("inputs", "base_url", "server_address"),
    [
        ({"baseUrl": "http://localhost:46013/api/rest"}, "http://localhost:46013/api/rest", "A"),
        ({"baseUrl": "https://vmb.contoso.com/api"}, "https://vmb.contoso.com/api", "A"),
        ({"serverAddress": "VMB02"}, "http://localhost:36013/api/rest", "A"),
        ({"apiVersion": "8"}, "http://localhost:35113/api", ""),
    ],
    ids=["another port", "another host", "another server behind it", "another version"],
)
def test_a_provider_of_another_server_takes_nothing_of_the_unnamed_one(
    where: str, inputs: dict[str, str], base_url: str, server_address: str
) -> None:
    unnamed = {**UNNAMED, "serverAddress": server_address or "LOCALHOST"}
    if not server_address:
        del unnamed["baseUrl"]  # which comes from the version
    config, environment = (
        (unnamed, {}) if where == "configuration" else ({}, in_environment(unnamed))
    )
    settings = read_provider(inputs, config, **environment)
    expected = {
        **OF_NO_SERVER,
        "base_url": base_url,
        "api_version": inputs.get("apiVersion", "9.0"),
        "server_address": inputs.get("serverAddress", "LOCALHOST"),
        "server_port": 35107 if "apiVersion" in inputs else 36014,
        "host_header": f"localhost:{base_url.split(':')[2][:5]}"
        if "localhost" in base_url
        else None,
        "provider": "site-b",
    }
    assert settings == Settings(**expected)  # type: ignore[arg-type]
    assert settings.missing_credentials == ["username", "password"]
    assert settings.described == f" at provider 'site-b' ({base_url})"


def test_a_provider_of_the_same_server_takes_what_it_is_not_given() -> None:
    unnamed = {key: value for key, value in UNNAMED.items() if key != "caFile"}
    for inputs in (
        {},
        {"timeoutSeconds": "9"},
        {"baseUrl": "http://127.0.0.1:36013/api"},
        {"serverAddress": "localhost"},
    ):
        settings = read_provider(inputs, unnamed)
        assert (settings.username, settings.password) == ("Administrator", "of A")
        assert settings.session_token == TOKEN
        assert settings.timeout_seconds == float(inputs.get("timeoutSeconds", 1))
        assert settings.is_inherited
        assert settings.described == ""


@pytest.mark.parametrize("given", [{"username": "x"}, {"password": "of x"}])
def test_an_account_of_a_provider_wins_over_a_token_that_is_not_its_own(
    given: dict[str, str],
) -> None:
    config: dict[str, object] = {"sessionToken": TOKEN, "username": "a", "password": "of a"}
    assert read_provider(given, config).session_token is None
    assert read_provider(given, {}, **in_environment(config)).session_token is None
    assert read_provider({**given, "sessionToken": TOKEN}, config).session_token == TOKEN


def test_what_is_wrong_with_the_unnamed_server_does_not_concern_another_one() -> None:
    config: dict[str, object] = {"baseUrl": "not a URL", "serverPort": "https"}
    inputs = {"baseUrl": "http://localhost:46013/api/rest"}
    assert read_provider(inputs, config).base_url == inputs["baseUrl"]
    with pytest.raises(SettingsError, match="vmbackup:baseUrl in the stack configuration"):
        read_provider({}, config)


def test_the_advice_for_a_provider_names_its_inputs_and_what_else_would_help() -> None:
    other = read_provider({"baseUrl": "http://localhost:46013/api/rest"}, {})
    assert for_programs(other.to_set("password")) == "Give the provider 'site-b' its password."
    assert for_programs(other.to_set("sessionToken", "another one")) == (
        "Set sessionToken of the provider 'site-b', to another one."
    )
    assert for_programs(other.to_set("timeoutSeconds", purpose="To wait longer")) == (
        "To wait longer, give the provider 'site-b' its timeoutSeconds, set "
        "VMBACKUP_TIMEOUT_SECONDS or run `pulumi config set vmbackup:timeoutSeconds`."
    )
    assert for_programs(other.to_check("username", "password", "domain")) == (
        "Check username, password and domain of the provider 'site-b'."
    )
    assert other.name_of("sessionToken") == "sessionToken of the provider 'site-b'"
    same = read_provider({}, {})
    assert for_programs(same.to_set("password")) == (
        "Give the provider 'site-b' its password, set VMBACKUP_PASSWORD or run "
        "`pulumi config set --secret vmbackup:password`."
    )


def test_the_server_of_a_provider_is_that_of_its_settings() -> None:
    config: dict[str, object] = {"serverAddress": "VMB01"}
    servers: dict[str, dict[str, str]] = {
        "localhost:36013/vmb01": {},
        "localhost:46013": {"baseUrl": "http://localhost:46013/api"},
        "localhost:36013/vmb02": {"serverAddress": "VMB02"},
        "localhost:35113/vmb03": {"apiVersion": "8", "serverAddress": "VMB03"},
    }
    for server, inputs in servers.items():
        assert provider_server(config.get, {}, inputs) == server
        assert read_provider(inputs, config).server == server


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


@pytest.mark.parametrize("where", ["configuration", "environment"])
def test_a_connection_takes_nothing_of_the_unnamed_settings(where: str) -> None:
    site: dict[str, object] = {"site-b": {"baseUrl": "http://localhost:46013/api/rest"}}
    is_configured = where == "configuration"
    config = {"connections": site, **(UNNAMED if is_configured else {})}
    environment = {} if is_configured else in_environment(UNNAMED)
    settings = read_site("site-b", config, **environment)
    assert settings == Settings(
        base_url="http://localhost:46013/api/rest",
        host_header="localhost:46013",
        connection="site-b",
    )
    assert settings.missing_credentials == ["username", "password"]
    assert settings.described == " at connection 'site-b' (http://localhost:46013/api/rest)"


def test_a_connection_that_was_removed_does_not_lead_to_the_default_address() -> None:
    left = {"VMBACKUP_SITE_X_USERNAME": "x", "VMBACKUP_SITE_X_PASSWORD": "x"}
    with pytest.raises(SettingsError, match="There is no connection 'site-x'"):
        read_site("site-x", **left)
    options = {"baseUrl": "http://localhost:46013/api/rest"}
    assert read_settings(SITES.get, left, "site-x", options).base_url == options["baseUrl"]


def test_an_unknown_connection_lists_those_there_are() -> None:
    with pytest.raises(SettingsError) as raised:
        read_site("site-x")
    assert str(raised.value) == (
        "There is no connection 'site-x' in vmbackup:connections of the stack configuration (there "
        "are: 'site-a', 'site-b'), nor a variable VMBACKUP_SITE_X_BASE_URL in the environment: "
        "correct the name, or run `pulumi config set --path vmbackup:connections.site-x.baseUrl`."
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


def test_the_reference_has_a_row_for_each_setting_with_its_default() -> None:
    page = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
    text = page.read_text("utf-8")
    for key, setting in SETTINGS.items():
        secret = " (secret)" if setting.is_secret else ""
        row = f"| `vmbackup:{key}`{secret}<br>`{environment_variable(key)}` | "
        assert text.count(row) == 1, row
        rest = text.partition(row)[2].replace("`", "")
        expected = f"{setting.default or 'none'} | {setting.description}."
        assert rest.startswith(expected.replace("`", "")), row
    assert text.count("\n| `vmbackup:") == len(SETTINGS)
