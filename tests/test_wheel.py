"""The wheel: what is in it, and that it works in an environment that has nothing else.

It is made of the sdist, as a release does it.
"""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from long_description import with_whole_links
from markdown_it import MarkdownIt
from readme_renderer import markdown
from release import TAG

from pulumi_vmbackup.plugin.schema import REPOSITORY

ROOT = Path(__file__).parent.parent


class Packages(NamedTuple):
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    folder = tmp_path_factory.mktemp("packages")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Packages(sdist, wheel)


@pytest.fixture
def wheel(packages: Packages) -> Path:
    return packages.wheel


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "provider" / "pulumi_vmbackup"
    files = {
        f"pulumi_vmbackup/{file.relative_to(package).as_posix()}"
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    # The second keeps Pulumi from looking for a plugin that a program may not use.
    assert {"pulumi_vmbackup/py.typed", "pulumi_vmbackup/pulumi-plugin.json"} <= files
    assert {"pulumi_vmbackup/py.typed", "pulumi_vmbackup/simulator/inventory.json"} <= files
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == files
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


@pytest.mark.skipif(not shutil.which("git"), reason="Git is not on PATH")
def test_the_sdist_holds_what_the_repository_holds(packages: Packages) -> None:
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    with tarfile.open(packages.sdist) as sdist:
        names = {each.name.partition("/")[2] for each in sdist if each.isfile()}
    assert names == {*listed.rstrip("\0").split("\0"), "PKG-INFO"}


def test_it_works_without_the_extras(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("venv", reason="Python for embedding, as under Wine, has no venv")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path)
    scripts = tmp_path / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    # The pip of the tests, since one of its own takes seconds to install.
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-compile", wheel)
    run(python, "-W", "error", "-c", "from pulumi_vmbackup import *; VmBackupLocationAssignment")
    done = subprocess.run(
        [python, "-m", "pulumi_vmbackup.simulator"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: The simulator needs packages that are not installed (werkzeug): run "
        '`pip install "pulumi-vmbackup[simulator]"`.'
    )
    done = subprocess.run([scripts / "vmbackup"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "The vmbackup command needs packages that are not installed (click): run "
        '`pip install "pulumi-vmbackup[cli]"`.\n'
    )


def descriptions(packages: Packages) -> set[str]:
    """The description of the package, as the sdist and the wheel have it."""
    with tarfile.open(packages.sdist) as sdist:
        (name,) = (each for each in sdist.getnames() if re.fullmatch(r"[^/]+/PKG-INFO", each))
        file = sdist.extractfile(name)
        assert file
        of_sdist = file.read()
    with zipfile.ZipFile(packages.wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        of_wheel = archive.read(name)
    found = set()
    for metadata in map(email.message_from_bytes, (of_sdist, of_wheel)):
        assert metadata["Description-Content-Type"] == "text/markdown"
        found.add(metadata.get_payload(decode=True).decode())  # type: ignore[union-attr]
    return found


def test_the_description_is_the_readme_with_links_that_work_on_pypi(packages: Packages) -> None:
    (description,) = descriptions(packages)
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    files, pictures = f"https://{REPOSITORY}/blob/{TAG}/", f"https://{raw}/{TAG}/"
    inline = [
        each
        for token in MarkdownIt("commonmark").enable("table").parse(description)
        for each in token.children or ()
    ]
    links = [str(each.attrGet("href")) for each in inline if each.type == "link_open"]
    shown = [str(each.attrGet("src")) for each in inline if each.type == "image"]
    assert [each for each in links if not each.startswith("https://")] == []
    assert f"{files}docs/drift.md" in links
    assert shown == [f"{pictures}docs/pictures/pull-request.png"]
    readme = (ROOT / "README.md").read_text("utf-8")
    relative = description.replace(f"{files}README.md#", "#")
    assert relative.replace(files, "").replace(pictures, "").strip() == readme.strip()


def test_pypi_can_show_the_description(packages: Packages) -> None:
    (description,) = descriptions(packages)
    page = markdown.render(description)
    assert page
    shown = re.findall(r'(?:href|src)="([^"]+)"', page)
    of_headings = [each for each in shown if each.startswith("#user-content-")]
    others = [each for each in shown if each not in of_headings]
    assert len(others) > 30
    assert all(each.startswith("https://") for each in others)
    assert "<table>" in page
    assert f'src="https://raw.githubusercontent.com/{REPOSITORY.partition("/")[2]}/{TAG}/' in page


def test_links_lead_to_the_tag_wherever_they_stand() -> None:
    text = "[a](docs/a.md#b) [![c](d.png)](e.md) ![f](https://g/h.png) [i](#j) [k](http://l)\n"
    assert with_whole_links(text, "README.md", "https://github.com/o/r", "v1.0.0-rc.1") == (
        "[a](https://github.com/o/r/blob/v1.0.0-rc.1/docs/a.md#b) "
        "[![c](https://raw.githubusercontent.com/o/r/v1.0.0-rc.1/d.png)]"
        "(https://github.com/o/r/blob/v1.0.0-rc.1/e.md) ![f](https://g/h.png) "
        "[i](https://github.com/o/r/blob/v1.0.0-rc.1/README.md#j) [k](http://l)\n"
    )
