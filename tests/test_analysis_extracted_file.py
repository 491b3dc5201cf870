"""An extracted network is rebuilt from its file alone; a file that is broken or foreign is named as that."""
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cutting import random_model
from timm.data import resolve_model_data_config

from timm_coded import extract_classes, load_extracted
from timm_coded.analysis.extraction.extracted_file import Extracted, save_extracted
from timm_coded.analysis.thresholds import Thresholds, read_threshold

pytestmark = pytest.mark.usefixtures('one_thread')

ARCH = 'coded_resnext11_10x11d'
ONE = Extracted(ARCH, [7], class_names=['cat'], num_classes=10, threshold=1.25, source='abc',
                data_config={'input_size': (3, 8, 8), 'mean': (.1, .2, .3), 'std': (.4, .5, .6), 'crop_pct': 1.0})


@pytest.fixture
def saved(tmp_path):
    network = extract_classes(random_model(), [7])
    save_extracted(network, ONE, tmp_path / 'cat.pth')
    return network, tmp_path / 'cat.pth'


def test_file_gives_the_network_and_what_there_is_to_know(saved):
    network, path = saved
    loaded, x = load_extracted(path), torch.randn(3, 3, 8, 8)
    assert loaded.extracted == ONE
    config = resolve_model_data_config(loaded)
    assert {name: config[name] for name in ONE.data_config} == ONE.data_config
    assert not loaded.training and loaded.num_classes == 1 and loaded.kept_subnns == network.kept_subnns
    assert torch.equal(loaded(x), network(x))
    for actual, expected in zip(loaded.forward_energies(x)[1], network.forward_energies(x)[1]):
        assert torch.equal(actual, expected)
    for block in network.coded_blocks:
        assert torch.equal(loaded.codewords(block), network.codewords(block))
    assert {t.device.type for t in loaded.state_dict().values()} == {'cpu'}
    assert loaded.state_dict().keys() == network.state_dict().keys()


def test_another_process_needs_the_file_only(tmp_path):
    kwargs = {'num_active': (10, 4, 2), 'drop_subnn': 0.3, 'energy_norm': False}
    model = random_model(dtype=torch.float64, num_classes=12, **kwargs)
    network = extract_classes(model, [11, 3])
    save_extracted(network, Extracted(ARCH, [11, 3], kwargs, ['dog', 'cat']), tmp_path / 'two.pth')
    script = ('import sys, torch, timm_coded; net = timm_coded.load_extracted(sys.argv[1]); torch.set_num_threads(1); '
              'print([net.extracted.class_names, net(torch.ones(1, 3, 8, 8, dtype=torch.float64)).tolist()])')
    done = subprocess.run([sys.executable, '-c', script, 'two.pth'], cwd=tmp_path, capture_output=True, text=True,
                          check=True, timeout=300, env={'PYTHONPATH': str(Path(__file__).parent.parent)})
    names, logits = json.loads(done.stdout.replace("'", '"'))
    assert names == ['dog', 'cat']
    torch.testing.assert_close(torch.tensor(logits, dtype=torch.float64),
                               network(torch.ones(1, 3, 8, 8, dtype=torch.float64)))


def test_loaded_network_can_be_saved_again_and_trained(saved, tmp_path):
    network, path = saved
    loaded = load_extracted(path)
    save_extracted(loaded, loaded.extracted, tmp_path / 'again.pth')
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(load_extracted(tmp_path / 'again.pth')(x), network(x))
    loaded.train()(x).sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_threshold_decides_for_one_class():
    logits = torch.tensor([[1.], [1.25], [1.5], [-9.]])
    assert ONE.is_class(logits).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match='has no threshold'):
        replace(ONE, threshold=None).is_class(logits)
    with pytest.raises(ValueError, match='a threshold for 2 classes'):
        Extracted(ARCH, [1, 2], threshold=0.)
    with pytest.raises(ValueError, match='expected a finite number'):
        Extracted(ARCH, [1], threshold=math.nan)
    with pytest.raises(ValueError, match='2 class names for 1 classes'):
        Extracted(ARCH, [1], class_names=['a', 'b'])


