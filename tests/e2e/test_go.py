"""examples/go, and what else programs in Go do with the plugin."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from e2e.stack import ENCRYPTED, MakeStack, Stack, assigned, pairs
from environment import ROOT
from sample import DC01, DISK_E, EXCH01, FILE01, OFFSITE01, PASSWORD, ROTATING, SQL01

from pulumi_vmbackup.plugin.schema import REPOSITORY
from pulumi_vmbackup.simulator import Inventory, Simulator, serve

EXAMPLE = ROOT / "examples" / "go"
README = (EXAMPLE / "README.md").read_text("utf-8")
REGISTRY = (ROOT / "docs" / "registry" / "_index.md").read_text("utf-8")
TOGETHER = {f"{EXCH01}/{OFFSITE01}", f"{FILE01}/{OFFSITE01}", f"{FILE01}/{ROTATING}"}


@pytest.fixture
def make_example(generated_sdks: Path, make_stack: MakeStack) -> MakeStack:
    """Makes a stack with a copy of the example. Go keeps what it has compiled for all tests."""

    def make(**settings: str) -> Stack:
        stack = make_stack(init=False, **settings)
        shutil.copytree(EXAMPLE, stack.folder, dirs_exist_ok=True)
        replace = f"-replace={REPOSITORY}/sdk/go={generated_sdks / 'go'}"
        subprocess.run(["go", "mod", "edit", replace], cwd=stack.folder, check=True)
        stack.init()
        return stack

    return make


@pytest.fixture
def example(make_example: MakeStack) -> Stack:
    return make_example()


def test_the_example_goes_up_is_refreshed_and_comes_down(
    example: Stack, simulator: Simulator
) -> None:
    example.edit("main.go", '"SQL01"', '"SLQ01"')
    preview = example.pulumi("preview", fails=True)
    assert "There is no VM with name 'SLQ01': did you mean 'SQL01'" in preview
    assert pairs(simulator, "POST") == []

    example.edit("main.go", '"SLQ01"', '"SQL01"')
    example.up()
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}", *TOGETHER}
    assert example.outputs() == {"vmName": "SQL01", "locationPath": r"\\OFFSITE01\VMBackups"}
    example.up("--expect-no-changes")

    del simulator.inventory.assignments[SQL01, OFFSITE01]
    assert "- 1 deleted" in example.refresh()
    example.edit("main.go", "BackupLocationId: offsite", "BackupLocationId: rotating")
    example.edit("main.go", ', "rotating": rotating', "")
    simulator.calls.clear()
    changed = example.up("--diff")
    assert f'- rotating: "{ROTATING}"' in changed
    assert pairs(simulator, "POST") == [f"{SQL01}/{ROTATING}"]
    assert pairs(simulator, "DELETE") == [f"{FILE01}/{ROTATING}"]

    example.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments
    assert not simulator.sessions
    assert PASSWORD not in example.output


MANY_SERVERS = f"""\
package main

