"""Where a setting comes from, and what it is when nobody sets it.

Each setting is looked for in the stack configuration (``vmbackup:username``), then in the
environment (``VMBACKUP_USERNAME``), then its default is taken. Empty text counts as not set.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import ArgumentError, SettingsError
from .models import normalize_guid

SECRET_SETTINGS = ("password", "sessionToken")


class _Version(NamedTuple):
    base_url: str
    server_port: int


# Base URLs: documented. Server ports: seen in public clients.
_VERSIONS = {
    "8": _Version("http://localhost:35113/api", 35107),
    "9.0": _Version("http://localhost:36015/api", 36014),
    "9.1": _Version("http://localhost:36013/api/rest", 36014),
}
_NEWEST_VERSION = "9.1"


@dataclass(frozen=True)
class Settings:
    """Everything that is needed to talk to one VM Backup API; made by :func:`read_settings`.

    Attributes:
        base_url: where the API answers, without a slash at the end.
        session_token: a session that somebody else started and will end, or None.
        username, password, domain: the Windows account that starts a session.
        server_address, server_port: the VM Backup server that the API logs in to.
        ca_file: the PEM file that holds the certificate to trust; None for the system's trust.
        host_header: the ``Host`` header to send; None for the one of the URL.
        timeout_seconds: how long one HTTP exchange may take.
        session_wait_seconds: how long to wait while something else holds the API.
        settle_seconds: how long a fresh assignment may be missing from what the API lists.
    """

    base_url: str
    session_token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    domain: str = ""
    server_address: str = "LOCALHOST"
    server_port: int = _VERSIONS[_NEWEST_VERSION].server_port
    ca_file: str | None = None
    host_header: str | None = None
    timeout_seconds: float = 30
    session_wait_seconds: float = 60
    settle_seconds: float = 30

    @property
    def is_local(self) -> bool:
        """Whether the API is reached through a loopback address of this machine."""
        return is_loopback(urlsplit(self.base_url).hostname)


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only mean this machine."""
    if not host:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def environment_variable(key: str) -> str:
    """The environment variable of a setting: ``VMBACKUP_API_VERSION`` for ``apiVersion``."""
    return "VMBACKUP_" + "".join(f"_{c}" if c.isupper() else c.upper() for c in key)


def config_set_command(key: str) -> str:
    """The command that stores a setting in the stack configuration."""
    option = "--secret " if key in SECRET_SETTINGS else ""
    return f"pulumi config set {option}vmbackup:{key}"


def both_ways_to_set(key: str) -> str:
    """How to set a setting, for the end of an error's sentence."""
    return f"set {environment_variable(key)} or run `{config_set_command(key)}`"


@dataclass(frozen=True)
class _Value:
    """A setting's text, and the place it came from."""

    key: str
    text: str
    source: str

    def error(self, problem: str) -> SettingsError:
        value = "" if self.key in SECRET_SETTINGS else f" {self.text!r}"
        return SettingsError(f"The value{value} of {self.source} {problem}.")


def read_settings(get_config: Callable[[str], object], environment: Mapping[str, str]) -> Settings:
    """Read and check all settings.

    Args:
        get_config: gives the stack configuration's value for a key such as ``username`` (without
            ``vmbackup:``), or None.
        environment: the environment variables, mostly ``os.environ``.

    Raises:
        SettingsError: a value cannot be used. Missing credentials are no error here: a preview
            needs none.
    """

    def find(key: str) -> _Value | None:
        configured = get_config(key)
        if configured not in (None, ""):
            return _Value(key, str(configured), f"vmbackup:{key} in the stack configuration")
        variable = environment_variable(key)
        if environment.get(variable):
            return _Value(key, environment[variable], f"{variable} in the environment")
        return None

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
    )


def _version(value: _Value | None) -> _Version:
    if not value:
        return _VERSIONS[_NEWEST_VERSION]
    if value.text not in _VERSIONS:
        raise value.error(
            f"is not a known API version: use {', '.join(_VERSIONS)} "
            f"({_NEWEST_VERSION} also for everything later), in quotes in a YAML file"
        )
    return _VERSIONS[value.text]


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
