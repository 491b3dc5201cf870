"""`timm-coded extract` writes a network that works alone, with its tables, and answers wrong input in one line."""
import csv
import importlib.util
import json

import pytest
import timm
import torch
from cutting import union_masks

import timm_coded
from timm_coded.analysis.outputs import fingerprint
from timm_coded.cli import main
from timm_coded.train.errors import UserError
from timm_coded.train.trained import load_trained

pytestmark = [
    pytest.mark.usefixtures('one_thread'),
    pytest.mark.filterwarnings('ignore:The given buffer is not writable'),  # of torch.export.load
]


@pytest.fixture(scope='module')
def trained(digits_checkpoint):
    return load_trained(digits_checkpoint)


def extract(checkpoint, *args):
    return main(['extract', str(checkpoint), *map(str, args)])


def said_in(program):
    """What the file of --torch-export says of its images and logits."""
    extra = {'timm_coded': ''}
    torch.export.load(program, extra_files=extra)
    return json.loads(extra['timm_coded'])


def read(folder, name):
    with open(folder / f'{name}.csv') as file:
        return list(csv.DictReader(file))


def test_one_class_with_its_threshold_and_exports(digits_checkpoint, trained, tmp_path, capsys):
    pytest.importorskip('onnxruntime')
    thresholds = tmp_path / 'classifiers.json'
    thresholds.write_text(json.dumps({'fingerprint': fingerprint(trained.model), 'thresholds': {'3': 1.5}}))
    path = tmp_path / 'new' / 'three.pth'
    assert extract(
        digits_checkpoint, '--classes', 3, '--output', path, '--thresholds', thresholds, '--repeats', 2,
        '--torch-export', tmp_path / 'p' / 'three.pt2', '--onnx', tmp_path / 'o' / 'three.onnx') == 0
    out, err = capsys.readouterr()
    assert f'network: {path}' in err
    assert (tmp_path / 'p' / 'three.pt2').exists() and (tmp_path / 'o' / 'three.onnx').exists()

    network, model = timm_coded.load_extracted(path), trained.model
    images, targets = next(iter(trained.images()))
    masked = model.forward_energies(images, union_masks(model, [3]))[0][:, [3]]
    torch.testing.assert_close(network(images), masked, rtol=1e-5, atol=1e-5)
    about = network.extracted
    assert about.source == fingerprint(model) and about.threshold == 1.5 and about.num_classes == 10
    assert torch.equal(about.is_class(network(images)), masked[:, 0] >= 1.5)

    parameters = sum(p.numel() for p in network.parameters())
    assert read(path.with_suffix(''), 'sizes')[0]['extracted'] == str(parameters) and f'{parameters:,}' in out
    assert [row['repeats'] for row in read(path.with_suffix(''), 'latency')] == ['2', '2']
    notes = json.loads((path.with_suffix('') / 'extract.json').read_text())['notes']
    assert 'classes: 3; subNNs kept: 5 of 10 in blocks with 5 active, 3 of 10 in blocks with 3 active' in notes


def test_stored_config_makes_the_images_of_the_evaluation(digits_checkpoint, trained, tmp_path):
    assert extract(digits_checkpoint, '--classes', 3, '--repeats', 0, '--output', tmp_path / 'net.pth') == 0
    config = timm_coded.load_extracted(tmp_path / 'net.pth').extracted.data_config
    assert config['input_size'] == (3, 8, 8)
    images = trained.images()
    transform = timm.data.create_transform(**config)
    ours = torch.stack([transform(images.dataset[index][0]) for index in range(5)])
    torch.testing.assert_close(ours, next(iter(images))[0][:5])


def test_several_classes_with_their_accuracy(digits_checkpoint, trained, tmp_path):
    assert extract(digits_checkpoint, '--classes', 7, 1, '--accuracy', '--repeats', 0,
                   '--output', tmp_path / 'two.pth') == 0
    network = timm_coded.load_extracted(tmp_path / 'two.pth')
    assert network.extracted.classes == [7, 1] and network.extracted.threshold is None
    assert network.extracted.class_names == [trained.images().class_names[index] for index in (7, 1)]
    hits, samples = [0, 0, 0], 0
    for images, targets in trained.images():
        full, model = trained.model(images), trained.model
        masked = model.forward_energies(images, union_masks(model, [7, 1]))[0]
        for index, target in enumerate(targets.tolist()):
            if target in (7, 1):
                samples += 1
                named = (max((7, 1), key=lambda k: masked[index, k].item()),
                         max((7, 1), key=lambda k: full[index, k].item()), full[index].argmax().item())
                hits = [hit + (name == target) for hit, name in zip(hits, named)]
    rows = read(tmp_path / 'two', 'accuracy')
    assert [float(row['accuracy']) for row in rows] == pytest.approx([100 * hit / samples for hit in hits])
    assert {row['samples'] for row in rows} == {str(samples)}
    assert not (tmp_path / 'two' / 'latency.csv').exists()


