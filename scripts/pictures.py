"""Makes the pictures in docs/pictures: a review in a terminal, as a comment, and as a page.

The picture of the README, pull-request.png, is a comment on a smaller change.

They are made of a real run: the Pulumi CLI previews a change against the simulator, `vmbackup
review` reviews the preview, and a headless browser takes the pictures. The comment is rendered with
the Markdown of GitHub and a style like GitHub's, not by GitHub.
"""

import sys

if sys.platform == "win32":
    sys.exit("The pictures are made on Linux.")

import io
import os
import pty
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from environment import BIN, ROOT, use_environment

if __name__ == "__main__":
    use_environment()

from debian import BROWSERS, install_browser
from markdown_it import MarkdownIt
from playwright.sync_api import sync_playwright
from pulumi_cli import isolated_environment
from rich.console import Console
from rich.text import Text

from pulumi_vmbackup.simulator import Simulator, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURES = ROOT / "docs" / "pictures"
MOST_BYTES = 350_000
COLUMNS = 132
RULES = """\
require: any
at-most-removed: 25%
exceptions:
  - vms: "WEB*"
    reason: rebuilt from the image
"""
PROGRAM = """\
import pulumi
from pulumi_vmbackup import VmBackupLocationAssignment as Dynamic
from pulumi_vmbackup import get_backup_location, get_virtual_machines, plugin

vms = {vm.name: vm for vm in get_virtual_machines()}
nas, disk = (get_backup_location(path=path) for path in (r"\\\\NAS01\\VMBackups", r"E:\\VMBackups"))
offsite, disks = (
    get_backup_location(path=path) for path in (r"\\\\OFFSITE01\\VMBackups", "Rotating disks")
)


def assign(kind, name, vm, location):
    return kind(name, vm_ref=vms[vm], backup_location_id=location)


Plugin = plugin.VmBackupLocationAssignment
assign(Dynamic, "sql01-nas", "SQL01", nas)
"""
BEFORE = """
assign(Dynamic, "exch01-offsite", "EXCH01", offsite)
assign(Plugin, "file01-offsite", "FILE01", offsite)
assign(Dynamic, "sql02-offsite", "SQL02", offsite)
plugin.VmBackupLocationAssignmentSet("web", assignments={vms["WEB01"]: [nas, offsite]})
"""
# Gained, lost, moved, renamed, adopted and unknown.
AFTER = """
gained = assign(Dynamic, "sql01-offsite", "SQL01", offsite)
assign(Plugin, "file01-offsite", "FILE01", disks)
assign(Plugin, "sql02-disks", "SQL02", offsite)
assign(Dynamic, "dc01-disk", "DC01", disk)
unknown = gained.assigned_at.apply(lambda _: disks.id)
Plugin("dc01-offsite", vm_ref=vms["DC01"], backup_location_id=unknown)
plugin.VmBackupLocationAssignmentSet("web", assignments={vms["WEB01"]: [nas], vms["WEB02"]: [nas]})
"""
# What the README shows: one VM gains a location, one moves, and one is left out by mistake.
SMALL_CHANGE = """
assign(Dynamic, "sql01-offsite", "SQL01", offsite)
assign(Plugin, "file01-offsite", "FILE01", disks)
assign(Dynamic, "sql02-offsite", "SQL02", offsite)
plugin.VmBackupLocationAssignmentSet("web", assignments={vms["WEB01"]: [nas, offsite]})
"""
FONT = "font: 15px/1.5 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
COMMENT = f"""\
<!doctype html><meta charset="utf-8"><style>
body {{ {FONT}; color: #1f2328; margin: 16px; width: 1000px; }}
.comment {{ border: 1px solid #d1d9e0; border-radius: 6px; }}
.by {{ background: #f6f8fa; border-bottom: 1px solid #d1d9e0; padding: 8px 16px; color: #59636e; }}
.body {{ padding: 8px 16px; }}
table {{ border-collapse: collapse; }} th, td {{ border: 1px solid #d1d9e0; padding: 6px 13px; }}
code {{ background: #818b981f; padding: .2em .4em; border-radius: 6px; font-size: 85%; }}
td code {{ white-space: nowrap; }}
</style><div class="comment"><div class="by"><b>github-actions</b> bot commented</div>
<div class="body">
"""


