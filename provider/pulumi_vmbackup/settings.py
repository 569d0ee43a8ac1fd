"""Where a setting comes from, and its default.

The fields of :class:`Settings` are the one table of settings. The reader of settings, the options
of the command, the schema of the plugin and its ``Provider`` are made from it. To add a setting,
add a field there, and run `make docs`.

A setting comes from the stack configuration (``vmbackup:username``), else from the environment
(``VMBACKUP_USERNAME``), else it has its default. Empty text counts as not set.

A named connection has its own settings: ``vmbackup:connections.site-b.username``, else
``VMBACKUP_SITE_B_USERNAME``, else the same defaults. It takes nothing from the unnamed connection,
so that no password goes to another server.

A ``Provider`` resource has inputs, which win over the unnamed settings. If they lead to another
server, the provider takes nothing from the unnamed settings that belongs to a server.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from .certificates import trusting
from .errors import ArgumentError, CheckSettings, SetSetting, SettingsError, quoted
from .files import path_of, reason_of
from .models import normalize_guid


class _Version(NamedTuple):
    base_url: str
    server_port: int
    service: str | None  # the API's own Windows service


# Base URLs: documented. Server ports and services: seen in public clients.
VERSIONS = {
    "8": _Version("http://localhost:35113/api", 35107, "Altaro VM Backup API Service"),
    "9.0": _Version("http://localhost:36015/api", 36014, "Hornetsecurity VM Backup API Service"),
    "9.1": _Version("http://localhost:36013/api/rest", 36014, None),
}
NEWEST_VERSION = "9.1"


# How the text of a setting is checked


@dataclass(frozen=True)
class _Value:
    """A setting's text, and where it comes from."""

    text: str = field(repr=False)
    source: str
    is_secret: bool

    def error(self, problem: str) -> SettingsError:
        value = "" if self.is_secret else f" {quoted(self.text)}"
        return SettingsError(f"The value{value} of {self.source} {problem}.")


def _text(value: _Value) -> str:
    return value.text


def _name(value: _Value) -> str:
    # No account, domain or host has these in its name.
    if value.text.strip(' "') != value.text:
        raise value.error(
            "begins or ends with a space or a quotation mark, which `set` in cmd does not remove: "
            "write it without"
        )
    return value.text


def _version(value: _Value) -> str:
    if value.text not in VERSIONS:
        raise value.error(
            f"is not a known API version: use {', '.join(VERSIONS)} "
            f"({NEWEST_VERSION} also for everything later), in quotes in a YAML file"
        )
    return value.text


def _base_url(value: _Value) -> str:
    if set(value.text) & set("@?#"):
        # The text may hold a password, so the message does not repeat it.
        raise SettingsError(
            f"The value of {value.source} holds more than an address: use a URL without a user, "
            "a query or a fragment, like http://localhost:36013/api/rest."
        )
    try:
        url = urlsplit(value.text)
        is_url = url.scheme in ("http", "https") and _is_host(url.hostname) and url.port != 0
    except ValueError:  # a port that is not a number, or an unclosed bracket
        is_url = False
    if not is_url or not value.text.isprintable() or " " in value.text:
        raise value.error("is not a URL: use one like http://localhost:36013/api/rest")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise value.error(
            "would send the password unencrypted to another machine: use https, or a tunnel "
            "(`ssh -L 36013:localhost:36013 ...`) and http://localhost:36013/api/rest"
        )
    return value.text.rstrip("/")


def _is_host(name: str | None) -> bool:
    if not name:
        return False
    if ":" in name:
        return True  # an IPv6 address, which urlsplit has checked
    return len(name) < 254 and all(
        re.fullmatch(r"[\w-]{1,63}", label) for label in name.removesuffix(".").split(".")
    )


def _session_token(value: _Value) -> str:
    try:
        normalize_guid(value.text)
    except ArgumentError:
        raise value.error(
            "is not a session token: use the GUID that sessions/start returns"
        ) from None
    return value.text.strip("{}")


