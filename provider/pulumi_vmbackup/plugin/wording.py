"""How the plugin words advice: for readers of YAML, TypeScript and Python alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import Advice, Hint, VmBackupError
from ..settings import for_programs

HINTS = {
    Hint.RUN_PROGRAM: "",  # the plugin reads the present configuration
    Hint.REFRESH: "Run `pulumi refresh` and then `pulumi up`.",
    Hint.REMOVE_FROM_STATE: "If it is, and both are gone for good, remove the resource from the "
    "state with `pulumi state delete` and its URN, and from the program. If not, go back to the "
    "server that the assignment belongs to.",
    Hint.DELETE_FIRST: "If the server allows one primary location only, un-assign the old one "
    "first with the resource option deleteBeforeReplace, and aliases if the resource was renamed.",
    Hint.CORRECT_PROGRAM: "If it is not meant, correct the program and run `pulumi up`, "
    "which assigns them again.",
    Hint.FIND_VM_REF: "Use the ref that getVirtualMachine finds or `vmbackup vms` shows.",
    Hint.FIND_LOCATION_ID: "Use the id that getBackupLocation finds or `vmbackup locations` shows.",
}
HINTS_OF_SETS = {
    **HINTS,
    Hint.REMOVE_FROM_STATE: "If it is, and both are gone for good, remove the VM from the program, "
    "and the set from the state with `pulumi state delete` and its URN. The next `pulumi up` "
    "adopts the other assignments. If not, go back to the server that the set belongs to.",
    Hint.DELETE_FIRST: "If the server allows one primary location only, remove the old one in one "
    "`pulumi up`, and add the new one in the next.",
}


def worded(error: VmBackupError, hints: Mapping[Hint, str] = HINTS) -> str:
    """An error's message with its advice."""
    return " ".join((str(error), *advice_of([error], hints)))


def advice_of(errors: Iterable[VmBackupError], hints: Mapping[Hint, str] = HINTS) -> list[str]:
    """The sentences of the advice of some errors, each once."""
    advice = dict.fromkeys(each for error in errors for each in error.advice)
    return list(filter(None, (_words(each, hints) for each in advice)))


def _words(advice: Advice, hints: Mapping[Hint, str]) -> str:
    return hints[advice] if isinstance(advice, Hint) else for_programs(advice)
