"""`timm-coded` in its own process: one that has opened XLA's runtime can no longer launch replicas, as tests do."""
import subprocess
import sys


def run_command(*argv) -> subprocess.CompletedProcess:
    words = [str(word) for word in argv]
    return subprocess.run([sys.executable, '-m', 'timm_coded.cli', *words], capture_output=True, text=True, timeout=300)


def complaints(err: str) -> list[str]:
    """The lines of stderr but that which says what a command takes for granted of weights alone."""
    return [line for line in err.splitlines() if 'does not say how its images were prepared' not in line]