def _port(value: _Value) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value.text) or not 1 <= int(value.text) <= 65535:
        raise value.error("is not a port: use a number from 1 to 65535")
    return int(value.text)


def _parallel_requests(value: _Value) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", value.text) or not 1 <= int(value.text) <= 32:
        raise value.error("is not a number of requests: use a number from 1 to 32")
    return int(value.text)


def _ca_file(value: _Value) -> str:
    path = path_of(value.text)
    give = "give the path of the file that holds the certificate to trust"
    if re.search(r"%\w+%|\$", value.text):
        give += "; variables in it are not replaced, only ~ at its beginning"
    try:
        if path.is_dir():
            raise value.error(f"is a folder ({path.absolute()}): {give}")
        trusting(str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise value.error(f"is not a file (looked for {path.absolute()}): {give}") from None
    except OSError as error:
        raise value.error(f"cannot be read ({reason_of(error, path)}): {give}") from None
    except ValueError as error:
        raise value.error(str(error)) from None
    return str(path)


def _host_header(value: _Value) -> str:
    if not value.text.isascii() or not value.text.isprintable() or set(value.text) & set(" /\\@"):
        raise value.error("is not a Host header: use one like localhost:36013")
    return value.text


def _switch(value: _Value) -> bool:
    if value.text.lower() not in ("true", "false"):
        raise value.error("is not a choice: use true or false")
    return value.text.lower() == "true"


def _seconds(*, minimum: float) -> Callable[[_Value], float]:
    def check(value: _Value) -> float:
        try:
            number = float(value.text)
        except ValueError:
            number = math.nan
        if not minimum <= number <= 86400:
            at_least = "0 or more" if minimum == 0 else "more than 0"
            raise value.error(f"is not a number of seconds: use {at_least}, and at most 86400")
        return number

    return check


# The table


@dataclass(frozen=True)
class Setting:
    """One row of the table of settings.

    Attributes:
        name: its name in Python, such as ``api_version``.
        key: its name in the stack configuration and in other languages, such as ``apiVersion``.
        type: its type in the schema.
        description: what it is, as a sentence without a full stop.
        default: the default, in words for people; empty for none.
        is_secret: whether it is never shown.
        metavar: what the option of the command takes, such as ``URL``; None if there is no option.
        is_of_server: whether it belongs to one server, so that a provider of another server does
            not take it from the unnamed settings. The address itself does not count.
        check: turns the text into the setting's value, or raises SettingsError.
    """

    name: str
    key: str
    type: Literal["string", "number", "boolean"]
    description: str
    default: str
    is_secret: bool
    metavar: str | None
    is_of_server: bool
    check: Callable[[_Value], object]


def _setting(
    value: object,
    check: Callable[[_Value], object],
    description: str,
    *,
    default: str = "",
    metavar: str | None = None,
    is_secret: bool = False,
    is_of_server: bool = False,
) -> Any:
    """A field of Settings that people can set; see :class:`Setting` for the arguments."""
    row = {
        "check": check,
        "description": description,
        "default": default or ("" if value in (None, "") else f"{value}"),
        "metavar": metavar,
        "is_secret": is_secret,
        "is_of_server": is_of_server,
    }
    return field(default=value, repr=not is_secret, metadata=row)


_BY_VERSION = "by version"


@dataclass(frozen=True)
class Settings:
    """All settings of one connection; made by :func:`read_settings`.

    Attributes:
        connection: the name of the connection; None for the unnamed one.
        provider: the name of the ``Provider`` resource; None for Pulumi's default provider and for
            programs without the plugin.
        is_inherited: whether that provider may also take what belongs to a server, such as the
            password, from the unnamed settings: it leads to the same server.
    """

    api_version: str = _setting(
        NEWEST_VERSION,
        _version,
        "The version of the API: 8, 9.0 or 9.1. Use 9.1 for later versions too. It sets the "
        "default base URL and server port",
        metavar="VERSION",
    )
    base_url: str = _setting(
        VERSIONS[NEWEST_VERSION].base_url,
        _base_url,
        "Where the API answers, such as http://localhost:36013/api/rest",
        default=_BY_VERSION,
        metavar="URL",
    )
    username: str | None = _setting(
        None,
        _name,
        "The Windows account that starts a session",
        metavar="NAME",
        is_of_server=True,
    )
    password: str | None = _setting(
        None,
        _text,
        "The password of that account",
        is_secret=True,
        is_of_server=True,
    )
    domain: str = _setting(
        "",
        _name,
        "The domain of that account",
        metavar="NAME",
        is_of_server=True,
    )
    session_token: str | None = _setting(
        None,
        _session_token,
        "The token (a GUID) of a session that another program starts and ends",
        is_secret=True,
        is_of_server=True,
    )
    server_address: str = _setting(
        "LOCALHOST",
        _name,
        "The VM Backup server that the API logs in to",
        metavar="HOST",
        is_of_server=True,
    )
    server_port: int = _setting(
        VERSIONS[NEWEST_VERSION].server_port,
        _port,
        "The port of that server",
        default=_BY_VERSION,
        metavar="PORT",
        is_of_server=True,
    )
    ca_file: str | None = _setting(
        None,
        _ca_file,
        "The file with the certificate to trust, PEM or DER",
        default="the system's trust",
        metavar="FILE",
        is_of_server=True,
    )
    host_header: str | None = _setting(
        None,
        _host_header,
        "The Host header to send",
        default="localhost:<port> for a loopback address",
        metavar="HOST",
        is_of_server=True,
    )
    timeout_seconds: float = _setting(
        30,
        _seconds(minimum=0.001),
        "How many seconds to wait until an answer begins, and again until it is complete",
        metavar="N",
    )
    session_wait_seconds: float = _setting(
        60,
        _seconds(minimum=0),
        "How many seconds to wait while another session uses the API, such as the Management "
        "Console's",
        metavar="N",
    )
    settle_seconds: float = _setting(
        30,
        _seconds(minimum=0),
        "For how many seconds the server's lists may lack a new assignment",
    )
    parallel_requests: int = _setting(
        4,
        _parallel_requests,
        "How many HTTP calls may be under way at a time, from 1 to 32",
    )
    inventory_file: str | None = _setting(
        None,
        _text,
        "The snapshot that `vmbackup snapshot` wrote, for previews that cannot reach the server",
        is_of_server=True,
    )
    allow_mass_removal: bool = _setting(
        False,
        _switch,
        "Whether an update may un-assign many pairs at once (more than ten, and more than half), "
        "or a VM that the server does not list",
        default="false",
    )
    connection: str | None = None
    provider: str | None = None
    is_inherited: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the API is reached through a loopback address of this machine."""
        return is_loopback(urlsplit(self.base_url).hostname)

    @property
    def server(self) -> str:
        """The server that these settings lead to; the same for each way to write its address.

        Two connections with the same text lead to the same server. It has no spaces.
        """
        url = urlsplit(self.base_url)
        host = "localhost" if self.is_local else (url.hostname or "").removesuffix(".")
        port = url.port or (443 if url.scheme == "https" else 80)
        address = self.server_address.casefold()
        behind = "" if is_loopback(address) else f"/{address}"
        return quote(f"{host}:{port}{behind}", safe="/:")

    @property
    def service(self) -> str:
        """The Windows services that the API needs, as a part of a sentence."""
        name = VERSIONS[self.api_version].service
        return f'the Windows service "{name}"' if name else "the Windows services of VM Backup"

    @property
    def to_start_service(self) -> str:
        """What to do on the VM Backup machine if nothing listens there, as a part of a sentence."""
        if VERSIONS[self.api_version].service:
            return f"start {self.service} (it is off by default)"
        return (
            f"start {self.service} (before V9.1, the API is a service of its own, which is off by "
            "default)"
        )

    @property
    def has_credentials(self) -> bool:
        """Whether there is a session token, or a user name and a password."""
        return not self.missing_credentials

    @property
    def missing_credentials(self) -> list[str]:
        """Which settings a session needs and are not set: of ``username`` and ``password``."""
        if self.session_token:
            return []
        given = {"username": self.username, "password": self.password}
        return [key for key, value in given.items() if not value]

    @property
    def described(self) -> str:
        """Which of several servers this is, to follow ``VM Backup`` in a sentence.

        Such as `` at connection 'site-b' (http://localhost:46013/api/rest)``, with a space in
        front; empty for the server of the unnamed settings.
        """
        if self.connection:
            return f" at connection {self.connection!r} ({self.base_url})"
        is_other = self.provider is not None and not self.is_inherited
        return f" at provider {self.provider!r} ({self.base_url})" if is_other else ""

    @property
    def account(self) -> str:
        """The account as Windows writes it, with its domain if it has one."""
        return f"{self.domain}\\{self.username}" if self.domain else f"{self.username}"

    def name_of(self, key: str) -> str:
        """What a setting of this connection or provider is called."""
        if self.provider is not None:
            return f"{key} of the provider {self.provider!r}"
        return config_name(key, self.connection)

    def to_set(self, key: str, value: str = "", *, purpose: str = "") -> SetSetting:
        """The advice to set a setting of this connection or provider."""
        is_inherited = self.provider is not None and (
            self.is_inherited or not SETTINGS[key].is_of_server
        )
        return SetSetting(key, self.connection, value, purpose, self.provider, is_inherited)

    def to_check(self, *keys: str) -> CheckSettings:
        """The advice to check settings of this connection or provider."""
        return CheckSettings(keys, self.connection, self.provider)


def camel_case(name: str) -> str:
    """``base_url`` as ``baseUrl``, the form of other languages and of the stack configuration."""
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def _schema_type(annotation: str) -> Literal["string", "number", "boolean"]:
    if "str" in annotation:
        return "string"
    return "boolean" if annotation == "bool" else "number"


SETTINGS = {
    camel_case(each.name): Setting(
        name=each.name,
        key=camel_case(each.name),
        type=_schema_type(str(each.type)),
        **each.metadata,
    )
    for each in fields(Settings)
    if each.metadata
}
"""The table of settings, by their keys in the stack configuration."""
SECRET_SETTINGS = tuple(key for key, setting in SETTINGS.items() if setting.is_secret)
ADDRESS_SETTINGS = ("apiVersion", "baseUrl", "serverAddress")
"""Those that ``Settings.server`` depends on."""


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only mean this machine."""
    if not host:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


# How settings are named

RECORD = "VMBACKUP_RECORD"
"""The variable that names the file to record to. It is for a process, and not for a connection."""
WITH_NAMES = "VMBACKUP_RECORD_WITH_NAMES"
"""The variable that says whether what is recorded keeps names: ``true`` or ``false``."""


def environment_variable(key: str, connection: str | None = None) -> str:
    """The environment variable of a setting: ``VMBACKUP_API_VERSION`` for ``apiVersion``."""
    name = re.sub(r"[^A-Z0-9]", "_", connection.upper()) + "_" if connection else ""
    return f"VMBACKUP_{name}" + "".join(f"_{c}" if c.isupper() else c.upper() for c in key)


def config_name(key: str, connection: str | None = None) -> str:
    """The name of a setting in the stack configuration."""
    return f"vmbackup:connections.{connection}.{key}" if connection else f"vmbackup:{key}"


def to_configure(key: str, connection: str | None = None) -> str:
    """How to store a setting in the stack configuration, as a part of a sentence."""
    command = config_command(key, connection)
    if command:
        return f"run `{command}`"
    # Each shell has its own way to quote this.
    path = f'vmbackup:connections["{connection}"].{key}'
    return f"run `pulumi config set --path` with {path}, quoted for your shell"


def config_command(key: str, connection: str | None = None) -> str | None:
    """The command that stores a setting in the stack configuration, before its value.

    It is the same in bash, PowerShell and cmd; None if no command is.
    """
    command = "pulumi config set" + " --secret" * (key in SECRET_SETTINGS)
    if not connection:
        return f"{command} {config_name(key)}"
    if re.fullmatch(r"[\w-]+", connection):
        return f"{command} --path {config_name(key, connection)}"
    if re.fullmatch(r"[\w -]+", connection):
        return f'{command} --path "{config_name(key, connection)}"'
    return None


def for_programs(advice: SetSetting | CheckSettings) -> str:
    """Advice on settings as a sentence that names all the places where they can be set."""
    if isinstance(advice, CheckSettings):
        if advice.provider is not None:
            return f"Check {listed(list(advice.keys))} of the provider {advice.provider!r}."
        first, *others = advice.keys
        return f"Check {listed([config_name(first, advice.connection), *others])}."
    variable = environment_variable(advice.key, advice.connection)
    command = to_configure(advice.key, advice.connection)
    how = f"set {variable} or {command}"
    if advice.provider is not None:
        give = f"give the provider {advice.provider!r} its {advice.key}"
        if advice.value:
            give = f"set {advice.key} of the provider {advice.provider!r}"
        how = f"{give}, {how}" if advice.is_inherited else give
    return to_set_sentence(advice, how)


def to_set_sentence(advice: SetSetting, how: str) -> str:
    """The sentence for advice to set a setting; ``how`` tells how to set it."""
    sentence = f"{advice.purpose}, {how}" if advice.purpose else how[0].upper() + how[1:]
    return f"{sentence}, to {advice.value}." if advice.value else f"{sentence}."


def listed(words: list[str]) -> str:
    """Words as a list in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


# Reading


def read_settings(
    get_config: Callable[[str], object],
    environment: Mapping[str, str],
    connection: str | None = None,
    options: Mapping[str, str] | None = None,
    describe_option: Callable[[str], str] = repr,
    without: Collection[str] = (),
) -> Settings:
    """Read and check all settings of a connection.

    Args:
        get_config: returns the stack configuration's value for a key such as ``username``
            (without ``vmbackup:``), or None.
        environment: the environment variables, mostly ``os.environ``.
        connection: the name of the connection; None for the unnamed one.
        options: values that win over both, by the keys of the settings, such as the options of the
            ``vmbackup`` command.
        describe_option: how an error names the option of a key.
        without: the keys of settings that are not wanted; they are neither read nor checked.

    Raises:
        SettingsError: a value is unusable, or there is no such connection. Missing credentials are
            no error here: a preview needs none.
    """
    find = _finder(get_config, environment, connection, options, describe_option)
    rows = [setting for key, setting in SETTINGS.items() if key not in without]
    return _settings(find, rows, connection=connection)


def read_provider_settings(
    get_config: Callable[[str], object],
    environment: Mapping[str, str],
    provider: str,
    inputs: Mapping[str, str],
) -> Settings:
    """Read and check all settings of a ``Provider`` resource.

    An input wins over the stack configuration and the environment. If the provider leads to another
    server than the unnamed settings, it takes only such settings from there as belong to no server.
    A user name or password of the provider wins over a session token that is not the provider's.

    Args:
        get_config: as for read_settings().
        environment: the environment variables.
        provider: the name of the resource.
        inputs: its inputs as texts, by the keys of the settings.

    Raises:
        SettingsError: a value is unusable.
    """
    find, is_inherited = _of_provider(get_config, environment, inputs)
    return _settings(find, SETTINGS.values(), provider=provider, is_inherited=is_inherited)


_Find = Callable[[Setting], _Value | None]


def _nothing(_key: str) -> None:
    return None


def _settings(
    find: _Find,
    rows: Iterable[Setting],
    *,
    connection: str | None = None,
    provider: str | None = None,
    is_inherited: bool = False,
) -> Settings:
    found = {setting: value for setting in rows if (value := find(setting))}
    values: dict[str, Any] = {
        setting.name: setting.check(value) for setting, value in found.items()
    }
    if username := found.get(SETTINGS["username"]):
        values |= _account(username, found.get(SETTINGS["domain"]))
    version = VERSIONS[values.get("api_version", NEWEST_VERSION)]
    values = {"base_url": version.base_url, "server_port": version.server_port, **values}
    host = urlsplit(values["base_url"])
    if is_loopback(host.hostname):
        # The API answers only when it is addressed as localhost (seen).
        values.setdefault("host_header", f"localhost:{host.port}" if host.port else "localhost")
    return Settings(connection=connection, provider=provider, is_inherited=is_inherited, **values)


def provider_server(
    get_config: Callable[[str], object], environment: Mapping[str, str], inputs: Mapping[str, str]
) -> str:
    """``Settings.server`` of a ``Provider`` resource; arguments as for read_provider_settings().

    Raises:
        SettingsError: the address is unusable.
    """
    find, _ = _of_provider(get_config, environment, inputs)
    return _server(find)


def _of_provider(
    get_config: Callable[[str], object], environment: Mapping[str, str], inputs: Mapping[str, str]
) -> tuple[_Find, bool]:
    """What finds the settings of a provider, and whether its server is the unnamed one."""
    given = _finder(_nothing, {}, None, inputs, lambda key: f"the provider's input {key}")
    unnamed = _finder(get_config, environment, None, None, repr)

    def any_value(setting: Setting) -> _Value | None:
        return given(setting) or unnamed(setting)

    server = _server(any_value)
    try:
        is_inherited = server == _server(unnamed)
    except SettingsError:  # of the unnamed settings only: it is not about this provider
        is_inherited = False
    has_account = bool(inputs.get("username") or inputs.get("password"))

    def find(setting: Setting) -> _Value | None:
        is_own = setting.is_of_server and not is_inherited
        is_own = is_own or (setting.key == "sessionToken" and has_account)
        return given(setting) if is_own else any_value(setting)

    return find, is_inherited


def _server(find: _Find) -> str:
    return _settings(find, [SETTINGS[key] for key in ADDRESS_SETTINGS]).server


def _account(username: _Value, domain: _Value | None) -> dict[str, str]:
    r"""The user name and the domain of an account that may be written with its domain.

    People write ``DOMAIN\user`` or ``user@domain``, and ``.\user`` in a workgroup, which has no
    domain. The API takes the two in fields of their own, the domain empty in a workgroup.
    """
    if "\\" in username.text:
        written, _, user = username.text.partition("\\")
    elif "@" in username.text:
        user, _, written = username.text.rpartition("@")
    else:
        return {}
    if not user or not written or "\\" in user:
        raise username.error(r"is not an account: use one like svc, CONTOSO\svc or svc@contoso.com")
    written = "" if written == "." else written
    if domain and ("" if domain.text == "." else domain.text).casefold() != written.casefold():
        names = f"the domain {quoted(written)}" if written else "no domain"
        raise SettingsError(
            f"The value {quoted(username.text)} of {username.source} names {names}, and the value "
            f"of {domain.source} is {quoted(domain.text)}: remove one of the two domains."
        )
    return {"username": user, "domain": domain.text if domain and written else written}


def setting_sources(
    get_config: Callable[[str], object],
    environment: Mapping[str, str],
    connection: str | None = None,
    options: Mapping[str, str] | None = None,
    describe_option: Callable[[str], str] = repr,
) -> dict[str, str]:
    """Where each setting that is set comes from, by key; arguments as for read_settings()."""
    find = _finder(get_config, environment, connection, options, describe_option)
    return {key: value.source for key, setting in SETTINGS.items() if (value := find(setting))}


def _finder(
    get_config: Callable[[str], object],
    environment: Mapping[str, str],
    connection: str | None,
    options: Mapping[str, str] | None,
    describe_option: Callable[[str], str],
) -> _Find:
    if connection is not None:
        variable = environment_variable("baseUrl", connection)
        # Without an address, it would be the default one, which may be another server's.
        has_address = bool(environment.get(variable) or (options or {}).get("baseUrl"))
        get_config = _connection(get_config, connection, may_be_new=has_address).get

    def find(setting: Setting) -> _Value | None:
        key, is_secret = setting.key, setting.is_secret
        if options and options.get(key):
            return _Value(options[key], describe_option(key), is_secret)
        configured = get_config(key)
        if configured not in (None, ""):
            source = f"{config_name(key, connection)} in the stack configuration"
            return _Value(str(configured), source, is_secret)
        variable = environment_variable(key, connection)
        if environment.get(variable):
            return _Value(environment[variable], f"{variable} in the environment", is_secret)
        return None

    return find


def read_connections(get_config: Callable[[str], object]) -> dict[str, dict[str, object]]:
    """The settings of each named connection in the stack configuration, by name.

    Raises:
        SettingsError: ``vmbackup:connections`` is not a map of objects, has an unknown setting, or
            has two names that share environment variables.
    """
    where = "vmbackup:connections in the stack configuration"
    value = get_config("connections")
    if isinstance(value, str):  # the provider's process gets JSON text
        try:
            value = json.loads(value)
        except ValueError:
            raise SettingsError(
                f"The value of {where} is not an object: {_HOW_TO_CONNECT}."
            ) from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"The value of {where} is not an object: {_HOW_TO_CONNECT}.")
    connections: dict[str, dict[str, object]] = {}
    prefixes: dict[str, str] = {}
    for name, settings in value.items():
        if not isinstance(settings, Mapping):
            raise SettingsError(f"{name!r} of {where} is not an object: {_HOW_TO_CONNECT}.")
        for key in settings:
            if key not in SETTINGS:
                raise SettingsError(
                    f"{name}.{key} of {where} is not a setting: use {did_you_mean(key, SETTINGS)}."
                )
        other = prefixes.setdefault(environment_variable("", name), name)
        if other != name:
            raise SettingsError(
                f"{other!r} and {name!r} of {where} share the environment variables "
                f"{environment_variable('', name)}...: rename one of them."
            )
        connections[name] = dict(settings)
    return connections


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The words closest to a misspelt one; the first ten if none is close."""
    by_lower = {each.lower(): each for each in words}
    close = get_close_matches(word.lower(), by_lower, cutoff=0.5) or sorted(by_lower)[:10]
    return " or ".join(f"'{by_lower[each]}'" for each in close)


def is_misspelt(word: str, words: Iterable[str]) -> bool:
    """Whether a word is so close to another one that it is meant."""
    return bool(get_close_matches(word.lower(), [each.lower() for each in words], cutoff=0.85))


_HOW_TO_CONNECT = (
    "give it one object for each name, as `pulumi config set --path "
    "vmbackup:connections.site-b.baseUrl ...` does"
)


def _connection(
    get_config: Callable[[str], object], name: str, *, may_be_new: bool
) -> dict[str, object]:
    connections = read_connections(get_config)
    if name in connections:
        return connections[name]
    if name and may_be_new:
        return {}
    there_are = ", ".join(map(repr, sorted(connections))) or "none"
    raise SettingsError(
        f"There is no connection {name!r} in vmbackup:connections of the stack configuration "
        f"(there are: {there_are}), nor a variable {environment_variable('baseUrl', name)} in "
        f"the environment: correct the name, or {to_configure('baseUrl', name)}."
    )
