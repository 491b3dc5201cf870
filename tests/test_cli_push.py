"""What `timm-coded push` puts into a folder or on the Hub is the checkpoint's model, and its card tells the truth."""
import copy
import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import yaml
from cutting import random_model
from fake_hub import READ_ONLY, TOKEN, FakeHub
from timm.data import resolve_model_data_config
from timm.models import save_for_hf

import timm_coded
from timm_coded.cli import main
from timm_coded.hub import Card, Source, model_card, read_source, save_folder
from timm_coded.models import early_decode
from timm_coded.train.args import parse_args
from timm_coded.train.checkpoint import Checkpoints
from timm_coded.train.errors import UserError
from timm_coded.train.trained import load_trained

pytestmark = [
    pytest.mark.usefixtures('one_thread'),
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes"),  # of huggingface_hub's own upload
]
IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))

# as a user does it, with nothing of this machine but the Hub
LOAD = '''
import sys, timm, timm_coded, torch
torch.set_num_threads(1)  # as in this process: more of them sum in another order
model = timm.create_model(sys.argv[1], pretrained=True).eval()
logits, energies = model.forward_energies(torch.load(sys.argv[2]))
words = {name: value for name, value in model.state_dict().items() if name.startswith('codewords_')}
torch.save([logits, energies, words, timm.data.resolve_model_data_config(model), model.pretrained_cfg], sys.argv[3])
'''


def push(*args):
    return main(['push', *map(str, args)])


ROW = {'train_loss': 0.5, 'eval_loss': 0.25, 'eval_top1': 91.25, 'eval_top5': 99.5, 'eval_coding_loss': 0.125,
       'eval_decoder_layer2.0': 71.5, 'eval_decoder_layer3.0': 83.75, 'eval_ema_loss': 0.5, 'eval_ema_top1': 92.5,
       'eval_ema_decoder_layer2.0': 74.5, 'lr': 0.01}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """The last of a run of three epochs on the digits, as the loop writes it; nothing was trained."""
    folder = tmp_path_factory.mktemp('output') / 'run'
    folder.mkdir()
    args = parse_args(['--config', str(Path(__file__).parents[1] / 'configs' / 'digits.yaml'), '--model-ema',
                       '--epochs', '3', '--model', 'coded_resnext11_10x11d', '--output', str(folder.parent)])
    args.num_classes = 10
    state = {'arch': args.model, 'num_classes': 10, 'state_dict': random_model().state_dict(), 'optimizer': {},
             'state_dict_ema': random_model(seed=1).state_dict(), 'args': vars(args)}
    checkpoints = Checkpoints(folder, 3)
    for epoch, top1 in enumerate((50., 93., 92.5)):
        checkpoints.save_epoch(epoch, {'metric': top1}, ROW if epoch == 2 else {**ROW, 'eval_top1': top1}, state)
    return folder / 'last.pth.tar'


