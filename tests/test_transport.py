"""redaction.py: tokens and passwords stay out of texts and logs."""

import logging
import re
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from lifecycles import make_lifecycle
from sample import NOWHERE, PASSWORD, SQL01

from pulumi_vmbackup import WrongServerError, transport
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.models import Assignment
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import Simulator
from pulumi_vmbackup.transport import add_secret, redact


def test_a_secret_is_replaced_in_any_case_and_the_longest_first() -> None:
    add_secret("c0ffee00")
    add_secret("c0ffee00-ca.e")
    assert redact("a C0FFEE00-CA.E and a c0ffee00") == "a [secret] and a [secret]"
    assert redact("c0ffee00-caxe") == "[secret]-caxe"


@pytest.mark.parametrize(
    "escaped",
    ["p%26s%22w%20%C3%B6", "p%26s%22w+%C3%B6", "p&amp;s&quot;w ö", 'p&s\\"w \\u00f6'],
    ids=["URL", "form", "HTML", "JSON"],
)
def test_a_secret_is_replaced_where_it_is_escaped(escaped: str) -> None:
    add_secret('p&s"w ö')
    assert redact(f"with {escaped}.") == "with [secret]."


def test_a_secret_that_is_learned_while_a_text_is_redacted_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second_is_learned = threading.Event()
    compiled = re.compile

    def compile_first_one_slowly(pattern: str, flags: int = 0) -> re.Pattern[str]:
        if "second" not in pattern:
            second_is_learned.wait(0.3)
        return compiled(pattern, flags)

    monkeypatch.setattr(
        transport, "re", SimpleNamespace(**{**vars(re), "compile": compile_first_one_slowly})
    )
    with ThreadPoolExecutor(2) as threads:
        add_secret("the-first-secret")
        first = threads.submit(redact, "the-first-secret")
        time.sleep(0.05)
        threads.submit(add_secret, "the-second-secret").result()
        second_is_learned.set()
        assert first.result() == "[secret]"
    assert redact("the-first-secret and the-second-secret") == "[secret] and [secret]"


def test_a_short_secret_is_replaced_where_it_is_named_and_hides_no_other_letter() -> None:
    add_secret("a")
    said = "A pair at NAS-a: 'a' is wrong, Password: a, pwd=a."
    assert redact(said) == "A pair at NAS-a: '[secret]' is wrong, Password: [secret], pwd=[secret]."


@pytest.mark.parametrize("escaped", ["p&#x27;w", "p&#39;w"], ids=["Python", ".NET"])
def test_an_apostrophe_in_html_hides_no_secret(escaped: str) -> None:
    add_secret("p'w")
    assert redact(f"with {escaped}.") == "with [secret]."


@pytest.mark.parametrize(
    "logger", ["urllib3.connection", "urllib3.connectionpool", "urllib3.poolmanager"]
)
def test_urllib3s_loggers_show_no_secret(logger: str, caplog: pytest.LogCaptureFixture) -> None:
    add_secret("c0ffee01")
    logging.getLogger(logger).warning("Failed to parse headers (url=%s)", "http://x/c0ffee01")
    assert "http://x/[secret]" in caplog.text
    assert "c0ffee01" not in caplog.text


def test_no_object_shows_a_secret(simulator: Simulator, settings: Settings, client: Client) -> None:
    client.log_in()
    lifecycle = make_lifecycle(client, settle_seconds=0)
    for each in (settings, client, lifecycle, simulator, simulator.calls):
        assert not [secret for secret in (PASSWORD, *simulator.tokens) if secret in repr(each)]
    with pytest.raises(WrongServerError) as raised:
        lifecycle.assign(Assignment(NOWHERE, NOWHERE))
    whole = "".join(traceback.format_exception(raised.type, raised.value, raised.tb, chain=True))
    assert not [secret for secret in (PASSWORD, *simulator.tokens) if secret in whole]


def test_debug_logs_hold_urls_without_the_token(
    simulator: Simulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.vm_backup_locations(SQL01)
    client.close()
    assert f"/vms/backuplocations/[secret]/{SQL01}" in caplog.text  # urllib3's own line
    assert "/sessions/end/[secret]" in caplog.text
    assert simulator.tokens
    assert not any(token in caplog.text for token in simulator.tokens)
    assert PASSWORD not in caplog.text
