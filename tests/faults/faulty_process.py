"""Runs grace's commands in child processes that are hit by a fault at a chosen file operation.

As a script it is a server: it imports grace once, then forks a child for every request, so that a
fault costs the time of a training and not that of an import. Requests and answers are one line of
JSON each (see ``fault_runs.Server``).

Counted below ``root`` are: opening for writing, each write, flushing to disk, renaming, deleting,
making and removing folders. Kinds of fault:

* ``kill``: the process is killed before the n-th operation (in the middle of it, for a write);
* ``full``: from the n-th operation on, whatever needs room fails with ENOSPC, also half-way
  through a write;
* ``signal``: the parent sends a signal some seconds after the first operation;
* ``none``: operations are only counted.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

NEEDS_ROOM = ("open", "write", "fsync", "mkdir")


class Faults:
    """Counts file operations below a folder and makes one of them fail."""

    def __init__(self, root: str, kind: str, at: int, answer: int) -> None:
        self.root, self.kind, self.at, self.count = os.path.realpath(root), kind, at, 0
        self.answer = answer
        self.listening = True

    def install(self) -> None:
        """Begin; there is no way back within the process."""
        sys.addaudithook(self._audit)
        fsync, plain = os.fsync, io.open

        def counted_fsync(descriptor: int) -> None:
            self.before("fsync", _path_of(descriptor))
            fsync(descriptor)

        def faulty_open(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if not set(mode) & set("wax") or "+" in mode or not self.covers(file):
                return plain(file, mode, *rest, **more)
            return self._open(file, mode, *rest, **more)

        os.fsync = counted_fsync
        io.open = builtins.open = faulty_open

    def _open(
        self, file: Any, mode: str, buffering: int = -1, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None, closefd: bool = True,
        opener: Any = None,
    ) -> Any:  # fmt: skip
        faults = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                content = bytes(data)
                faults.before("write", _path_of(self.fileno()), self, content)
                return super().write(content)

        self.listening = not isinstance(file, int)  # a descriptor has been counted when opened
        try:
            raw = Raw(file, mode.replace("t", "").replace("b", ""), closefd, opener)
        finally:
            self.listening = True
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def covers(self, path: Any) -> bool:
        if isinstance(path, int):
            path = _path_of(path)
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        place = os.path.join(os.path.realpath(folder), name)
        return place == self.root or place.startswith(self.root + os.sep)

    def before(self, kind: str, path: Any, raw: Any = None, content: bytes = b"") -> None:
        """Called before every operation; the place where a fault happens."""
        if not self.listening or not self.covers(path):
            return
        self.count += 1
        if self.kind == "signal" and self.count == 1:
            os.write(self.answer, b"\n")
        hit = self.count == self.at if self.kind == "kill" else self.count >= self.at
        if self.kind not in ("kill", "full") or not hit:
            return
        if self.kind == "full" and kind not in NEEDS_ROOM:
            return
        if content and self.count == self.at:
            io.FileIO.write(raw, content[: len(content) // 2])
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        # A failed write or flush does not say of which file, as in the kernel's own error.
        named = () if kind in ("write", "fsync") else (os.fsdecode(path),)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.before("open", path)
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
            self.before(event.removeprefix("os."), arguments[0])


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def _child(request: dict[str, Any], answer: int) -> NoReturn:
    """Run one command; the exit status is the command's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else 0)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.chdir(request["cwd"])
    status = 99
    faults = Faults(request["root"], request["kind"], request["at"], answer)
    try:
        from grace.cli import app

        faults.install()
        app(request["argv"], prog_name="grace")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        faults.listening = False
        os.write(answer, json.dumps(faults.count).encode())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _without_drawing() -> None:
    """Figures of the report come out empty: drawing takes seconds and touches no file."""
    from markupsafe import Markup

    from grace.report.svg import SvgSheet

    def add(self: SvgSheet, figure: object, description: str) -> Markup:
        return Markup('<svg role="img"/>')

    SvgSheet.add = add  # type: ignore[method-assign]


def serve() -> None:
    """Fork a child for every line of standard input."""
    # Else every child imports them for its first optimizer and its operating conditions.
    import sklearn.mixture  # noqa: F401
    import torch._dynamo  # noqa: F401

    import grace.cli
    import grace.experiments
    import grace.report.console
    import grace.report.page
    import grace.report.progress  # noqa: F401

    _without_drawing()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        begun = time.monotonic()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _child(request, writing)
        os.close(writing)
        if request["kind"] == "signal":
            os.read(reading, 1)  # before its first operation a command only imports and parses
            time.sleep(request["after"])
            os.kill(pid, request["signal"])
        _, code = os.waitpid(pid, 0)
        counted = os.read(reading, 64)
        os.close(reading)
        answer = {
            "status": os.waitstatus_to_exitcode(code),
            "operations": int(counted) if counted else None,
            "seconds": time.monotonic() - begun,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