@pytest.fixture(scope='module')
def trained(checkpoint):
    return load_trained(checkpoint)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that this process finds, with a token for it."""
    with FakeHub() as hub:
        monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', hub.url)
        monkeypatch.setattr('huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE',
                            f'{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}')
        monkeypatch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True)
        monkeypatch.setattr('huggingface_hub.constants.HF_TOKEN_PATH', str(tmp_path / 'no-token'))
        monkeypatch.setenv('HF_TOKEN', TOKEN)
        yield hub
        huggingface_hub.close_session()


@pytest.fixture
def changed(checkpoint, tmp_path):
    """Writes the checkpoint with something changed: gives a function of changes to its content."""
    def change(name='last.pth.tar', args=(), **content):
        state = torch.load(checkpoint, weights_only=True)
        state['args'].update(args)
        path = tmp_path / 'changed' / name
        path.parent.mkdir(exist_ok=True)
        torch.save({**state, **content}, path)
        return path

    return change


def card_of(folder):
    return huggingface_hub.ModelCard((Path(folder) / 'README.md').read_text())


def assert_same_model(logits, energies, model):
    expected, expected_energies = model.forward_energies(IMAGES)
    assert torch.equal(logits, expected)
    for block, ours, theirs in zip(model.coded_blocks, energies, expected_energies, strict=True):
        assert torch.equal(ours, theirs)
        words = model.codewords(block)
        assert torch.equal(early_decode(ours, words), early_decode(theirs, words))


def test_trained_model_goes_over_the_wire_and_comes_back_the_same(digits_checkpoint, tmp_path):
    trained = load_trained(digits_checkpoint)
    torch.save(IMAGES, tmp_path / 'images.pt')
    with FakeHub() as hub:
        env = {**os.environ, 'HF_ENDPOINT': hub.url, 'HF_HOME': str(tmp_path / 'home'), 'HF_TOKEN': TOKEN,
               'HF_HUB_DISABLE_XET': '1', 'HF_HUB_DISABLE_TELEMETRY': '1'}
        done = subprocess.run(
            [sys.executable, '-m', 'timm_coded.cli', 'push', digits_checkpoint, 'digits', '--private'],
            env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and done.stderr == ''
        assert f'pushed: {hub.url}/tester/digits' in done.stdout and 'hf-hub:tester/digits' in done.stdout
        assert set(hub.files('tester/digits')) == {'README.md', 'config.json', 'model.safetensors', 'recipe.yaml'}
        assert hub.repos['tester/digits']['private'] and any(asked.startswith('PUT /lfs/') for asked in hub.asked)
        subprocess.run(
            [sys.executable, '-c', LOAD, 'hf-hub:tester/digits', tmp_path / 'images.pt', tmp_path / 'loaded.pt'],
            env=env, check=True, timeout=300)
    logits, energies, words, config, about = torch.load(tmp_path / 'loaded.pt', weights_only=True)
    assert_same_model(logits, energies, trained.model)
    state = trained.model.state_dict()
    assert words and all(torch.equal(value, state[name]) for name, value in words.items())
    assert tuple(config['input_size']) == (3, 8, 8) and tuple(config['mean']) == tuple(trained.config['mean'])
    assert tuple(config['std']) == tuple(trained.config['std']) and config['crop_pct'] == trained.config['crop_pct']
    assert about['label_names'] == trained.images().class_names and about['num_classes'] == 10
    assert about['license'] == 'apache-2.0'


def test_folder_is_loaded_by_timm_and_its_code_example_runs(checkpoint, trained, tmp_path, monkeypatch, capsys):
    folder = tmp_path / 'new' / 'digits'
    assert push(checkpoint, '--folder', folder) == 0
    out, err = capsys.readouterr()
    assert err == '' and f'local-dir:{folder}' in out
    assert f'written: {folder}: README.md, config.json, model.safetensors, recipe.yaml; ' in out
    loaded = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    with torch.no_grad():
        assert_same_model(*loaded.forward_energies(IMAGES), trained.model)
    monkeypatch.chdir(tmp_path)
    trained.images().dataset[0][0].save('image.png')
    example, = re.findall(r'```python\n(.*?)```', card_of(folder).text, re.DOTALL)
    found = {}
    with torch.no_grad():
        exec(example, found)
        image = trained.images().image(0)[0]
        torch.testing.assert_close(found['images'], image)
        logits, energies = trained.model.forward_energies(image)
        torch.testing.assert_close(found['logits'], logits, rtol=1e-4, atol=1e-4)
        last = trained.model.coded_blocks[-1]
        assert torch.equal(found['early'], early_decode(energies[-1], trained.model.codewords(last)))
        small = timm_coded.extract_classes(trained.model, [0])
        torch.testing.assert_close(found['small'](image), small(image), rtol=1e-4, atol=1e-4)


def test_recipe_makes_the_same_run(checkpoint, tmp_path):
    push(checkpoint, '--folder', tmp_path / 'digits')
    made = vars(parse_args(['--config', str(tmp_path / 'digits' / 'recipe.yaml')]))
    run = torch.load(checkpoint, weights_only=True)['args']
    of_one_machine = 'config', 'output', 'experiment', 'log_interval', 'workers', 'checkpoint_hist'
    different = {name for name in run if name not in of_one_machine and run[name] != made[name]
                 and [*run[name]] != [*made[name]]}
    assert not different
    text = (tmp_path / 'digits' / 'recipe.yaml').read_text()
    assert str(checkpoint.parents[1]) not in text and text in card_of(tmp_path / 'digits').text


def test_card_has_the_metrics_of_its_epoch_and_the_schemes(checkpoint, trained, tmp_path):
    push(checkpoint, '--folder', tmp_path / 'digits', '--license', 'cc-by-4.0')
    card = card_of(tmp_path / 'digits')
    result, = card.data.eval_results
    assert result.metric_value == 0.9125 and (result.dataset_name, result.dataset_split) == ('digits', 'validation')
    assert card.data.license == 'cc-by-4.0' and card.data.library_name == 'timm' and card.data.datasets is None
    assert card.data.model_name == 'digits' and card.data.pipeline_tag == 'image-classification'
    lines = card.text.splitlines()
    assert '| top-1, % | 91.25 |' in lines and '| top-5, % | 99.50 |' in lines and '| class loss | 0.2500 |' in lines
    assert '| top-1 of the early decoder of layer2.0, % | 71.50 |' in lines
    assert '| top-1 of the early decoder of layer3.0, % | 83.75 |' in lines
    assert '| coding loss, all blocks | 0.1250 |' in lines and '92.50' not in card.text
    assert f'- classes: 10: {", ".join(trained.images().class_names)}' in lines and 'started from' not in card.text
    assert 'after epoch 3' in card.text and 'seed 42' in card.text and 'chosen for its accuracy' not in card.text
    # the paper's figures for these sizes
    assert '| 5/10 | layer2.0 | 10 | 4 (no scheme has more than 4) | 10 | 5 to 5 |' in lines
    assert '| 3/10 | layer3.0 | 10 | 4 (no scheme has more than 4) | 30 | 3 to 3 |' in lines
    assert '1,802,788 parameters' in card.text and '2202.05343' in card.text


def test_moving_average_is_pushed_with_its_own_metrics(checkpoint, tmp_path):
    push(checkpoint, '--use-ema', '--folder', tmp_path / 'digits')
    text = card_of(tmp_path / 'digits').text
    assert '| top-1, % | 92.50 |' in text and 'moving average' in text and '74.50' in text and '91.25' not in text
    loaded = timm.create_model(f'local-dir:{tmp_path / "digits"}', pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), random_model(seed=1)(IMAGES))


def test_images_of_the_hub_are_named_as_there(changed, tmp_path):
    push(changed(args={'dataset': 'hfds/user/pets', 'val_split': 'test'}), '--folder', tmp_path / 'pets')
    card = card_of(tmp_path / 'pets')
    result, = card.data.eval_results
    assert card.data.datasets == ['user/pets'] and result.dataset_type == 'user/pets' and result.dataset_split == 'test'
    assert "on the split 'test' of `hfds/user/pets`" in card.text


def test_metrics_are_those_of_the_weights_that_are_taken(checkpoint, changed):
    assert read_source(checkpoint, None, use_ema=False).metrics() == {
        'loss': 0.25, 'top1': 91.25, 'top5': 99.5, 'coding_loss': 0.125, 'decoder_layer2.0': 71.5,
        'decoder_layer3.0': 83.75}
    assert read_source(checkpoint, None, use_ema=True).metrics() == {
        'loss': 0.5, 'top1': 92.5, 'decoder_layer2.0': 74.5}
    assert read_source(changed(epoch=1), None, use_ema=False).metrics()['top1'] == 93


def test_flag_that_there_no_longer_is_is_left_out_of_the_recipe(changed, tmp_path):
    assert push(changed(args={'flag_of_old': 3}), '--folder', tmp_path / 'digits') == 0
    assert 'flag_of_old' not in (tmp_path / 'digits' / 'recipe.yaml').read_text()


def test_blocks_of_one_scheme_share_a_row():
    model = timm.create_model('coded_resnext29_10x11d')
    text = model_card(model, Card('net', 'local-dir:net', 'mit', Source('net.pth'), resolve_model_data_config(model)))
    rows = [line.split(' | ')[1] for line in text.splitlines() if '/10 | ' in line]
    assert rows == ['layer2.0, layer2.1, layer2.2', 'layer3.0, layer3.1, layer3.2']


@pytest.mark.parametrize('start', ['/home/me/stock.pth', 'C:\\home\\me\\stock.pth'])
def test_best_epoch_is_told_to_be_chosen(changed, tmp_path, start):
    push(changed('model_best.pth.tar', {'initial_checkpoint': start}), '--folder', tmp_path / 'digits')
    text = card_of(tmp_path / 'digits').text
    assert 'chosen for its accuracy' in text and '`stock.pth`' in text and 'home' not in text


def test_weights_of_mid_epoch_have_no_metrics(changed, tmp_path):
    push(changed('recovery-2-5.pth.tar', step=5, epoch=1), '--folder', tmp_path / 'digits')
    card = card_of(tmp_path / 'digits')
    assert 'middle of an epoch' in card.text and '5 steps of epoch 3' in card.text
    assert not card.data.eval_results and 'No accuracy of these weights is known' in card.text


def test_epoch_that_the_history_lacks_has_no_metrics(changed, tmp_path):
    push(changed(history=[]), '--folder', tmp_path / 'digits')
    text = card_of(tmp_path / 'digits').text
    assert 'None are known: the file of the weights does not tell' in text and 'those after 3 epochs' in text


def test_uneven_schemes_are_told_with_their_figures(changed, trained, tmp_path):
    words = {num_active: torch.zeros(10, 10, dtype=torch.bool) for num_active in (3, 5)}
    for num_active, table in words.items():
        for word, places in zip(table, combinations(range(10), num_active)):
            word[list(places)] = True
    state = trained.model.state_dict()
    path = changed(state_dict=state | {
        name: words[int(value[0].sum())].to(value.dtype) for name, value in state.items() if 'codewords' in name})
    assert push(path, '--folder', tmp_path / 'digits') == 0
    # 0 1 2 to 0 1 9, 0 2 3, 0 2 4: the first eight are 2 apart, the last two so from each other and from two of those
    assert ('| 3/10 | layer3.0 | 10 | 2 (no scheme has more than 4) | 33 | 1 to 10 |'
            in card_of(tmp_path / 'digits').text.splitlines())


def test_scheme_files_go_with_the_model(changed, trained, tmp_path, caplog):
    words = {name: value.roll(1, 0) for name, value in trained.model.state_dict().items() if 'codewords' in name}
    path = changed(args={'scheme_source': ['/home/me/a.txt', '/home/me/b.txt']},
                   state_dict={**trained.model.state_dict(), **words})
    assert push(path, '--folder', tmp_path / 'digits') == 0
    loaded = timm.create_model(f'local-dir:{tmp_path / "digits"}', pretrained=True)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in words.items())
    text = (tmp_path / 'digits' / 'recipe.yaml').read_text()
    assert text in card_of(tmp_path / 'digits').text
    recipe = yaml.safe_load(text)
    assert sorted(recipe['scheme_source']) == ['codewords_3of10.txt', 'codewords_5of10.txt']
    files = [str(tmp_path / 'digits' / name) for name in recipe['scheme_source']]
    again = timm.create_model('coded_resnext11_10x11d', scheme_source=files)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in words.items())
    assert '/home/me' not in ''.join(
        file.read_text() for file in (tmp_path / 'digits').iterdir() if file.suffix != '.safetensors')


def test_images_of_weights_alone_are_as_the_user_says(tmp_path):
    torch.save(timm.create_model('coded_resnext11_10x11d').state_dict(), tmp_path / 'net.pth')
    assert push(tmp_path / 'net.pth', '--model', 'coded_resnext11_10x11d', '--folder', tmp_path / 'net',
                '--img-size', 8, '--mean', 0.5, '--std', 0.25, 0.5, 0.75) == 0
    config = resolve_model_data_config(timm.create_model(f'local-dir:{tmp_path / "net"}', pretrained=True))
    found = [tuple(config[name]) for name in ('input_size', 'mean', 'std')]
    assert found == [(3, 8, 8), (0.5,) * 3, (0.25, 0.5, 0.75)]


@pytest.mark.parametrize('source', ['paper', 'search'])
def test_other_schemes_are_made_again_without_a_word(tmp_path, caplog, source):
    model = timm.create_model('coded_resnext11_10x11d', scheme_source=source)
    torch.save(model.state_dict(), tmp_path / 'net.pth')
    assert push(tmp_path / 'net.pth', '--model', 'coded_resnext11_10x11d', '--folder', tmp_path / 'net') == 0
    loaded = timm.create_model(f'local-dir:{tmp_path / "net"}', pretrained=True)
    assert all(torch.equal(loaded.codewords(block), model.codewords(block)) for block in model.coded_blocks)
    warned = 'differs from the model' in caplog.text
    assert warned == (source == 'search')  # which is not searched for again: that can take minutes


def test_search_that_made_the_codewords_is_gone_through_again(changed, tmp_path, caplog):
    model = timm.create_model('coded_resnext11_10x11d', scheme_source='search')
    push(changed(args={'scheme_source': 'search'}, state_dict=model.state_dict()), '--folder', tmp_path / 'net')
    loaded = timm.create_model(f'local-dir:{tmp_path / "net"}', pretrained=True)
    assert all(torch.equal(loaded.codewords(block), model.codewords(block)) for block in model.coded_blocks)
    assert 'differs from the model' not in caplog.text


def test_size_of_the_evaluation_goes_with_it(changed, tmp_path):
    push(changed(args={'eval_img_size': 16}), '--folder', tmp_path / 'digits')
    loaded = timm.create_model(f'local-dir:{tmp_path / "digits"}', pretrained=True)
    config = timm.data.resolve_model_data_config(loaded, use_test_size=True)
    assert config['input_size'] == (3, 16, 16)
    assert timm.data.resolve_model_data_config(loaded)['input_size'] == (3, 8, 8)
    text = card_of(tmp_path / 'digits').text
    assert 'use_test_size=True' in text and '- images: RGB, 8 pixels, 16 in the evaluation, mean (' in text
    push(changed(args={'eval_img_size': 8}), '--folder', tmp_path / 'same')
    text = card_of(tmp_path / 'same').text
    assert 'use_test_size' not in text and '- images: RGB, 8 pixels, mean (' in text


@pytest.mark.parametrize('name', ['resnext11_10x11d', 'resnet10t', 'coded_resnext11_10x11d'])
def test_weights_of_any_model_of_timm_can_be_pushed(tmp_path, name):
    model = timm.create_model(name, num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / 'net.pth')
    (tmp_path / 'names.txt').write_text('cat\ndog\nKūh\n', encoding='utf-8')
    assert push(tmp_path / 'net.pth', '--model', name, '--folder', tmp_path / 'net', '--class-names',
                tmp_path / 'names.txt') == 0
    loaded = timm.create_model(f'local-dir:{tmp_path / "net"}', pretrained=True).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert loaded.pretrained_cfg['label_names'] == ['cat', 'dog', 'Kūh']
    card = card_of(tmp_path / 'net')
    text = card.text
    assert ('coded-resnext' in card.data.tags) == name.startswith('coded') and 'timm' in card.data.tags
    assert '- classes: 3: cat, dog, Kūh\n' in text and 'use_test_size' not in text
    assert 'Not known: the file of the weights does not tell' in text and 'No accuracy' in text
    for words in 'Coding schemes', 'forward_energies', 'figures of the paper':
        assert (words in text) == name.startswith('coded')
    for words in 'timm_coded', 'import timm, torch, timm_coded':
        assert (words in text) == (name != 'resnet10t')
    assert not (tmp_path / 'net' / 'recipe.yaml').exists()


def test_card_names_ten_classes_at_most(tmp_path):
    torch.save(timm.create_model('resnet10t', num_classes=11).state_dict(), tmp_path / 'net.pth')
    (tmp_path / 'names.txt').write_text('\n'.join('abcdefghijk'))
    push(tmp_path / 'net.pth', '--model', 'resnet10t', '--folder', tmp_path / 'net', '--class-names',
         tmp_path / 'names.txt')
    assert '- classes: 11: a, b, c, d, e, f, g, h, i, j, ...\n' in card_of(tmp_path / 'net').text


def other_weights(model, folder, **options):
    twin = copy.deepcopy(model)
    twin.conv1.weight.data[0] += 1e-3
    save_for_hf(twin, folder, **options)


def other_codewords(model, folder, **options):
    twin = copy.deepcopy(model)
    twin.codewords('layer2.0').copy_(twin.codewords('layer2.0').roll(1, 0))
    save_for_hf(twin, folder, **options)


def other_function(model, folder, model_args, **options):
    save_for_hf(model, folder, model_args={**model_args, 'act_layer': 'gelu'}, **options)


def other_model(model, folder, model_args, **options):
    save_for_hf(timm.create_model('resnet10t', num_classes=10), folder, **options)


@pytest.mark.parametrize('save', [other_weights, other_codewords, other_function, other_model])
def test_folder_that_timm_loads_as_another_model_is_told(checkpoint, tmp_path, capsys, monkeypatch, save):
    monkeypatch.setattr('timm_coded.hub.folder.save_for_hf', save)
    assert push(checkpoint, '--folder', tmp_path / 'net') == 2
    assert 'does not load from' in capsys.readouterr().err


def test_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / 'mine').touch()
    with pytest.raises(UserError, match='is there already'):
        save_folder(random_model(), Card('net', 'local-dir:net', 'mit', Source('net.pth'), {}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['mine']


def test_model_in_the_folder_at_hand_has_its_name(checkpoint, tmp_path, monkeypatch):
    (tmp_path / 'digits').mkdir()
    monkeypatch.chdir(tmp_path / 'digits')
    assert push(checkpoint, '--folder', '.') == 0
    assert card_of('.').text.lstrip().startswith('# digits\n')


def test_pushing_again_renews_the_card_unless_it_is_to_be_kept(hub, checkpoint):
    assert push(checkpoint, 'tester/digits') == 0
    hub.files('tester/digits')['README.md'] = b'mine'
    assert push(checkpoint, 'tester/digits', '--keep-card', '--license', 'mit') == 0
    assert hub.files('tester/digits')['README.md'] == b'mine'
    assert b'"license": "mit"' in hub.files('tester/digits')['config.json']
    assert push(checkpoint, 'digits') == 0
    assert b'# digits' in hub.files('tester/digits')['README.md'] and len(hub.repos['tester/digits']['commits']) == 3


def test_card_that_is_to_be_kept_is_made_where_there_is_none(hub, checkpoint):
    assert push(checkpoint, 'tester/digits', '--keep-card') == 0
    assert b'# digits' in hub.files('tester/digits')['README.md'] and not hub.repos['tester/digits']['private']


def test_folder_and_hub_get_the_same_files(hub, checkpoint, tmp_path):
    assert push(checkpoint, 'tester/digits', '--folder', tmp_path / 'digits') == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / 'digits').iterdir()}
    assert files == hub.files('tester/digits') and b"'hf-hub:tester/digits'" in files['README.md']


@pytest.mark.parametrize('token, repo, message', [
    (None, 'digits', 'without a token: run `hf auth login`, or set HF_TOKEN'),
    ('hf_wrong', 'digits', 'cannot log in to http://127.0.0.1'),
    (READ_ONLY, 'digits', 'cannot push to tester/digits'),
    (TOKEN, 'another/digits', 'cannot push to another/digits'),
    (TOKEN, 'tester/two/three', 'expected USER/NAME'),
    (TOKEN, 'tester/zwei drei', 'expected USER/NAME'),
    ('offline', 'digits', 'cannot log in to'),
    ('unreachable', 'digits', 'cannot log in to http://127.0.0.1:9'),
])
def test_what_the_hub_refuses_is_one_line(hub, checkpoint, monkeypatch, capsys, token, repo, message):
    if token is None:
        monkeypatch.delenv('HF_TOKEN')
    elif token == 'offline':
        monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
        huggingface_hub.close_session()
    elif token == 'unreachable':
        monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', 'http://127.0.0.1:9')
    else:
        monkeypatch.setenv('HF_TOKEN', token)
    assert push(checkpoint, repo) == 2
    out, err = capsys.readouterr()
    assert message in err and len(err.splitlines()) == 1 and out == '' and not hub.repos


def test_folder_and_hub_are_tried_before_the_checkpoint_is_read(hub, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('timm_coded.cli.push.open_trained', lambda args: pytest.fail('read first'))
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'file').touch()
    assert push(checkpoint, '--folder', tmp_path / 'full') == 2
    monkeypatch.setenv('HF_TOKEN', 'hf_wrong')
    assert push(checkpoint, 'digits') == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_failed_upload_is_told_with_its_cause(hub, checkpoint, monkeypatch, capsys):
    def fail(self, **options):
        raise RuntimeError('the upload failed') from OSError('the storage is full')

    monkeypatch.setattr(huggingface_hub.HfApi, 'upload_folder', fail)
    assert push(checkpoint, 'digits') == 2
    err = capsys.readouterr().err
    assert 'cannot push to tester/digits' in err and 'the upload failed' in err and 'the storage is full' in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize('args, message', [
    ([], 'where to? Give REPO_ID, for the Hub, or --folder FOLDER'),
    (['--folder', 'full'], '--folder full is there already'),
    (['--folder', 'full/file'], '--folder full/file is there already'),
    (['--folder', 'new', '--private'], '--private and --keep-card are of a repository'),
    (['--folder', 'new', '--keep-card'], '--private and --keep-card are of a repository'),
    (['--folder', 'new', '--license', 'My own'], "expected the Hub's name of a licence"),
    (['--folder', 'new', '--license', '.mit'], "expected the Hub's name of a licence"),
    (['--folder', 'new', '--class-names', 'none.txt'], 'cannot read --class-names none.txt'),
    (['--folder', 'new', '--class-names', 'full/file'], 'has 2 lines, the model 10 classes'),
    (['--folder', 'new', '--model', 'coded_resnext11_10x12d'], 'did you mean'),
])
def test_wrong_input_is_one_line_and_writes_nothing(checkpoint, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    Path('full').mkdir()
    Path('full/file').write_text('a\nb\n')
    assert push(checkpoint, *args) == 2
    out, err = capsys.readouterr()
    assert message in err and len(err.splitlines()) == 1 and out == ''
    assert {path.name for path in tmp_path.iterdir()} == {'full'}


def test_files_that_are_no_checkpoint_are_one_line(tmp_path, capsys):
    (tmp_path / 'none.pth.tar').write_text('no weights')
    for name in ('none.pth.tar', 'missing.pth.tar'):
        assert push(tmp_path / name, '--folder', tmp_path / 'new') == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / 'new').exists()


def test_class_names_that_are_no_longer_to_be_had_are_told(changed, tmp_path, capsys):
    path = changed(args={'dataset': '', 'data_dir': '/no/such/folder'})
    assert push(path, '--folder', tmp_path / 'net') == 0
    assert 'without class names, as' in capsys.readouterr().err
    loaded = timm.create_model(f'local-dir:{tmp_path / "net"}', pretrained=True)
    assert 'label_names' not in loaded.pretrained_cfg
    text = card_of(tmp_path / 'net').text
    assert "the run's own image folders" in text and '- classes: 10\n' in text and 'label_names' not in text
