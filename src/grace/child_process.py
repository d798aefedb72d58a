"""Child processes that end with their parent, whatever they are doing when it is killed.

A spawned process imports what its function needs before the function can watch anything, which
takes seconds with PyTorch. The function of a child is therefore named here by text and imported
once the watch has begun; this module imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import Any

__all__ = ["call", "end_with_parent"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def call(module: str, function: str, *arguments: Any) -> None:
    """The main function of a child: begin the watch, then import and call ``module.function``.

    Example:
        >>> from multiprocessing import get_context
        >>> process = get_context("spawn").Process(target=call, args=("time", "sleep", 60))
    """
    end_with_parent()
    getattr(importlib.import_module(module), function)(*arguments)


def end_with_parent() -> None:
    """End this process when its parent ends; on Linux at once, elsewhere within a moment.

    Without effect in a process that :mod:`multiprocessing` did not start.
    """
    parent = parent_process()
    if parent is None:
        return
    if sys.platform == "linux":  # the kernel's signal needs no turn of the interpreter
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before; and other systems have no such signal.
    threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
