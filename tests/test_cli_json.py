"""`--json` puts what the JSON files hold on stdout, and nothing else: it can be piped."""
import json
import shutil

import pytest
from PIL import Image
from run_command import run_command

from timm_coded.cli import main

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def folder(digits_checkpoint, tmp_path_factory):
    """A folder with a checkpoint, its outputs and an image."""
    folder = tmp_path_factory.mktemp('json')
    shutil.copy(digits_checkpoint, folder / 'net.pth.tar')
    assert main(['evaluate', str(folder / 'net.pth.tar')]) == 0
    Image.new('L', (8, 8), 99).save(folder / 'grey.png')
    return folder


def printed(capsys, *argv) -> dict:
    capsys.readouterr()
    assert main([*map(str, argv), '--json']) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize('argv, names', [
    (['calibrate', 'analysis/outputs-validation.npz', '--draws', '2'], ['calibrate']),
    (['decode', 'analysis/outputs-validation.npz'], ['decode']),
    (['detect', 'analysis/outputs-validation.npz'], ['detect']),
    (['explain', 'net.pth.tar', 'grey.png'], ['explain-grey']),
    (['activations', 'net.pth.tar'], ['activations', 'energies']),
    (['ablate', 'net.pth.tar', '--blocks', 'layer3.0', '--draws', '1'], ['ablate']),
])
def test_stdout_holds_what_the_files_hold(folder, monkeypatch, capsys, argv, names):
    monkeypatch.chdir(folder)
    found = printed(capsys, *argv)
    assert list(found) == names
    for name in names:
        assert found[name] == json.loads((folder / 'analysis' / f'{name}.json').read_text())
        assert found[name]['tables']


def test_extraction_without_timing_prints_its_sizes(folder, tmp_path, capsys):
    found = printed(capsys, 'extract', folder / 'net.pth.tar', '--classes', 3, '--repeats', 0, '--output',
                    tmp_path / 'three.pth')
    assert found['extract'] == json.loads((tmp_path / 'three' / 'extract.json').read_text())


def test_average_prints_without_files(folder, tmp_path, capsys):
    one = folder / 'analysis' / 'evaluate.json'
    other = shutil.copy(one, tmp_path)
    found, = printed(capsys, 'average', one, other).values()
    assert found['tables']['accuracy']['rows']


def test_paths_are_listed(tmp_path, capsys):
    found = printed(capsys, 'paths', 'coded_resnext11_10x11d', '--classes', 3, '--output', tmp_path / 'a.png')
    rows = found['paths']['tables']['paths']['rows']
    assert [row['block'] for row in rows] == ['layer2.0', 'layer3.0']
    assert [len(row['class 3'].split()) for row in rows] == [5, 3]


def test_measurements_of_models_are_printed(tmp_path, capsys):
    found = printed(capsys, 'benchmark', 'resnext11_10x11d', '--num-classes', 10, '--img-size', 12, '-b', 2,
                    '--repeats', 2, '--mode', 'inference', '--output', tmp_path)
    assert found['benchmark']['tables']['speed']['rows'][0]['model'] == 'resnext11_10x11d'


def test_a_process_in_a_pipe_prints_json_and_no_bar(folder):
    done = run_command('evaluate', folder / 'net.pth.tar', '--json')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {'evaluate': json.loads((folder / 'analysis' / 'evaluate.json').read_text())}
    assert 'outputs of 389 images' in done.stderr and '\r' not in done.stderr


def test_images_without_targets_have_no_tables(folder, tmp_path, capsys):
    assert printed(capsys, 'evaluate', folder / 'net.pth.tar', '--foreign', 'letters', '--output', tmp_path) == {}
