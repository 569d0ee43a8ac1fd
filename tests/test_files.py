"""files.py: the files of users, as Windows and its programs leave them."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pulumi_vmbackup import files
from pulumi_vmbackup.files import path_of, problem_of_name, reason_of, text_of, write_whole

TEXT = "B\u00fccherei, \u30d0\u30c3\u30af"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "inventory.json"
    path.write_text("old")
    return path


@pytest.fixture
def held_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets replacements fail, as on Windows while another program has the old file open."""
    replace = Path.replace
    left = 0

    def replace_later(path: Path, target: Path) -> Path:
        nonlocal left
        if left:
            left -= 1
            raise PermissionError(13, "Access is denied")
        return replace(path, target)

    def hold(times: int) -> None:
        nonlocal left
        left = times

    monkeypatch.setattr(Path, "replace", replace_later)
    return hold


def test_a_file_that_is_open_for_a_moment_is_replaced(
    file: Path, held_open: Callable[[int], None]
) -> None:
    held_open(3)
    write_whole(file, TEXT)
    assert file.read_text("utf-8") == TEXT
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_stays_open_is_left_whole_and_the_error_says_what_to_do(
    file: Path, held_open: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0)
    held_open(1000)
    with pytest.raises(PermissionError) as raised:
        write_whole(file, TEXT)
    assert reason_of(raised.value, file) == (
        "Access is denied; if a program has it open, such as an editor, close it there"
    )
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.name != "nt", reason="other systems replace a file that is open")
def test_windows_does_not_replace_an_open_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0)
    with file.open(), pytest.raises(PermissionError, match="close it there"):
        write_whole(file, TEXT)
    assert file.read_text() == "old"
    write_whole(file, TEXT)
    assert file.read_text("utf-8") == TEXT


def test_a_file_has_the_same_bytes_on_each_system(file: Path) -> None:
    write_whole(file, f"{TEXT}\n")
    assert file.read_bytes() == f"{TEXT}\n".encode()


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
    ids=["UTF-8", "Notepad", "PowerShell 5.1", "UTF-16 BE"],
)
def test_text_is_read_as_editors_and_powershell_write_it(content: bytes) -> None:
    assert text_of(content) == TEXT


def test_text_of_a_code_page_is_no_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        text_of("B\u00fccherei".encode("cp1252"))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('"C:\\My files\\ca.pem"', "C:\\My files\\ca.pem"),
        ("\\\\NAS01\\pki\\ca.pem", "\\\\NAS01\\pki\\ca.pem"),
        ('"', '"'),
        ("%TEMP%\\ca.pem", "%TEMP%\\ca.pem"),
    ],
)
def test_a_path_is_taken_without_the_quotes_of_windows(text: str, path: str) -> None:
    assert path_of(text) == Path(path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("CON", "is the name of a device in Windows"),
        ("nul.json", "is the name of a device in Windows"),
        ("Com1.tar.gz", "is the name of a device in Windows"),
        ("12:30.json", "has a : in it, which Windows does not allow"),
        ("all*.json", "has a * in it, which Windows does not allow"),
        ("what?", "has a ? in it, which Windows does not allow"),
        ("inventory.", "ends with a dot or a space, which Windows removes"),
        ("inventory ", "ends with a dot or a space, which Windows removes"),
        ("inventory.json", None),
        ("console.json", None),
        ("com.json", None),
        (".hidden", None),
        ("B\u00fccherei - 2 (neu).json", None),
    ],
)
def test_a_name_that_windows_takes_for_something_else_is_known(
    name: str, problem: str | None
) -> None:
    assert problem_of_name(name) == problem


def test_a_path_that_is_too_long_for_windows_is_named_as_the_likely_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LONGEST_PATH", 259)  # on other systems too
    path = tmp_path / "x" / ("y" * 250)
    error = FileNotFoundError(2, "The system cannot find the path specified")
    assert reason_of(error, path) == (
        f"The system cannot find the path specified; its path has {len(str(path))} characters, and "
        "Windows takes 259 if long paths are not enabled"
    )
    assert reason_of(error, tmp_path) == "The system cannot find the path specified"
