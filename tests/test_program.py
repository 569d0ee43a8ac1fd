"""program.py: the settings of a program, and the warning of secrets in plain text."""

from __future__ import annotations

import logging

import pytest
from programs import SetConfig, run_program

from pulumi_vmbackup import ProgramError, SettingsError
from pulumi_vmbackup.program import program_settings, shown_without_traceback

TOKEN = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"


def test_settings_come_from_the_stack_configuration_then_the_environment(
    set_config: SetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_config("password", username="backup", password="s3cret")
    monkeypatch.setenv("VMBACKUP_USERNAME", "somebody else")
    monkeypatch.setenv("VMBACKUP_DOMAIN", "CONTOSO")
    settings = program_settings()
    assert (settings.username, settings.password) == ("backup", "s3cret")
    assert settings.domain == "CONTOSO"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(("key", "text"), [("password", "s3cret"), ("sessionToken", TOKEN)])
def test_a_secret_in_plain_text_is_warned_of_once_with_the_line_that_encrypts_it(
    key: str, text: str, set_config: SetConfig, caplog: pytest.LogCaptureFixture
) -> None:
    set_config(**{key: text})
    run_program(lambda: [program_settings() and None for _ in range(2)])
    (warning,) = warnings(caplog)
    assert f"`pulumi config set --secret vmbackup:{key}`" in warning
    assert text not in warning


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("secret", [[], ["connections"]], ids=["plain", "secret"])
def test_a_secret_of_a_connection_is_warned_of_with_its_line(
    secret: list[str], set_config: SetConfig, caplog: pytest.LogCaptureFixture
) -> None:
    set_config(*secret, connections='{"site-b": {"password": "s3cret"}}')
    run_program(lambda: program_settings("site-b") and None)
    line = "`pulumi config set --secret --path vmbackup:connections.site-b.password`"
    assert [line in warning for warning in warnings(caplog)] == ([] if secret else [True])
    assert "s3cret" not in caplog.text


def test_a_secret_that_is_one_is_not_warned_of(
    set_config: SetConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_config("password", password="s3cret")
    monkeypatch.setenv("VMBACKUP_SESSION_TOKEN", TOKEN)
    program_settings()
    assert capsys.readouterr().err == ""


def test_an_error_keeps_its_sentence_and_its_cause() -> None:
    error = SettingsError("A sentence.")
    with pytest.raises(ProgramError) as raised, shown_without_traceback():
        raise error
    assert str(raised.value) == "A sentence."
    assert isinstance(raised.value, SettingsError)
    assert raised.value.__cause__ is error


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), shown_without_traceback():
        raise ZeroDivisionError
