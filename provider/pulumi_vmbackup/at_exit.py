"""Calls functions when the process ends, also when Windows ends it with Ctrl-Break.

That is how Pulumi ends its provider host on Windows, and Python then runs no exit handlers: the
session would stay open until the server ends it.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable

_functions: list[Callable[[], None]] = []


def register(function: Callable[[], None]) -> None:
    """Call a function when the process ends."""
    atexit.register(function)
    _functions.append(function)


def unregister(function: Callable[[], None]) -> None:
    """Do not call it after all."""
    atexit.unregister(function)
    while function in _functions:
        _functions.remove(function)


def call_all() -> None:
    """Call them now, for a process that ends without exit handlers."""
    for function in list(_functions):
        function()


if sys.platform == "win32":
    import ctypes
    import signal
    from ctypes import wintypes

    def _at_console_event(event: int) -> bool:
        if event == signal.CTRL_BREAK_EVENT:
            call_all()
        return False  # so that the event goes on to end the process

    # A handler of the signal module would have to be set on the main thread, and the provider
    # host imports this package on another one. The name keeps the handler from being collected.
    _handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)(_at_console_event)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(_handler, True)
