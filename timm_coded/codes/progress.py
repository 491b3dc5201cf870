"""A progress bar for the search, on stderr so that it never mixes with the words on stdout."""
import sys
import time
from typing import TextIO


def is_live(stream: TextIO) -> bool:
    """Whether what is written there can be written over: by a terminal, or by a notebook, whose streams deny to be one.

    In a file or a pipe a bar would be one line of garbage.
    """
    return stream.isatty() or type(stream).__module__.startswith('ipykernel.')


class ProgressBar:
    """Shows how far something is, at most five times a second.

    Args:
        show: Whether to show it at all; None shows it when stderr is a terminal or a notebook.
    """

    def __init__(self, show: bool | None = None):
        self._show = is_live(sys.stderr) if show is None else show
        self._next_time = 0.0
        self._width = 0  # of the line that stands there

    def update(self, label: str, done: float) -> None:
        """Redraws the line.

        Args:
            label: What is being done.
            done: The part of it that is done, 0 to 1.
        """
        now = time.monotonic()
        if self._show and now >= self._next_time:
            self._next_time = now + 0.2
            bar = '#' * int(30 * done)
            self._write(f'{label} [{bar:30}] {100 * done:3.0f} %')

    def close(self) -> None:
        """Clears the line."""
        if self._show and self._next_time:
            self._write('')
            sys.stderr.write('\r')
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        sys.stderr.write(f'\r{text:{self._width}}')  # spaces over what was longer: a notebook knows no escape sequences
        sys.stderr.flush()
        self._width = len(text)
