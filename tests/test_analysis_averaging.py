"""Mean and spread over runs are the textbook's, and only the same analysis is averaged."""
import pytest

from timm_coded.analysis.averaging import average_findings, with_spread
from timm_coded.analysis.findings import Findings, Table
from timm_coded.cli import main


@pytest.fixture
def write(tmp_path):
    def write(name, accuracies, method='ours', title='Accuracy', missing=False):
        rows = [{'method': method, 'accuracy': value, 'samples': 389, 'k': None} for value in accuracies]
        if missing:
            rows[0]['accuracy'] = None
        return Findings('x', title, [Table('t', 'Of 389 samples', rows)]).write(tmp_path / name)[0]
    return write


def test_mean_and_sample_deviation(write):
    table = average_findings([write('a', [1., 50.]), write('b', [2., 50.]), write('c', [6., 50.])]).tables[0]
    assert table.rows == [
        {'method': 'ours', 'accuracy': '3.0 ± 2.6', 'samples': 389, 'k': None},
        {'method': 'ours', 'accuracy': '50.00 ± 0.00', 'samples': 389, 'k': None}]


def test_number_that_a_run_lacks_has_no_mean(write):
    table = average_findings([write('a', [1., 2.]), write('b', [1., 2.], missing=True)]).tables[0]
    assert [row['accuracy'] for row in table.rows] == [None, '2.00 ± 0.00']


@pytest.mark.parametrize('mean, spread, text', [
    (98.304, .2349, '98.30 ± 0.23'), (98.3, 12.34, '98 ± 12'), (.5, 1e-7, '0.5000 ± 0.0000'), (7, 1., '7.0 ± 1.0')])
def test_digits_go_as_far_as_the_spread(mean, spread, text):
    assert with_spread(mean, spread) == text


def test_table_whose_rows_differ_is_left_out_and_named(tmp_path):
    def findings(rows):
        tables = [Table('same', 'Same', [{'a': rows / 2}]), Table('other', 'Other', [{'k': 1}] * rows),
                  Table('titled', f'Of {rows} samples', [{'k': 1}])]
        return Findings('x', 'X', tables).write(tmp_path / f'{rows}')[0]

    average = average_findings([findings(1), findings(2)])
    assert [table.name for table in average.tables] == ['same'] and 'other, titled' in average.notes[0]


def test_other_analyses_and_other_files_are_refused(write, tmp_path, capsys):
    one = write('a', [1.])
    (tmp_path / 'text.json').write_text('hello')
    (tmp_path / 'list.json').write_text('[1]')
    cases = [
        ([one], 'two runs'), ([one, one], 'named twice'), ([one, write('b', [1., 2.])], 'other tables'),
        ([one, write('c', [1.], method='theirs')], 'other tables'),
        ([one, write('d', [1.], title='Else')], 'other tables'),
        ([one, tmp_path / 'text.json'], 'no findings'), ([one, tmp_path / 'list.json'], 'no findings'),
        ([one, tmp_path / 'none.json'], 'No such file'),
    ]
    for paths, expected in cases:
        assert main(['average', *map(str, paths)]) == 2
        assert expected in capsys.readouterr().err
    assert main(['average', str(one), str(write('e', [3.])), '--output', str(tmp_path / 'out')]) == 0
    assert '2.0 ± 1.4' in capsys.readouterr().out
    assert '2.0 ± 1.4' in (tmp_path / 'out' / 't.csv').read_text()
