"""errors.py, and the names that the package exports."""

import inspect

import pytest

import pulumi_vmbackup
from pulumi_vmbackup import errors


def error_classes() -> dict[str, type[Exception]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }


def test_all_errors_have_one_root_and_one_suffix() -> None:
    for name, error in error_classes().items():
        assert issubclass(error, pulumi_vmbackup.VmBackupError)
        assert name.endswith("Error")


def test_all_errors_are_exported() -> None:
    assert error_classes().keys() <= set(pulumi_vmbackup.__all__)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip("|`- ").partition(" ")[0]
        if name in error_classes():
            depth = len(line) - len(line.lstrip("|`- "))
            above[depth] = name
            drawn[name] = next((above[d] for d in range(depth - 1, -1, -1) if d in above), "")
            above = {d: each for d, each in above.items() if d <= depth}
    assert drawn == {
        name: "" if error is errors.VmBackupError else error.__bases__[0].__name__
        for name, error in error_classes().items()
    }


def test_the_public_names_are_sorted_and_there() -> None:
    assert pulumi_vmbackup.__all__ == sorted(pulumi_vmbackup.__all__)
    public = set(pulumi_vmbackup.__all__)
    assert public <= set(dir(pulumi_vmbackup))
    assert all(getattr(pulumi_vmbackup, name).__doc__ for name in public)
    with pytest.raises(AttributeError, match="has no attribute 'VmBackup'"):
        pulumi_vmbackup.VmBackup  # noqa: B018


def test_each_error_keeps_its_class_advice_and_attributes_when_it_is_reworded() -> None:
    refusal = errors.RefusedError("No.", errors.Hint.DELETE_FIRST, is_busy=True)
    with pytest.raises(errors.RefusedError) as raised, errors.explained("do it"):
        raise refusal
    assert str(raised.value) == "Could not do it: No."
    assert vars(raised.value) == vars(refusal)
    assert str(refusal) == "No."
