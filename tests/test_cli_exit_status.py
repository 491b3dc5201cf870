"""`timm-coded` ends with the status that its help states."""
import signal
import subprocess
import sys

import pytest

from timm_coded.cli import codes, main

SCHEME = ['codes', '--num-classes', '4', '--num-subnns', '4', '--num-active', '2']


def test_done_is_zero(capsys):
    assert main(SCHEME) == 0


@pytest.mark.parametrize('argv', [
    [], ['no-command'], ['codes'], [*SCHEME, '--bogus'], [*SCHEME, '--num-classes', '100'],
    ['average', 'no-such-file.json'], ['--print-completion', 'sh'],
])
def test_wrong_input_is_two_and_one_line(argv, capsys):
    try:
        status = main(argv)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2 and out == '' and err.startswith('timm-coded') and err.count('\n') == 1


def test_fault_of_the_program_is_not_taken_for_wrong_input(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('a fault')

    monkeypatch.setattr(codes, 'coding_scheme', fail)
    with pytest.raises(RuntimeError, match='a fault'):  # which Python ends with status 1 and a traceback
        main(SCHEME)


def test_interruption_of_a_process_is_130_and_one_line():
    script = f'''
import signal, sys, time
from timm_coded.cli import codes, main

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it

def wait(*args, **kwargs):
    print('ready', flush=True)
    time.sleep(60)

codes.coding_scheme = wait
sys.exit(main({SCHEME}))
'''
    with subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b'ready\n'
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b'timm-coded codes: stopped\n'
    assert process.returncode == 130
