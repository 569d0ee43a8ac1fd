"""Runs the exit handlers of a process that Windows ends with Ctrl-Break.

That is how Pulumi ends its provider host on Windows, and Python then runs no exit handlers: the
session would stay open until the server ends it.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import atexit
    import ctypes
    import signal
    from ctypes import wintypes

    def _run_exit_handlers(event: int) -> bool:
        if event == signal.CTRL_BREAK_EVENT:
            atexit._run_exitfuncs()
        return False  # so that the event goes on to end the process

    # A handler of the signal module would have to be set on the main thread, and the provider
    # host imports this package on another one. The name keeps the handler from being collected.
    _handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)(_run_exit_handlers)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(_handler, True)
