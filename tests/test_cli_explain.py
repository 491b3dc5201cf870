"""`timm-coded explain`: an image file is read as the evaluation reads it; wrong input in one line."""
import json

import numpy as np
import pytest
import torch
from PIL import Image
from run_command import failure

from timm_coded.analysis.calibration.calibrator import Calibrator
from timm_coded.analysis.outputs import fingerprint
from timm_coded.cli import main
from timm_coded.train.data.digits import Digits
from timm_coded.train.trained import load_trained


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The first two images of the validation split."""
    folder = tmp_path_factory.mktemp('images')
    for index in range(2):
        Digits('validation')[index][0].save(folder / f'digit {index}.png')
    return [str(folder / f'digit {index}.png') for index in range(2)]


def test_image_files_are_read_as_the_evaluation_reads_them(digits_checkpoint, files):
    trained = load_trained(digits_checkpoint)
    expected, _ = next(iter(trained.images(workers=0)))
    for path, image in zip(files, expected):
        assert torch.equal(trained.read_image(path), image[None])
    shown = trained.pixels(trained.read_image(files[0]))[0].permute(1, 2, 0) * 255
    assert np.array_equal(shown.round(), np.asarray(Image.open(files[0])))


def test_each_image_has_its_files(digits_checkpoint, files, tmp_path, capsys):
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(f'digit {k}' for k in range(10)) + '\n')
    argv = ['explain', str(digits_checkpoint), *files, '--output', str(tmp_path / 'out'), '--class-names', str(names)]
    assert main(argv) == 0
    trained = load_trained(digits_checkpoint)
    for index, path in enumerate(files):
        content = json.loads((tmp_path / 'out' / f'explain-digit-{index}.json').read_text())
        first = content['tables'][f'explain-digit-{index}']['rows'][0]
        probabilities = trained.model(trained.read_image(path)).softmax(1)[0]
        assert first['class'] == probabilities.argmax() and first['name'] == f'digit {first["class"]}'
        assert first['probability'] == pytest.approx(100 * probabilities.max().item(), rel=1e-5)
        assert (tmp_path / 'out' / f'explain-digit-{index}.png').exists()
        assert content['title'] in capsys.readouterr().out or index


def test_names_are_the_data_sets_or_numbers(digits_checkpoint, files, tmp_path):
    state = torch.load(digits_checkpoint, weights_only=True)
    state['args'].update(dataset='', data_dir='/gone')
    torch.save(state, tmp_path / 'moved.pth.tar')
    for checkpoint in (digits_checkpoint, tmp_path / 'moved.pth.tar'):
        assert main(['explain', str(checkpoint), files[0], '--output', str(tmp_path / 'out')]) == 0
        rows = json.loads((tmp_path / 'out' / 'explain-digit-0.json').read_text())['tables']['explain-digit-0']['rows']
        assert all(row['name'] == str(row['class']) for row in rows)


def test_calibrator_is_that_of_the_model(digits_checkpoint, files, tmp_path, capsys):
    model = load_trained(digits_checkpoint).model
    calibrator = Calibrator(3., dict.fromkeys(model.coded_blocks, 0.), fingerprint(model), 10, 100)
    calibrator.save(tmp_path / 'own.json')
    argv = ['explain', digits_checkpoint, files[0], '--output', tmp_path / 'out', '--calibrator']
    assert main([str(word) for word in (*argv, tmp_path / 'own.json')]) == 0
    tables = json.loads((tmp_path / 'out' / 'explain-digit-0.json').read_text())['tables']
    first = tables['explain-digit-0']['rows'][0]
    assert 0 < first['calibrated'] < first['probability'], 'a higher temperature is less sure'
    capsys.readouterr()
    calibrator.about = {'at_bound': True}
    calibrator.save(tmp_path / 'own.json')
    assert main([str(word) for word in [*argv, tmp_path / 'own.json']]) == 0
    assert 'do not trust the calibrated probabilities' in capsys.readouterr().out
    calibrator.fingerprint = 'other'
    calibrator.save(tmp_path / 'other.json')
    assert 'another model' in failure(capsys, *argv, tmp_path / 'other.json')
    assert 'no calibrator' in failure(capsys, *argv, tmp_path / 'out' / 'explain-digit-0.json')


def test_wrong_input_is_told_in_one_line_before_anything_is_written(digits_checkpoint, files, tmp_path, capsys):
    run = ['--output', tmp_path / 'out']
    none = tmp_path / 'none.png'
    assert f'there is no image {none}' in failure(capsys, 'explain', digits_checkpoint, files[0], none, *run)
    text = tmp_path / 'text.png'
    text.write_text('no image')
    assert 'as an image: UnidentifiedImageError' in failure(capsys, 'explain', digits_checkpoint, text, *run)
    assert 'as an image' in failure(capsys, 'explain', digits_checkpoint, tmp_path, *run)
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / 'float.tif')
    assert 'no known range' in failure(capsys, 'explain', digits_checkpoint, tmp_path / 'float.tif', *run)
    assert 'same name' in failure(capsys, 'explain', digits_checkpoint, files[0], files[0], *run)
    assert '1 lines, the model 10 classes' in failure(
        capsys, 'explain', digits_checkpoint, files[0], '--class-names', text, *run)
    assert 'cannot read --class-names' in failure(
        capsys, 'explain', digits_checkpoint, files[0], '--class-names', tmp_path / 'none', *run)
    assert not (tmp_path / 'out').exists()
