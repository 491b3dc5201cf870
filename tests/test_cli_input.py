import csv
import json

import pytest
from image_folder import make_image_folder

from timm_coded.cli import main

# timm's own data set leaves its files open
pytestmark = pytest.mark.filterwarnings('ignore::ResourceWarning', 'ignore::pytest.PytestUnraisableExceptionWarning')


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_made_and_given_images_are_measured_in_all_ways(tmp_path, capsys):
    small = ['-b', '2', '--img-size', '32', '--eval-img-size', '48', '--repeats', '2']
    make_image_folder(tmp_path / 'images', {'cat': 8, 'dog': 8}, (80, 64))
    for name, argv, words in (
            ('made', ['--device-rate', '1000', '-j', '0', '1'], 'JPEG files made on the spot'),
            ('given', [str(tmp_path / 'images'), '-j', '0'], f'images of {tmp_path}/images'),
    ):
        folder = tmp_path / name
        assert main(['input', *argv, *small, '--output', str(folder)]) == 0
        printed = capsys.readouterr().out
        assert words in printed and 'simulated' in printed
        assert printed.count('Measured (stopwatch)') == 2 and printed.count('Measured (CPU time)') == 1
        rows = rows_of(folder / 'input.csv')
        workers = [int(word) for word in argv[argv.index('-j') + 1:]]
        assert [(row['images'], row['way'], int(row['workers'])) for row in rows] == [
            (images, way, count) for count in workers for images in ('training', 'evaluation')
            for way in ('paper', 'ours', 'fast')]
        assert all(row['n'] == '2' and float(row['images_s']) > 0 for row in rows)
        assert all(('cores_needed' in row) == (name == 'made') for row in rows)
        assert len(rows_of(folder / 'input-overlap.csv')) == 3 and (folder / 'input.png').stat().st_size > 10_000
        assert json.loads((folder / 'input.json').read_text())['tables'].keys() == {
            'input', 'input-parts', 'input-overlap'}


@pytest.mark.parametrize('argv, message', [
    (['/no/such/folder'], 'there is no folder /no/such/folder'),
    (['--workers', '4096'], '--workers 4096: there are'),
    (['--repeats', '0'], 'must be at least 1'),
    (['--device-rate', 'fast'], "'fast'"),
])
def test_bad_input_is_told_in_one_line(tmp_path, capsys, argv, message):
    with pytest.raises(SystemExit) if argv[0] in ('--repeats', '--device-rate') else pytest.MonkeyPatch.context():
        assert main(['input', *argv, '--output', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
