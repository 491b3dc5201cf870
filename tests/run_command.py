"""`timm-coded` in its own process: one that has opened XLA's runtime can no longer launch replicas, as tests do.

And in this one, where it is to fail before it does anything.
"""
import subprocess
import sys

from timm_coded.cli import main


def run_command(*argv) -> subprocess.CompletedProcess:
    words = [str(word) for word in argv]
    return subprocess.run([sys.executable, '-m', 'timm_coded.cli', *words], capture_output=True, text=True, timeout=300)


def complaints(err: str) -> list[str]:
    """The lines of stderr but that which says what a command takes for granted of weights alone."""
    return [line for line in err.splitlines() if 'does not say how its images were prepared' not in line]


def failure(capsys, *argv) -> str:
    """The one line of stderr by which a command says what is wrong; it prints nothing and its exit status is 2."""
    assert main([str(word) for word in argv]) == 2
    out, err = capsys.readouterr()
    line, = complaints(err) if '--model' in argv else err.splitlines()
    assert out == ''
    return line
