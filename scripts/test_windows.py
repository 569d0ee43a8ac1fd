r"""Runs the tests on Windows programs under Wine, or those that the arguments name, as for pytest.

A test that fails is run once more, alone: docs/maintainers/windows.md says why.
On Windows, `py scripts\test.py` runs all tests.
"""

import sys

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

# End-to-end tests are slow under Wine. These have each command of the CLI, both kinds of resources,
# moves between their processes, Ctrl-Break, kills, errors, and names in any script.
END_TO_END = [
    "test_plugin.py::test_no_refactor_unassigns",
    "test_plugin.py::test_a_whole_life_of_a_single_and_of_a_set",
    "test_plugin.py::test_an_interrupted_set_leaves_the_state_that_the_server_has_and_no_session",
    "test_plugin.py::test_after_a_kill_in_the_middle_of_a_set_the_next_run_makes_everything_right",
    "test_refactors.py::test_no_refactor_ever_unassigns",
    "test_refactors.py::"
    "test_a_pair_that_a_set_unassigns_while_a_dynamic_resource_declares_it_is_assigned",
    "test_export.py::test_one_is_imported_by_its_id_and_managed_by_the_exported_program",
    "test_windows_guide.py",
    "test_assignment.py",
    "test_names.py::test_a_preview_shows_names_beside_ids_and_lookups_cost_three_gets",
    "test_names.py::test_names_in_any_script_come_through_programs_errors_and_the_command",
    "test_sessions.py::test_an_interrupted_run_ends_with_the_state_that_the_server_has",
    "test_errors.py::test_each_error_is_a_sentence_and_holds_up_nothing_else",
    "test_kills.py::test_a_host_whose_cli_was_killed_does_not_unassign_what_is_declared_again",
    "test_cli.py",
]
LEFT_OUT = ("tests/e2e", "tests/reliability")


def main(arguments: list[str]) -> None:
    import pytest
    from pulumi_cli import say
    from wine import run

    tests = []
    if not any(argument.startswith("tests") for argument in arguments):
        tests += [f"tests/e2e/{each}" for each in END_TO_END]
        files = sorted((ROOT / "tests").rglob("test_*.py"))
        others = [each.relative_to(ROOT).as_posix() for each in files]
        tests += [each for each in others if not each.startswith(LEFT_OUT)]
    command = ["python", "-m", "pytest", "-n", "auto", *tests, *arguments]
    ended = run(*command)
    if ended == pytest.ExitCode.TESTS_FAILED:
        say("What failed is run once more, alone:")
        ended = run(*command, "-n", "0", "--last-failed", "--last-failed-no-failures", "none")
    sys.exit(ended)


if __name__ == "__main__":
    main(sys.argv[1:])
