"""A progress bar for the search, on stderr so that it never mixes with the words on stdout."""
import sys
import time


class ProgressBar:
    """Shows how far something is, at most five times a second.

    Args:
        show: Whether to show it at all; None shows it when stderr is a terminal.
    """

    def __init__(self, show: bool | None = None):
        self._show = sys.stderr.isatty() if show is None else show
        self._next_time = 0.0

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
            sys.stderr.write(f'\r{label} [{bar:30}] {100 * done:3.0f} %\033[K')
            sys.stderr.flush()

    def close(self) -> None:
        """Clears the line."""
        if self._show and self._next_time:
            sys.stderr.write('\r\033[K')
            sys.stderr.flush()
