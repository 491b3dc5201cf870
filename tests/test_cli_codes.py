"""`timm-coded codes` prints the figures, writes words that load again, and answers wrong input in one line."""
import os
import pty
import subprocess
import sys

import numpy as np
import pytest

from timm_coded.cli import main
from timm_coded.codes import coding_scheme, load_scheme

SIZES = ['codes', '--num-classes', '100', '--num-subnns', '20', '--num-active', '8']


def small(num_classes: int, num_subnns: int, num_active: int, *more: str) -> list:
    return ['codes', '--num-classes', str(num_classes), '--num-subnns', str(num_subnns),
            '--num-active', str(num_active), *more]


def test_figures_are_printed_and_words_written(tmp_path, capsys):
    assert main([*SIZES, '--output', str(tmp_path / 'scheme.txt')]) == 0
    out, err = capsys.readouterr()
    assert err == ''
    figures = {line[:22].strip(): line[22:] for line in out.splitlines()}
    assert figures['classes K'] == '100' and figures['subNNs N'] == '20' and figures['active subNNs N_act'] == '8'
    assert figures['ratio r'] == '8/20 = 0.4'
    assert figures['minimum distance'] == '8 (the bounds allow at most 8, optimal: A(20,10,8) <= 20 < 100, Johnson)'
    assert figures['closest pairs'] == '2886'
    assert figures['column sums'] == '40 to 40: ' + ' '.join(['40'] * 20)
    assert figures['construction'].startswith('optimal: ')
    assert figures['written to'] == str(tmp_path / 'scheme.txt')
    assert np.array_equal(load_scheme(tmp_path / 'scheme.txt').codewords, coding_scheme(100, 20, 8).codewords)


def test_stdout_alone_is_a_scheme_file(tmp_path, capsys):
    assert main(SIZES) == 0
    out, err = capsys.readouterr()
    (tmp_path / 'piped.txt').write_text(out)
    assert np.array_equal(load_scheme(tmp_path / 'piped.txt').codewords, coding_scheme(100, 20, 8).codewords)
    assert 'minimum distance      8 ' in err


def test_a_terminal_gets_the_figures_and_is_told_of_the_words():
    terminal, its_end = pty.openpty()
    command = [sys.executable, '-m', 'timm_coded.cli', *SIZES]
    done = subprocess.run(command, stdout=its_end, stderr=subprocess.PIPE, timeout=120)
    os.close(its_end)
    seen = os.read(terminal, 1 << 16).decode().splitlines()  # all of it: the kernel keeps 4 KiB
    os.close(terminal)
    assert done.returncode == 0 and done.stderr == b''
    figures = coding_scheme(100, 20, 8).describe().splitlines()
    assert seen[:-1] == figures and '--output FILE' in seen[-1]
    assert not [line for line in seen if set(line) <= {'0', '1'}]


def test_distance_below_the_bound_is_not_called_optimal(capsys):
    assert main(small(1000, 32, 16, '--source', 'paper')) == 0
    assert 'minimum distance      10 (the bounds allow at most 12: A(32,14,16) <= ' in capsys.readouterr().err


def test_the_command_in_the_header_makes_the_same_file(tmp_path, capsys):
    first, second = tmp_path / 'first.txt', tmp_path / 'second.txt'
    options = ['--source', 'search', '--min-distance', '4', '--seed', '5']
    assert main(small(12, 9, 4, *options, '--output', str(first))) == 0
    command = first.read_text().splitlines()[2].removeprefix('# made by: timm-coded ')
    assert main([*command.split(), '--output', str(second)]) == 0
    assert first.read_text() == second.read_text()


@pytest.mark.parametrize('arguments, message', [
    ([], 'the following arguments are required: COMMAND'),
    (['words'], "there is no command 'words'"),
    (['codes'], 'the following arguments are required: --num-classes, --num-subnns, --num-active'),
    (small(10, 10, 5, '--num-classes', 'ten'), "argument --num-classes: expected a whole number, got 'ten'"),
    (small(10, 10, 5, '--bogus'), 'unknown argument --bogus'),
    (small(10, 10, 5, '--out', 'x'), 'unknown argument --out'),
    (small(10, 10, 5, '--source', 'best'), "argument --source: invalid choice: 'best'"),
    (small(253, 10, 5), 'only C(10, 5) = 252'),
    (small(0, 10, 5), 'must be at least 1, got 0'),
    (small(10, 10, 11), 'from 1 to 10'),
    (small(11, 10, 5, '--source', 'paper'), 'the paper has no scheme for 11 classes'),
    (small(10, 10, 5, '--seed', '1'), "are for source='search'"),
    (small(10, 10, 5, '--source', 'search', '--min-distance', '5'), 'must be even'),
    (small(10, 10, 5, '--source', 'search', '--seed', '-1'), 'must be at least 0, got -1'),
    (small(13, 10, 3, '--source', 'search', '--min-distance', '4'), 'finds only 10 words'),
])
def test_wrong_input_is_one_line_on_stderr(arguments, message, capsys):
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2 and out == ''
    assert message in err and err.startswith('timm-coded') and err.count('\n') == 1


def test_output_that_cannot_be_written_is_told_before_the_search(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('timm_coded.cli.codes.coding_scheme', lambda *args, **kwargs: pytest.fail('worked first'))
    (tmp_path / 'file').write_text('')
    for path, message in [
            (tmp_path, 'is a folder, --output needs a file'),
            (tmp_path / 'none' / 'scheme.txt', 'is not a folder'),
            (tmp_path / 'file' / 'scheme.txt', 'is not a folder'),
    ]:
        assert main([*SIZES, '--output', str(path)]) == 2
        err = capsys.readouterr().err
        assert message in err and str(tmp_path) in err and err.count('\n') == 1


def test_file_or_folder_that_may_not_be_written_is_told_before_the_search(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('timm_coded.cli.codes.coding_scheme', lambda *args, **kwargs: pytest.fail('worked first'))
    (tmp_path / 'old.txt').touch()
    for path, locked in ((tmp_path / 'old.txt', tmp_path / 'old.txt'), (tmp_path / 'new.txt', tmp_path)):
        monkeypatch.setattr('os.access', lambda asked, mode: asked != locked)  # root may write everywhere
        assert main([*SIZES, '--output', str(path)]) == 2
        assert capsys.readouterr().err == f'timm-coded codes: no permission to write {path}\n'


def test_errors_while_writing_are_told(tmp_path, capsys, monkeypatch):
    def fail(self, path):
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr('timm_coded.codes.CodingScheme.save', fail)
    assert main([*SIZES, '--output', str(tmp_path / 'scheme.txt')]) == 2
    assert capsys.readouterr().err == f'timm-coded codes: {tmp_path / "scheme.txt"}: No space left on device\n'


def test_interruption_is_no_traceback(capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('timm_coded.cli.codes.coding_scheme', interrupt)
    assert main(SIZES) == 130
    assert capsys.readouterr().err == 'timm-coded codes: stopped\n'


def test_a_reader_that_stops_early_is_no_error():
    command = [sys.executable, '-W', 'error', '-m', 'timm_coded.cli', *small(5000, 32, 8)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b'# K=5000')
        process.stdout.close()
        assert b'Traceback' not in process.stderr.read()
    assert process.returncode == 0


def test_a_reader_that_never_reads_is_no_error():
    command = [sys.executable, '-W', 'error', '-m', 'timm_coded.cli', *small(4, 4, 2)]
    buffered = os.environ | {'PYTHONUNBUFFERED': ''}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered) as process:
        process.stdout.close()
        assert process.stderr.read() == b''
    assert process.returncode == 0