import (
	"{REPOSITORY}/sdk/go/vmbackup"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {{
	pulumi.Run(func(ctx *pulumi.Context) error {{
		for _, site := range []string{{"site-a", "site-b"}} {{
			sql01, err := vmbackup.GetVirtualMachine(ctx, &vmbackup.GetVirtualMachineArgs{{
				Name:       pulumi.StringRef("SQL01"),
				Connection: pulumi.StringRef(site),
			}})
			if err != nil {{
				return err
			}}
			assignment, err := vmbackup.NewVmBackupLocationAssignment(ctx, site,
				&vmbackup.VmBackupLocationAssignmentArgs{{
					VmRef:            pulumi.String(sql01.Ref),
					BackupLocationId: pulumi.String("{OFFSITE01}"),
					Connection:       pulumi.StringRef(site),
				}})
			if err != nil {{
				return err
			}}
			ctx.Export(site, assignment.Connection)
		}}
		url, _ := ctx.GetConfig("vmbackup-go:url")
		password, _ := ctx.GetConfig("vmbackup-go:password")
		provider, err := vmbackup.NewProvider(ctx, "site-c", &vmbackup.ProviderArgs{{
			BaseUrl:       pulumi.String(url),
			Username:      pulumi.String("Administrator"),
			Password:      pulumi.String(password),
			SettleSeconds: pulumi.Float64(0),
		}})
		if err != nil {{
			return err
		}}
		dc01, err := vmbackup.GetVmBackupLocationAssignment(
			ctx, "dc01", pulumi.ID("{DC01}/{DISK_E}"), nil, pulumi.Provider(provider),
		)
		if err != nil {{
			return err
		}}
		ctx.Export("site-c", dc01.VmName)
		return nil
	}})
}}
"""


def test_one_process_serves_all_connections_and_a_provider_is_another(
    make_example: MakeStack, simulator: Simulator
) -> None:
    passwords = {f"VMBACKUP_SITE_{site}_PASSWORD": PASSWORD for site in "AB"}
    unnamed = {f"VMBACKUP_{name}": "" for name in ("BASE_URL", "USERNAME", "PASSWORD")}
    example = make_example(**passwords, **unnamed)
    (example.folder / "main.go").write_text(MANY_SERVERS, "utf-8")
    site_a, site_b, site_c = (Simulator(Inventory.sample(), password=PASSWORD) for _ in range(3))
    with serve(site_a) as url_a, serve(site_b) as url_b, serve(site_c) as url_c:
        login = {"username": "Administrator", "settleSeconds": 0}
        connections = {
            "site-a": {"baseUrl": url_a, **login},
            "site-b": {"baseUrl": url_b, **login},
        }
        example.config(
            {
                "vmbackup:connections": connections,
                "vmbackup-go:url": url_c,
                "vmbackup-go:password": ENCRYPTED,
            }
        )
        example.up()
        assert example.outputs() == {"site-a": "site-a", "site-b": "site-b", "site-c": "DC01"}
        assert assigned(site_a) == assigned(site_b) == {f"{SQL01}/{OFFSITE01}"}
        types = [each["type"] for each in example.state()["resources"]]
        assert types.count("pulumi:providers:vmbackup") == 2
        del site_b.inventory.assignments[SQL01, OFFSITE01]
        example.refresh()
        assert sorted(example.ids()) == ["dc01", "site-a"]
        assert '"ciphertext"' in json.dumps(example.state())  # the provider's password
        example.destroy()
    for site in (site_a, site_b, site_c):
        assert site.inventory.assignments == Inventory.sample().assignments
        assert not site.sessions
    assert not simulator.calls


def test_the_compiler_takes_what_its_readme_and_the_registry_show(example: Stack) -> None:
    (block,) = re.findall(r"^```go\n(.+?)^```$", README, re.M | re.S)
    of_b = f'offsiteOfB := pulumi.String("{OFFSITE01}")\n'
    rest = "if err != nil {\nreturn err\n}\n"
    example.edit(
        "main.go", '\t\tctx.Export("vmName"', f'{{\n{of_b}{block}{rest}}}\nctx.Export("vmName"'
    )
    (of_registry,) = re.findall(r"^```go\n(.+?)^```$", REGISTRY, re.M | re.S)
    (example.folder / "registry").mkdir()
    (example.folder / "registry" / "main.go").write_text(of_registry, "utf-8")
    done = subprocess.run(
        ["go", "vet", "./..."], cwd=example.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_of_its_readme_are_those_that_are_run_for_yaml() -> None:
    of_yaml = (EXAMPLE.parent / "yaml" / "README.md").read_text("utf-8")
    sdks, *commands = re.findall(r"^\$ (.+)$", README, re.M)
    assert sdks == "make -C ../.. sdks"
    assert commands == re.findall(r"^\$ (.+)$", of_yaml, re.M)
