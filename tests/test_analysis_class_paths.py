"""The picture of class paths shows the codewords: every dot that works for a class, and no other."""
import json
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import timm
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Wedge
from PIL import Image

from timm_coded.analysis.class_paths import class_paths
from timm_coded.analysis.paths_picture import COLOURS
from timm_coded.cli import main
from timm_coded.codes import coding_scheme

WORDS = {2: ['1100000000', '0110000000', '0000000011'], 3: ['1010100000', '0000111000', '1000000101']}  # by N_act


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Three classes, whose words are written down above; stages of 1 block each with 10, 2 and 3 of 10 active."""
    folder = tmp_path_factory.mktemp('schemes')
    for num_active, words in WORDS.items():
        (folder / f'{num_active}.txt').write_text('\n'.join(words) + '\n')
    return timm.create_model(
        'coded_resnext11_10x11d', num_classes=3, num_active=(10, 2, 3),
        scheme_source=[str(folder / f'{num_active}.txt') for num_active in WORDS])


def dots(findings):
    """Colours of the parts of each dot in the columns of the picture, the legend's left out; {(x, y): colours}."""
    axes, = findings.pictures[0].figure.axes
    found = {}
    for patch in axes.patches:
        if isinstance(patch, (Circle, Wedge)) and patch.get_facecolor()[:3] != to_rgb_of_joint():
            colours = found.setdefault(tuple(np.round(patch.center, 6)), [])
            if isinstance(patch, Wedge):
                colours.append(to_hex(patch.get_facecolor()).upper())
    bottom = max(y for _, y in found)
    return {place: colours for place, colours in found.items() if place[1] < bottom}


def to_rgb_of_joint():
    from matplotlib.colors import to_rgb

    from timm_coded.analysis.paths_picture import TEXT
    return to_rgb(TEXT)


def test_dots_are_the_codewords(model):
    found = dots(class_paths(model, [0, 1, 2]))
    columns, rows = (sorted({place[axis] for place in found}) for axis in (0, 1))
    assert len(columns) == 3 and len(rows) == 10 and len(found) == 30
    for column, num_active in ((1, 2), (2, 3)):
        for row in range(10):
            expected = [COLOURS[k] for k in range(3) if WORDS[num_active][k][row] == '1']
            assert found[columns[column], rows[row]] == expected
    assert {tuple(found[columns[0], y]) for y in rows} == {('#5F6368',)}, 'a block that is not coded is of no class'


def test_lines_of_a_class_go_through_its_dots_only(model):
    axes, = class_paths(model, [1]).pictures[0].figure.axes
    lines = Counter(to_hex(patch.get_edgecolor()).upper() for patch in axes.patches if not patch.get_fill())
    assert lines == {'#5F6368': 2 * 10, COLOURS[0]: 2 * (2 + 3) + 1}  # in and out of each dot, and to the class's name


def test_table_names_the_subnns_and_the_shared_ones(model):
    table, = class_paths(model, [0, 1], ['cat', 'dog', 'owl']).tables
    assert table.rows == [
        {'block': 'layer2.0', 'cat': '0 1', 'dog': '1 2', 'shared': '1'},
        {'block': 'layer3.0', 'cat': '0 2 4', 'dog': '4 5 6', 'shared': '4'},
    ]


def test_alt_text_tells_the_paths(model):
    text = class_paths(model, [0, 2], ['cat', 'B', 'owl'], 'a small model').pictures[0].title
    assert text.startswith('Paths of cat and owl through a small model')
    assert 'layer1: all 10 subNNs work for every class.' in text
    assert 'layer2: 2 of 10 subNNs work for a class: for cat 0 1; for owl 8 9.' in text


@pytest.mark.parametrize('name, num_classes, names', [
    ('coded_resnext50_32x4d', 5, ['great white shark', 'a name of a class that is very long indeed', 'hen', 'x', 'y']),
    ('coded_resnext29_20x6d', 5, []),
])
def test_no_text_runs_into_another_or_out_of_the_picture(name, num_classes, names):
    figure = class_paths(timm.create_model(name, num_classes=num_classes), [0, 1, 2], names, name).pictures[0].figure
    figure.draw_without_rendering()
    axes, = figure.axes
    boxes = [(text.get_text(), text.get_window_extent()) for text in axes.texts]
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1, text
        for other, second in boxes[:index]:
            assert not box.overlaps(second), (text, other)


def test_classes_have_names_in_a_model_of_imagenet_and_in_the_training_data(digits_checkpoint, tmp_path, capsys):
    assert main(['paths', 'coded_resnext50_32x4d', '--classes', 'goldfish', 'hen', '--output',
                 str(tmp_path / 'a.svg')]) == 0
    assert 'Paths of goldfish and hen' in capsys.readouterr().out
    title = ElementTree.parse(tmp_path / 'a.svg').getroot().find('.//{http://purl.org/dc/elements/1.1/}title')
    assert title.text.startswith('Paths of goldfish and hen through coded_resnext50_32x4d')
    assert main(['paths', str(digits_checkpoint), '--classes', '3', '8', '--output', str(tmp_path / 'a.png')]) == 0
    out, err = capsys.readouterr()
    assert 'class 3' in out and 'alt text: Paths of class 3 and class 8' in err
    with Image.open(tmp_path / 'a.png') as image:
        assert image.info['Title'].startswith('Paths of class 3') and image.width == 1380
        assert image.convert('RGB').getpixel((2, 2)) == (255, 255, 255)
    assert (tmp_path / 'a.png').stat().st_size < 150_000