def main() -> None:
    install_browser()
    with TemporaryDirectory(prefix="pictures-") as folder, serve(Simulator()) as base_url:
        run = Run(Path(folder), base_url)
        run.review()
        with sync_playwright() as playwright:
            program = next(filter(None, map(shutil.which, BROWSERS)))
            arguments = ["--no-sandbox", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=program, args=arguments)
            run.take(browser)
            browser.close()
    size = sum(file.stat().st_size for file in PICTURES.glob("*.png"))
    print(f"docs/pictures has {size:,} bytes.")
    if size > MOST_BYTES:
        sys.exit(f"That is more than {MOST_BYTES:,}.")


class Run:
    """A stack with a change, and its review."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._folder = folder / "program"
        self._folder.mkdir()
        self._environment = {
            **isolated_environment(folder / "pulumi"),
            "COLUMNS": str(COLUMNS),
            "VMBACKUP_BASE_URL": base_url,
            "VMBACKUP_USERNAME": "Administrator",
            "VMBACKUP_PASSWORD": "simulator",
        }
        (self._folder / "Pulumi.yaml").write_text("name: backup\nruntime: python\n")
        (self._folder / "vmbackup-rules.yaml").write_text(RULES)

    def review(self) -> None:
        self._pulumi("stack", "init", "prod")
        (self._folder / "__main__.py").write_text(PROGRAM + BEFORE)
        self._pulumi("up", "--yes", "--skip-preview")
        self._printed = self._review(AFTER, "comment.md", "page.html")
        self._review(SMALL_CHANGE, "small.md", "small.html")

    def _review(self, change: str, markdown: str, html: str) -> str:
        """Preview the program with a change, and review the preview; what is printed."""
        program = self._folder / "__main__.py"
        program.write_text(PROGRAM + change)
        shutil.rmtree(self._folder / "__pycache__", ignore_errors=True)
        preview = self._pulumi("preview", "--json", "--show-sames", "--show-replacement-steps")
        (self._folder / "preview.json").write_text(preview)
        outputs = ("--markdown", markdown, "--html", html)
        command = (str(BIN / "vmbackup"), "review", "--preview", "preview.json", *outputs)
        return self._in_terminal(*command)

    def take(self, browser: "Browser") -> None:
        PICTURES.mkdir(exist_ok=True)
        self._picture(browser, "terminal", terminal(self._printed), "pre")
        for name, file in (("comment", "comment.md"), ("pull-request", "small.md")):
            comment = (self._folder / file).read_text("utf-8")
            rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(comment)
            self._picture(browser, name, COMMENT + rendered, ".comment")
        self._picture(browser, "page", (self._folder / "page.html").read_text("utf-8"), None)

    def _picture(self, browser: "Browser", name: str, html: str, of: str | None) -> None:
        file = self._folder / f"{name}.html"
        file.write_text(html, "utf-8")
        # Smaller than life, as on the page of a guide.
        page = browser.new_page(viewport={"width": 1500, "height": 990}, device_scale_factor=0.72)
        page.goto(file.as_uri())
        (page.locator(of) if of else page).screenshot(path=PICTURES / f"{name}.png")

    def _pulumi(self, *arguments: str) -> str:
        program = shutil.which("pulumi", path=self._environment["PATH"])
        done = subprocess.run(
            [str(program), *arguments, "--non-interactive"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"pulumi {' '.join(arguments)} failed: {done.stdout}")
        return done.stdout

    def _in_terminal(self, *command: str) -> str:
        """What a command prints to a terminal."""
        ours, its = pty.openpty()
        with subprocess.Popen(command, cwd=self._folder, env=self._environment, stdout=its) as done:
            os.close(its)
            printed = b""
            with suppress(OSError):  # that is how a terminal ends
                while piece := os.read(ours, 2**16):
                    printed += piece
        os.close(ours)
        if done.returncode not in (0, 2):
            sys.exit(f"{' '.join(command)} failed.")
        return printed.decode().replace("\r\n", "\n")


def terminal(printed: str) -> str:
    """A page that shows what a terminal shows."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed), soft_wrap=True)
    style = "display: inline-block; margin: 0; padding: 12px 16px; font-size: 14px"
    code_format = f'<meta charset="utf-8"><pre style="{style}">{{code}}</pre>'
    return console.export_html(inline_styles=True, code_format=code_format)


if __name__ == "__main__":
    main()
