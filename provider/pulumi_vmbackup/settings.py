"""Where a setting comes from, and what it is when nobody sets it.

Each setting is looked for in the stack configuration (``vmbackup:username``), then in the
environment (``VMBACKUP_USERNAME``), then its default is taken. Empty text counts as not set.

A named connection has settings of its own: ``vmbackup:connections.site-b.username``, then
``VMBACKUP_SITE_B_USERNAME``, then the same defaults. Nothing of the unnamed connection is taken for
it, so that no password goes to another server.

The ``vmbackup`` command has an option for each setting that is no secret, which goes before both.
"""

from __future__ import annotations

import json
import math
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import ArgumentError, SettingsError
from .models import normalize_guid

SETTINGS = (
    "apiVersion",
    "baseUrl",
    "username",
    "password",
    "domain",
    "sessionToken",
    "serverAddress",
    "serverPort",
    "caFile",
    "hostHeader",
    "timeoutSeconds",
    "sessionWaitSeconds",
    "settleSeconds",
    "parallelRequests",
    "inventoryFile",
)
SECRET_SETTINGS = ("password", "sessionToken")
RUN_PROGRAM = (
    "`pulumi refresh` and `pulumi destroy` use the configuration of the last `up` unless they are "
    "given `--run-program`."
)


class _Version(NamedTuple):
    base_url: str
    server_port: int


# Base URLs: documented. Server ports: seen in public clients.
VERSIONS = {
    "8": _Version("http://localhost:35113/api", 35107),
    "9.0": _Version("http://localhost:36015/api", 36014),
    "9.1": _Version("http://localhost:36013/api/rest", 36014),
}
NEWEST_VERSION = "9.1"


@dataclass(frozen=True)
class Settings:
    """Everything that is needed to talk to one VM Backup API; made by :func:`read_settings`.

    Attributes:
        connection: the name of the connection; None for the unnamed one.
        base_url: where the API answers, without a slash at the end.
        session_token: a session that somebody else started and will end, or None.
        username, password, domain: the Windows account that starts a session.
        server_address, server_port: the VM Backup server that the API logs in to.
        ca_file: the PEM file that holds the certificate to trust; None for the system's trust.
        host_header: the ``Host`` header to send; None for the one of the URL.
        timeout_seconds: how long one HTTP exchange may take.
        session_wait_seconds: how long to wait while something else holds the API.
        settle_seconds: how long a fresh assignment may be missing from what the API lists.
        parallel_requests: how many HTTP requests may be under way at a time.
        inventory_file: the snapshot that previews read when the server cannot be asked, or None.
    """

    base_url: str
    connection: str | None = None
    session_token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    domain: str = ""
    server_address: str = "LOCALHOST"
    server_port: int = VERSIONS[NEWEST_VERSION].server_port
    ca_file: str | None = None
    host_header: str | None = None
    timeout_seconds: float = 30
    session_wait_seconds: float = 60
    settle_seconds: float = 30
    parallel_requests: int = 4
    inventory_file: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the API is reached through a loopback address of this machine."""
        return is_loopback(urlsplit(self.base_url).hostname)

    @property
    def has_credentials(self) -> bool:
        """Whether a session can be started, or is given."""
        return bool(self.session_token or (self.username and self.password))

    def name_of(self, key: str) -> str:
        """How the stack configuration names a setting of this connection."""
        return config_name(key, self.connection)

    def ways_to_set(self, key: str) -> str:
        """How to set a setting of this connection, for the end of an error's sentence."""
        variable = environment_variable(key, self.connection)
        return f"set {variable} or run `{config_set_command(key, self.connection)}`"


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only mean this machine."""
    if not host:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def environment_variable(key: str, connection: str | None = None) -> str:
    """The environment variable of a setting: ``VMBACKUP_API_VERSION`` for ``apiVersion``."""
    name = re.sub(r"[^A-Z0-9]", "_", connection.upper()) + "_" if connection else ""
    return f"VMBACKUP_{name}" + "".join(f"_{c}" if c.isupper() else c.upper() for c in key)


def config_name(key: str, connection: str | None = None) -> str:
    """How the stack configuration names a setting."""
    return f"vmbackup:connections.{connection}.{key}" if connection else f"vmbackup:{key}"


def config_set_command(key: str, connection: str | None = None) -> str:
    """The command that stores a setting in the stack configuration."""
    secret = "--secret " if key in SECRET_SETTINGS else ""
    path = "--path " if connection else ""
    return f"pulumi config set {secret}{path}{config_name(key, connection)}"


def option_name(key: str) -> str:
    """The option of the ``vmbackup`` command for a setting: ``--api-version``."""
    return "--" + "".join(f"-{c.lower()}" if c.isupper() else c for c in key)


@dataclass(frozen=True)
class _Value:
    """A setting's text, and the place it came from."""

    key: str
    text: str = field(repr=False)
    source: str

    def error(self, problem: str) -> SettingsError:
        value = "" if self.key in SECRET_SETTINGS else f" {self.text!r}"
        return SettingsError(f"The value{value} of {self.source} {problem}.")


