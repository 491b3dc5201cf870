"""`timm-coded` in its own process: one that has opened XLA's runtime can no longer launch replicas, as tests do."""
import subprocess
import sys


def run_command(*argv) -> subprocess.CompletedProcess:
    words = [str(word) for word in argv]
    return subprocess.run([sys.executable, '-m', 'timm_coded.cli', *words], capture_output=True, text=True, timeout=300)