def test_another_ratio_has_its_own_paths_and_is_named(tmp_path, capsys):
    assert main(['paths', 'coded_resnext11_10x11d', '--classes', '4', '--num-active', '10', '7', '2', '--model-kwargs',
                 'scheme_source=search', '--output', str(tmp_path / 'a.png'), '--json']) == 0
    content = json.loads(capsys.readouterr().out)['paths']
    assert content['title'] == (
        'Paths of class 4 through coded_resnext11_10x11d:num_active=10,7,2:scheme_source=search')
    found = [row['class 4'] for row in content['tables']['paths']['rows']]
    schemes = [coding_scheme(10, 10, active, 'search') for active in (7, 2)]
    assert found == [' '.join(map(str, np.flatnonzero(scheme.codewords[4]))) for scheme in schemes]


@pytest.mark.parametrize('argv, said', [
    (['coded_resnext11_10x11d', '--classes', '1', '2', '3', '4'], '4 classes: give one to 3'),
    (['coded_resnext11_10x11d', '--classes', '1', '1'], 'a class is named twice'),
    (['coded_resnext11_10x11d', '--classes', '10'], 'there is no class 10'),
    (['coded_resnext11_10x11d', '--classes', '-1'], 'there is no class -1'),
    (['coded_resnext50_32x4d', '--classes', 'goldfisch'], 'did you mean goldfish'),
    (['coded_resnext11_10x11d', '--classes', '1', '--output', 'a.gif'], 'give it the ending .png or .svg'),
    (['coded_resnext11_10x11d', '--classes', '1', '--class-names', 'no-file'], 'cannot read --class-names'),
    (['coded_resnext11_10x11d', '--num-classes', '5000', '--classes', '1'], 'cannot make coded_resnext11_10x11d'),
    (['resnext11_10x11d', '--classes', '1'], 'has no coded blocks'),
    (['resnet10t', '--classes', '1'], 'has no coded blocks'),
    (['coded_resnext', '--classes', '1'], 'there is no --model coded_resnext; did you mean'),
    (['no-file.pth.tar', '--classes', '1'], 'there is no checkpoint no-file.pth.tar'),
    (['no-file.safetensors', '--classes', '1'], 'there is no checkpoint no-file.safetensors'),
    (['setup.cfg', '--classes', '1'], 'setup.cfg'),
    (['setup.cfg', '--classes', '1', '--num-active', '10', '5', '3'], '--num-active: setup.cfg has its own'),
    (['setup.cfg', '--classes', '1', '--model-kwargs', 'scheme_source=paper'], '--model-kwargs: setup.cfg has its own'),
    (['coded_resnext11_10x11d', '--classes', '1', '--num-active', '10', '5'], 'one entry for each of the 3 stages'),
    (['resnext11_10x11d', '--classes', '1', '--num-active', '10', '5', '3'], 'none of resnext11_10x11d is coded'),
])
def test_wrong_input_is_one_line(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'setup.cfg').write_text('[no checkpoint]')
    try:
        status = main(['paths', *argv])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2 and said in err and err.count('\n') == 1 and out == ''
    assert [path.name for path in tmp_path.iterdir()] == ['setup.cfg']


def test_wrong_checkpoint_or_flag_for_one_is_one_line(digits_checkpoint, tmp_path, capsys):
    state = torch.load(digits_checkpoint, weights_only=True)
    state['args']['model'] = state['arch'] = 'resnext11_10x11d'
    state['state_dict'] = timm.create_model('resnext11_10x11d').state_dict()
    torch.save(state, tmp_path / 'stock.pth.tar')
    for argv, said in (
        ([tmp_path / 'stock.pth.tar'], 'has no coded blocks'),
        ([digits_checkpoint, '--num-classes', 10], f'--num-classes: {digits_checkpoint} has its own, leave it out'),
    ):
        assert main(['paths', *map(str, argv), '--classes', '1', '--output', str(tmp_path / 'new' / 'a.png')]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count('\n') == 1 and not (tmp_path / 'new').exists()


def test_folder_of_the_picture_is_made_and_names_are_those_of_the_file(digits_checkpoint, tmp_path, capsys):
    (tmp_path / 'names.txt').write_text('\n'.join(f'{letter}ird' for letter in 'abcdefghij'))
    for model in 'coded_resnext11_10x11d', str(digits_checkpoint):
        picture = tmp_path / Path(model).stem / 'a.svg'
        assert main(['paths', model, '--classes', 'bird', 'gird', '--class-names', str(tmp_path / 'names.txt'),
                     '--output', str(picture)]) == 0
        assert picture.is_file() and 'alt text: Paths of bird and gird through coded_' in capsys.readouterr().err