def read_settings(
    get_config: Callable[[str], object],
    environment: Mapping[str, str],
    connection: str | None = None,
    options: Mapping[str, str] | None = None,
    describe_option: Callable[[str], str] | None = None,
) -> Settings:
    """Read and check all settings of a connection.

    Args:
        get_config: gives the stack configuration's value for a key such as ``username`` (without
            ``vmbackup:``), or None.
        environment: the environment variables, mostly ``os.environ``.
        connection: the name of the connection; None for the unnamed one.
        options: what goes before both, by the keys of the settings: the options of the ``vmbackup``
            command, or the inputs of a provider resource.
        describe_option: how an error names the option of a key; as the command does when left out.

    Raises:
        SettingsError: a value cannot be used, or there is no such connection. Missing credentials
            are no error here: a preview needs none.
    """
    find = _finder(get_config, environment, connection, options, describe_option)

    def text(key: str, default: str | None = None) -> str | None:
        value = find(key)
        return value.text if value else default

    def seconds(key: str, default: float, *, minimum: float) -> float:
        value = find(key)
        return _seconds(value, minimum) if value else default

    version = _version(find("apiVersion"))
    base_url = _base_url(find("baseUrl")) or version.base_url
    host = urlsplit(base_url)
    if is_loopback(host.hostname):
        # The API answers only when it is addressed as localhost (seen).
        host_header = f"localhost:{host.port}" if host.port else "localhost"
    else:
        host_header = None

    return Settings(
        base_url=base_url,
        connection=connection,
        session_token=_session_token(find("sessionToken")),
        username=text("username"),
        password=text("password"),
        domain=text("domain") or "",
        server_address=text("serverAddress") or "LOCALHOST",
        server_port=_port(find("serverPort")) or version.server_port,
        ca_file=_ca_file(find("caFile")),
        host_header=_host_header(find("hostHeader")) or host_header,
        timeout_seconds=seconds("timeoutSeconds", 30, minimum=0.001),
        session_wait_seconds=seconds("sessionWaitSeconds", 60, minimum=0),
        settle_seconds=seconds("settleSeconds", 30, minimum=0),
        parallel_requests=_parallel_requests(find("parallelRequests")),
        inventory_file=text("inventoryFile"),
    )


