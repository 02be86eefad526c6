"""The demo on a terminal, a real one as far as the demo can tell."""

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
HOME = b"\x1b[H"
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_COLOUR = re.compile(rb"\x1b\[(?:[0-9]+;)*(?:3[0-7]|38;|9[0-7])")
_SECONDS = 60.0


@dataclass
class Terminal:
    """The demo with a terminal of its own, and all that it has written there."""

    process: "subprocess.Popen[bytes]"
    ours: int
    theirs: int
    before: list
    written: bytes = field(default=b"")

    def read_until(self, mark: bytes) -> None:
        deadline = time.monotonic() + _SECONDS
        while mark not in self.written:
            assert time.monotonic() < deadline, self.written[-2000:]
            self._read()

    def press(self, key: bytes) -> None:
        os.write(self.ours, key)

    def end(self) -> int:
        """Read what is still written until the demo has ended; its exit status."""
        deadline = time.monotonic() + _SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.written[-2000:]
            self._read()
        self._read()
        return self.process.returncode

    def frames(self) -> list[bytes]:
        """What was drawn, picture by picture."""
        view = self.written.partition(ENTER)[2].partition(LEAVE)[0]
        return view.split(HOME)[1:]

    def _read(self) -> None:
        if select.select([self.ours], [], [], 0.05)[0]:
            self.written += os.read(self.ours, 65536)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers' unprivileged user can reach."""
    made = Path(tempfile.mkdtemp(prefix="jalur-view-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextlib.contextmanager
def demo(folder: Path, columns: int, lines: int, *arguments: str, **variables: str):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", **variables}
    command = [sys.executable, "-m", "app", "demo", "--port", "0", "--data-dir", str(folder)]
    process = subprocess.Popen(
        ["setsid", "--ctty", *command, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    try:
        yield Terminal(process, ours, theirs, termios.tcgetattr(theirs))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        os.close(ours)
        os.close(theirs)


def assert_restored(terminal: Terminal) -> None:
    assert terminal.written.count(ENTER) == terminal.written.count(LEAVE) == 1
    assert terminal.written.rindex(SHOW_CURSOR) > terminal.written.rindex(HIDE_CURSOR)
    assert termios.tcgetattr(terminal.theirs) == terminal.before


def assert_frames_fit(terminal: Terminal, columns: int, lines: int) -> None:
    frames = terminal.frames()
    assert any(b"dealer " in frame for frame in frames)
    for frame in frames:
        # The terminal itself writes ^C when that is pressed.
        text = _CONTROL.sub(b"", frame).decode().replace("\r", "").replace("^C", "")
        rows = text.split("\n")
        assert len(rows) <= lines
        assert all(len(row) <= columns for row in rows), rows


def test_view_shows_the_orders_and_leaves_the_terminal_as_it_was(folder: Path) -> None:
    with demo(folder, 80, 24, "--orders", "20") as terminal:
        terminal.read_until(b"20 succeeded")
        terminal.press(b"\x03")
        assert terminal.end() == 0
        assert_restored(terminal)
        assert_frames_fit(terminal, 80, 24)
        after = terminal.written.partition(LEAVE)[2]
    assert b"Orders by status" in after
    assert b"attempt.settled" not in terminal.written
    assert b"attempt.settled" in (folder / "jalur.log").read_bytes()


def test_once_shows_the_view_and_ends_with_the_figures(folder: Path) -> None:
    with demo(folder, 40, 10, "--once", "--orders", "20", NO_COLOR="1") as terminal:
        assert terminal.end() == 0
        assert_restored(terminal)
        assert_frames_fit(terminal, 40, 10)
    figures = _CONTROL.sub(b"", terminal.written.partition(LEAVE)[2])
    assert b'"double_bought": 0' in figures
    assert not _COLOUR.search(terminal.written)


def test_stop_in_the_middle_of_sending_ends_at_once(folder: Path) -> None:
    with demo(folder, 80, 24, "--once", "--orders", "20000") as terminal:
        terminal.read_until(b"Sending orders: ")
        terminal.press(b"\x03")
        assert terminal.end() == 1
        assert_restored(terminal)
    assert b"Stopped before the orders were done" in terminal.written


def test_terminal_that_cannot_move_its_cursor_gets_lines(folder: Path) -> None:
    with demo(folder, 80, 24, "--orders", "5", TERM="dumb") as terminal:
        terminal.read_until(b"Ctrl-C ends it.")
        terminal.press(b"\x03")
        assert terminal.end() == 0
    assert ENTER not in terminal.written
    assert b"Orders by status" in terminal.written


def test_lines_can_be_asked_for_on_a_terminal(folder: Path) -> None:
    with demo(folder, 80, 24, "--no-orders", "--plain") as terminal:
        terminal.read_until(b"Ctrl-C ends it.")
        terminal.press(b"\x03")
        assert terminal.end() == 0
    assert ENTER not in terminal.written