def test_classes_are_found_by_name(digits_checkpoint, tmp_path, monkeypatch, capsys):
    names = ['nought', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'one']
    monkeypatch.setattr('timm_coded.train.trained.class_names', lambda images: names)
    output = '--output', tmp_path / 'net.pth', '--repeats', '0'
    assert extract(digits_checkpoint, '--classes', 'seven', 1, 'nought', *output) == 0
    about = timm_coded.load_extracted(tmp_path / 'net.pth').extracted
    assert about.classes == [7, 1, 0] and about.class_names == ['seven', 'one', 'nought']
    capsys.readouterr()
    messages = {'sven': "no class of the name 'sven'; did you mean seven", 'one': "2 classes of the name 'one'",
                'cat': "no class of the name 'cat': give a class index"}
    for name, message in messages.items():
        assert extract(digits_checkpoint, '--classes', name, *output) == 2
        assert message in capsys.readouterr().err


def test_names_of_a_file_take_the_place_of_the_data_sets(digits_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr('timm_coded.train.trained.Trained.images', lambda *args, **kwargs: pytest.fail('opened'))
    (tmp_path / 'names.txt').write_text('\n'.join('abcdefghij'))
    assert extract(digits_checkpoint, '--classes', 'h', 1, '--class-names', tmp_path / 'names.txt', '--repeats', 0,
                   '--output', tmp_path / 'net.pth', '--torch-export', tmp_path / 'net.pt2') == 0
    about = timm_coded.load_extracted(tmp_path / 'net.pth').extracted
    assert about.classes == [7, 1] and about.class_names == ['h', 'b'] == said_in(tmp_path / 'net.pt2')['class_names']


def test_a_class_by_its_index_is_exported_with_its_name(digits_checkpoint, trained, tmp_path, monkeypatch, capsys):
    names = ['nought', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
    monkeypatch.setattr('timm_coded.train.trained.class_names', lambda images: names)
    argv = digits_checkpoint, '--classes', 3, 8, '--repeats', 0, '--output', tmp_path / 'net.pth', '--torch-export'
    assert extract(*argv, tmp_path / 'named.pt2') == 0
    assert said_in(tmp_path / 'named.pt2')['class_names'] == ['three', 'eight']
    assert '--class-names' not in capsys.readouterr().err


def test_where_no_names_are_at_hand_the_indices_take_their_place(digits_checkpoint, tmp_path, monkeypatch, capsys):
    def images(*args, **kwargs):
        raise UserError('there is no such folder')

    monkeypatch.setattr('timm_coded.train.trained.Trained.images', images)
    argv = digits_checkpoint, '--classes', 3, 8, '--repeats', 0, '--output', tmp_path / 'net.pth', '--torch-export'
    assert extract(*argv, tmp_path / 'net.pt2') == 0
    about = said_in(tmp_path / 'net.pt2')
    assert about['class_names'] == ['3', '8'] and about['classes'] == [3, 8]
    assert capsys.readouterr().err.count('--class-names FILE') == 1


def test_files_go_beside_the_checkpoint_by_default(digits_checkpoint, tmp_path):
    copied = tmp_path / 'net.pth.tar'
    copied.write_bytes(digits_checkpoint.read_bytes())
    assert extract(copied, '--classes', 3, 0, '--repeats', 0) == 0
    assert {path.name for path in (tmp_path / 'analysis').iterdir()} == {'extracted-3-0.pth', 'extracted-3-0'}
    assert extract(copied, '--classes', *range(9), '--repeats', 0) == 0
    assert timm_coded.load_extracted(tmp_path / 'analysis' / 'extracted-9-classes.pth').num_classes == 9


@pytest.mark.parametrize('args, message', [
    (['--classes', '10'], 'there is no class 10: the model has 10 classes, 0 to 9'),
    (['--classes', '-1'], 'there is no class -1'),
    (['--classes', '3', '3'], 'class 3 is named more than once'),
    (['--classes'], 'expected at least one argument'),
    ([], 'the following arguments are required: --classes'),
    (['--classes', '3', '--accuracy'], 'name two classes or more'),
    (['--classes', '3', '--repeats', '-1'], 'must be at least 0, got -1'),
    (['--classes', '3', '--thresholds', 'none.json'], 'none.json: No such file'),
    (['--classes', '3', '4', '--thresholds', 'foreign.json'], 'extract the classes one by one'),
    (['--classes', '3', '--thresholds', 'foreign.json'], 'thresholds of another model (abc'),
    (['--classes', '3', '--thresholds', 'broken.json'], 'is no file of thresholds'),
    (['--classes', '3', '--output', 'net'], 'give it an ending'),
    (['--classes', '3', '--output', 'broken.json/net.pth'], 'cannot write to --output broken.json'),
    (['--classes', '3', '--onnx', 'broken.json/net.onnx'], 'broken.json: '),
    (['--classes', '3', '--dataset', 'cats'], '--dataset cats'),
    (['--classes', '3', '--output', 'net.pth', '--torch-export', 'net.pth'], 'are both net.pth'),
    (['--classes', '3', '--onnx', '.'], 'is a folder'),
    (['--classes', '3', '--onnx', 'net', '--torch-export', 'net'], 'name the same file'),
    (['--classes', '3', '--energies'], '--energies is of exported files'),
    (['--classes', '3', '--class-names', 'none.txt'], 'cannot read --class-names none.txt'),
    (['--classes', '3', '--class-names', 'broken.json'], 'broken.json has 1 lines, the model 10 classes'),
])
def test_wrong_input_is_one_line_and_writes_nothing(digits_checkpoint, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'foreign.json').write_text('{"fingerprint": "abc", "thresholds": {"3": 0.5}}')
    (tmp_path / 'broken.json').write_text('{"fingerprint"')
    try:
        status = extract(digits_checkpoint, *args)
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    assert status == 2 and message in err and len(err.splitlines()) == 1 and out == ''
    assert {path.name for path in tmp_path.iterdir()} == {'foreign.json', 'broken.json'}


def test_missing_onnx_packages_are_told_before_anything_is_done(digits_checkpoint, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name, *args: None if name == 'onnx' else find(name, *args))
    assert extract(digits_checkpoint, '--classes', 3, '--onnx', tmp_path / 'net.onnx') == 2
    assert "pip install 'timm_coded[onnx]'" in capsys.readouterr().err and not [*tmp_path.iterdir()]


def test_models_without_coded_blocks_are_an_error(tmp_path, capsys):
    torch.save(timm.create_model('resnext11_10x11d').state_dict(), tmp_path / 'stock.pth')
    assert extract(tmp_path / 'stock.pth', '--model', 'resnext11_10x11d', '--classes', 3) == 2
    assert 'has no coded blocks' in capsys.readouterr().err
    assert extract(tmp_path / 'stock.pth', '--model', 'coded_resnext11_10x11d', '--classes', 3) == 2
    assert 'has no codewords' in capsys.readouterr().err
    (tmp_path / 'stock.pth').write_text('no weights')
    assert extract(tmp_path / 'stock.pth', '--classes', 3) == 2
    assert [path.name for path in tmp_path.iterdir()] == ['stock.pth']


def test_names_of_classes_that_are_not_at_hand_are_asked_for(tmp_path, capsys):
    torch.save(timm.create_model('coded_resnext11_10x11d').state_dict(), tmp_path / 'net.pth')
    assert extract(tmp_path / 'net.pth', '--model', 'coded_resnext11_10x11d', '--classes', 'three', 4) == 2
    assert 'three: no class index, and no names of classes are at hand' in capsys.readouterr().err


def test_weights_with_a_scheme_and_ratios_of_their_own(tmp_path):
    model = timm.create_model('coded_resnext11_10x11d', num_classes=12, scheme_source='search').eval()
    torch.save(model.state_dict(), tmp_path / 'net.pth')
    assert extract(tmp_path / 'net.pth', '--model', 'coded_resnext11_10x11d', '--classes', 11, '--img-size', 16,
                   '--repeats', 0) == 0
    network = timm_coded.load_extracted(tmp_path / 'analysis' / 'extracted-11.pth')
    assert network.extracted.data_config['input_size'] == (3, 16, 16) and network.extracted.num_classes == 12
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network(x), model.forward_energies(x, union_masks(model, [11]))[0][:, [11]])