def setting_sources(
    get_config: Callable[[str], object],
    environment: Mapping[str, str],
    connection: str | None = None,
    options: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Where each setting that is set comes from, by its key; takes what read_settings takes."""
    find = _finder(get_config, environment, connection, options)
    return {key: value.source for key in SETTINGS if (value := find(key))}


def _finder(
    get_config: Callable[[str], object],
    environment: Mapping[str, str],
    connection: str | None,
    options: Mapping[str, str] | None,
    describe_option: Callable[[str], str] | None = None,
) -> Callable[[str], _Value | None]:
    if connection is not None:
        get_config = _connection(get_config, environment, connection).get

    def find(key: str) -> _Value | None:
        if options and options.get(key):
            describe = describe_option or (lambda key: f"the option {option_name(key)}")
            return _Value(key, options[key], describe(key))
        configured = get_config(key)
        if configured not in (None, ""):
            source = f"{config_name(key, connection)} in the stack configuration"
            return _Value(key, str(configured), source)
        variable = environment_variable(key, connection)
        if environment.get(variable):
            return _Value(key, environment[variable], f"{variable} in the environment")
        return None

    return find


def read_connections(get_config: Callable[[str], object]) -> dict[str, dict[str, object]]:
    """The settings of each named connection in the stack configuration, by its name.

    Raises:
        SettingsError: ``vmbackup:connections`` does not hold one object for each name.
    """
    where = "vmbackup:connections in the stack configuration"
    value = get_config("connections")
    if isinstance(value, str):  # as the provider's process is given it
        try:
            value = json.loads(value)
        except ValueError:
            raise SettingsError(f"The value of {where} is no object: {_HOW_TO_CONNECT}.") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"The value of {where} is no object: {_HOW_TO_CONNECT}.")
    connections: dict[str, dict[str, object]] = {}
    prefixes: dict[str, str] = {}
    for name, settings in value.items():
        if not isinstance(settings, Mapping):
            raise SettingsError(f"{name!r} of {where} is no object: {_HOW_TO_CONNECT}.")
        for key in settings:
            if key not in SETTINGS:
                raise SettingsError(
                    f"{name}.{key} of {where} is not a setting: use {did_you_mean(key, SETTINGS)}."
                )
        other = prefixes.setdefault(environment_variable("", name), name)
        if other != name:
            raise SettingsError(
                f"{other!r} and {name!r} of {where} share the environment variables "
                f"{environment_variable('', name)}…: rename one of them."
            )
        connections[name] = dict(settings)
    return connections


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The words closest to a misspelt one, or some of them when none is close."""
    by_lower = {each.lower(): each for each in words}
    close = get_close_matches(word.lower(), by_lower, cutoff=0.5) or sorted(by_lower)[:10]
    return " or ".join(f"'{by_lower[each]}'" for each in close)


_HOW_TO_CONNECT = (
    "give it one object for each name, as `pulumi config set --path "
    "vmbackup:connections.site-b.baseUrl …` does"
)


def _connection(
    get_config: Callable[[str], object], environment: Mapping[str, str], name: str
) -> dict[str, object]:
    connections = read_connections(get_config)
    if name in connections:
        return connections[name]
    if name and any(environment.get(environment_variable(key, name)) for key in SETTINGS):
        return {}
    there_are = ", ".join(map(repr, sorted(connections))) or "none"
    raise SettingsError(
        f"There is no connection {name!r} in vmbackup:connections of the stack configuration "
        f"(there are: {there_are}), nor a variable {environment_variable('', name)}… in the "
        f"environment: correct the name, or run `{config_set_command('baseUrl', name)}`."
    )


def _version(value: _Value | None) -> _Version:
    if not value:
        return VERSIONS[NEWEST_VERSION]
    if value.text not in VERSIONS:
        raise value.error(
            f"is not a known API version: use {', '.join(VERSIONS)} "
            f"({NEWEST_VERSION} also for everything later), in quotes in a YAML file"
        )
    return VERSIONS[value.text]


def _base_url(value: _Value | None) -> str | None:
    if not value:
        return None
    if set(value.text) & set("@?#"):
        # The text may hold a password here, so it is not repeated.
        raise SettingsError(
            f"The value of {value.source} holds more than an address: use a URL without a user, "
            "a query or a fragment, like http://localhost:36013/api/rest."
        )
    try:
        url = urlsplit(value.text)
        is_url = url.scheme in ("http", "https") and _is_host(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        is_url = False
    if not is_url or not value.text.isprintable() or " " in value.text:
        raise value.error("is not a URL: use one like http://localhost:36013/api/rest")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise value.error(
            "would send the password unencrypted to another machine: use https, or a tunnel "
            "(`ssh -L 36013:localhost:36013 …`) and http://localhost:36013/api/rest"
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


def _session_token(value: _Value | None) -> str | None:
    if not value:
        return None
    try:
        normalize_guid(value.text)
    except ArgumentError:
        raise value.error("is not a session token: sessions/start answers with a GUID") from None
    return value.text.strip("{}")


def _port(value: _Value | None) -> int | None:
    if not value:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", value.text) or not 1 <= int(value.text) <= 65535:
        raise value.error("is not a port: use a number from 1 to 65535")
    return int(value.text)


def _parallel_requests(value: _Value | None) -> int:
    if not value:
        return 4
    if not re.fullmatch(r"[0-9]{1,2}", value.text) or not 1 <= int(value.text) <= 32:
        raise value.error("is not a number of requests: use a number from 1 to 32")
    return int(value.text)


def _ca_file(value: _Value | None) -> str | None:
    if not value:
        return None
    path = Path(value.text)
    with suppress(RuntimeError):  # the home of an unknown user
        path = path.expanduser()
    if not path.is_file():
        raise value.error(
            f"is not a file (looked for {path.absolute()}): give the path of the PEM file that "
            "holds the certificate to trust"
        )
    try:
        ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError):
        raise value.error(
            "holds no certificate that can be read: export it as "
            "“Base-64 encoded X.509 (.CER)”, which is PEM"
        ) from None
    return str(path)


def _host_header(value: _Value | None) -> str | None:
    if not value:
        return None
    if not value.text.isascii() or not value.text.isprintable() or set(value.text) & set(" /\\@"):
        raise value.error("is not a Host header: use one like localhost:36013")
    return value.text


def _seconds(value: _Value, minimum: float) -> float:
    try:
        number = float(value.text)
    except ValueError:
        number = math.nan
    if not minimum <= number <= 86400:
        at_least = "0 or more" if minimum == 0 else "more than 0"
        raise value.error(f"is not a number of seconds: use {at_least}, and at most 86400")
    return number
