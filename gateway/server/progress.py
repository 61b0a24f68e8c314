"""Shows that something longer than a second is under way, on a terminal; elsewhere it stays silent."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Final, Self, TextIO

_PATIENCE_S: Final = 1.0
_FRAME_S: Final = 0.2
_FRAMES: Final = "|/-\\"
_CLEAR: Final = "\r\x1b[K"


class Progress:
    """One line that says what is being done; it appears after a second and vanishes at the end.

    A context manager, and a callable that changes the text; an empty text ends the display.
    """

    def __init__(self, text: str, stream: TextIO = sys.stderr) -> None:
        self._text = text
        self._stream = stream
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, text: str) -> None:
        """Say what is being done now."""
        self._text = text
        if not text:
            self._end()

    def __enter__(self) -> Self:
        """Begin to wait; nothing is shown for the first second."""
        if self._stream.isatty():
            self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _show(self) -> None:
        if self._ended.wait(_PATIENCE_S):
            return
        frame = 0
        while not self._ended.wait(_FRAME_S):
            self._stream.write(f"{_CLEAR}{_FRAMES[frame % len(_FRAMES)]} {self._text}")
            self._stream.flush()
            frame += 1
        self._stream.write(_CLEAR)
        self._stream.flush()