def broken_files(content):
    """What a file that is not whole, or not ours, may hold, by name: functions that write it."""
    state, about = content['state_dict'], content['extracted']
    return {
        'empty': lambda path: path.write_bytes(b''),
        'text': lambda path: path.write_text('no network'),
        'cut off': lambda path: path.write_bytes(path.read_bytes()[:-5000]),
        'tensor': lambda path: torch.save(torch.ones(3), path),
        'checkpoint': lambda path: torch.save({'state_dict': state, 'args': {}}, path),
        'objects': lambda path: torch.save(Path('x'), path),
        'without weights': lambda path: torch.save({**content, 'state_dict': {}}, path),
        'other subNNs': lambda path: torch.save({**content, 'kept_subnns': {5: [1, 2], 3: [1, 2, 3]}}, path),
        'no subNNs': lambda path: torch.save({**content, 'kept_subnns': None}, path),
        'two classes': lambda path: torch.save({**content, 'extracted': {**about, 'classes': [1, 2], 'threshold': None,
                                                                         'class_names': []}}, path),
        'unknown model': lambda path: torch.save({**content, 'extracted': {**about, 'arch': 'resnext1'}}, path),
        'stock model': lambda path: torch.save({**content, 'extracted': {**about, 'arch': 'resnet10t'}}, path),
        'other argument': lambda path: torch.save({**content, 'extracted': {**about, 'colour': 'red'}}, path),
    }


@pytest.mark.parametrize('kind', broken_files({'state_dict': {}, 'extracted': {}}))
def test_broken_and_foreign_files_are_an_error(saved, kind):
    _, path = saved
    broken_files(torch.load(path, weights_only=True))[kind](path)
    with pytest.raises(ValueError, match='cat.pth (is broken, or no file|is no file|does not hold)'):
        load_extracted(path)


def test_file_cannot_make_another_one_be_loaded(saved):
    network, path = saved
    content = torch.load(path, weights_only=True)
    torch.save(random_model(num_classes=0).state_dict(), path.with_name('other.pth'))
    content['extracted']['model_kwargs'] = {'checkpoint_path': str(path.with_name('other.pth'))}
    torch.save(content, path)
    with pytest.raises(ValueError, match="multiple values for keyword argument 'checkpoint_path'"):
        load_extracted(path)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_extracted(tmp_path / 'none.pth')


@pytest.mark.parametrize('extracted', [
    replace(ONE, arch='coded_resnext29_10x11d'),
    replace(ONE, model_kwargs={'num_active': (10, 4, 2)}),
    replace(ONE, model_kwargs={'norm_layer': torch.nn.BatchNorm2d}),
    Extracted(ARCH, [7, 8]),
], ids=['arch', 'arguments', 'object', 'classes'])
def test_what_cannot_be_read_back_does_not_replace_a_file(saved, extracted):
    network, path = saved
    before = path.read_bytes()
    with pytest.raises(ValueError):
        save_extracted(network, extracted, path)
    assert path.read_bytes() == before and [*path.parent.iterdir()] == [path]


def test_thresholds_are_read(tmp_path):
    path = tmp_path / 'classifiers.json'
    content = {'fingerprint': 'abc', 'thresholds': {'3': 0.5, '4': 2, '5': None, '6': math.inf, '7': 'high'}}
    path.write_text(json.dumps(content))
    assert read_threshold(path, 'abc', 3) == 0.5 and read_threshold(path, 'abc', 4) == 2.
    for index, message in {0: 'no threshold for class 0', 5: 'no threshold for class 5', 6: 'expected a finite number',
                           7: 'expected a finite number'}.items():
        with pytest.raises(ValueError, match=message):
            read_threshold(path, 'abc', index)
    with pytest.raises(ValueError, match=r'thresholds of another model \(abc, this is abd\)'):
        read_threshold(path, 'abd', 3)
    for text in ('', '[]', '{"fingerprint": "abc"}', '{"fingerprint": "abc", "thresholds": 3}', '\x00'):
        path.write_text(text)
        with pytest.raises(ValueError, match='is no file of thresholds'):
            read_threshold(path, 'abc', 3)
    with pytest.raises(FileNotFoundError):
        read_threshold(tmp_path / 'none.json', 'abc', 3)


def test_thresholds_of_other_classes_of_the_same_model_stay_in_the_file(tmp_path):
    path = tmp_path / 'classifiers.json'
    Thresholds('abc', {10: 1.5, 3: 1.}, []).save(path)
    Thresholds('abc', {3: 2.}, ['a']).save(path)
    content = {'fingerprint': 'abc', 'thresholds': {'3': 2., '10': 1.5}, 'class_names': ['a']}
    assert json.loads(path.read_text()) == content
    Thresholds('def', {4: 1.}, []).save(path)
    assert json.loads(path.read_text())['thresholds'] == {'4': 1.}
    for broken in ('', '[]', '{"thresholds": 1}', '{"thresholds": {"a": 1}, "fingerprint": "abc"}'):
        path.write_text(broken)
        Thresholds('abc', {3: 2.}, []).save(path)
        assert read_threshold(path, 'abc', 3) == 2.
