"""What the commands share: names of classes and files, the folder for results, the images that flags name."""
import argparse
from pathlib import Path
from types import SimpleNamespace

import pytest

from timm_coded.cli.common import (
    add_checkpoint_arguments,
    add_data_arguments,
    check_once,
    file_name,
    find_class,
    make_folder,
    open_foreign,
    open_images,
    output_folder,
    print_json,
    read_names,
)
from timm_coded.train.errors import UserError

NAMES = ['crane', 'goldfish', 'crane', 'hen']


def test_class_is_found_by_index_or_by_a_name_that_is_one_classes_alone():
    assert find_class('3', NAMES) == 3 and find_class('-1', NAMES) == -1  # whether there is one, the model knows
    assert find_class('goldfish', NAMES) == 1
    for text, said in (
        ('crane', "there are 2 classes of the name 'crane': give one of the indices 0, 2"),
        ('goldfisch', "there is no class of the name 'goldfisch'; did you mean goldfish?"),
        ('zebra', "there is no class of the name 'zebra': give a class index"),
    ):
        with pytest.raises(UserError, match=said.replace('?', r'\?')):
            find_class(text, NAMES)


@pytest.mark.parametrize('content, said', [
    (b'cat\ndog\n', None),
    ('cat\nKüh'.encode(), None),
    (b'cat\n', 'has 1 lines, the model 2 classes: give one name a line'),
    (b'cat\ndog\nhen\n', 'has 3 lines, the model 2 classes'),
    (b'cat\nK\xfch\n', 'cannot read --class-names'),  # of another encoding
    (None, 'cannot read --class-names'),
])
def test_names_are_utf_8_and_one_for_each_class(tmp_path, content, said):
    path = tmp_path / 'names.txt'
    if content is not None:
        path.write_bytes(content)
    if said is None:
        assert read_names(path, 2) == content.decode().split()
    else:
        with pytest.raises(UserError, match=said):
            read_names(path, 2)


@pytest.mark.parametrize('text, name', [
    ('validation', 'validation'), ('val[:10%]', 'val--10'), ('letters:/a/b', 'letters--a-b'), ('..', ''),
    ('Küh_1', 'Küh-1'),
])
def test_names_of_files_have_letters_digits_and_dashes_alone(text, name):
    assert file_name(text) == name


@pytest.mark.parametrize('given, folder', [
    ({'checkpoint': 'run/last.pth.tar'}, 'run/analysis'),
    ({'checkpoint': 'run/last.pth.tar', 'outputs': None}, 'run/analysis'),
    ({'checkpoint': None, 'outputs': 'run/analysis/outputs.npz'}, 'run/analysis'),
    ({'checkpoint': 'x', 'outputs': 'else/outputs.npz'}, 'else/analysis'),
    ({'checkpoint': 'run/last.pth.tar', 'output': Path('new/one')}, 'new/one'),
])
def test_results_go_to_a_folder_beside_the_input_or_where_they_are_told_to(tmp_path, monkeypatch, given, folder):
    monkeypatch.chdir(tmp_path)
    assert output_folder(argparse.Namespace(**{'output': None, **given})) == Path(folder)
    assert Path(folder).is_dir() and not [*Path(folder).iterdir()]


def test_folder_that_cannot_be_written_to_is_told(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot write to --output .*file: File exists'):
        make_folder(tmp_path / 'file')

    def locked(path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(Path, 'touch', locked)  # root may write everywhere
    with pytest.raises(UserError, match=f'cannot write to --output {tmp_path}: Permission denied'):
        make_folder(tmp_path)


def test_json_is_json_alone():
    with pytest.raises(ValueError, match='not JSON compliant'):  # which has no word for what is not a number
        print_json({'a': float('nan')})


def test_models_are_named_once():
    check_once(['a', 'b'])
    with pytest.raises(UserError, match='^a, b is named twice'):
        check_once(['b', 'a', 'b', 'c', 'a'])


def asked_for(argv, take, **more):
    """What `take` asks a checkpoint's images for, by the flags of `argv`."""
    parser = argparse.ArgumentParser()
    add_checkpoint_arguments(parser)
    add_data_arguments(parser)
    args = parser.parse_args(['net.pth.tar', *argv])
    vars(args).update(more)
    trained = SimpleNamespace(images=lambda *words, **options: (words, options))
    return take(args, trained)


def test_images_are_those_that_the_flags_name():
    sizes = {'batch_size': None, 'workers': None}
    assert asked_for([], open_images) == (('validation', None, None), sizes)
    argv = ['/data', '--dataset', 'letters', '--split', 'train', '-b', '7', '-j', '3']
    assert asked_for(argv, open_images) == (('train', 'letters', '/data'), {'batch_size': 7, 'workers': 3})
    assert asked_for(argv, lambda *given: open_images(*given, 'test'))[0] == ('test', 'letters', '/data')


@pytest.mark.parametrize('foreign, expected', [
    ('letters', ('validation', 'letters', None)),
    ('hfds/a:/data', ('validation', 'hfds/a', '/data')),
    (':/data', ('validation', '', '/data')),
])
def test_foreign_images_are_a_data_set_a_folder_or_both(foreign, expected):
    words, options = asked_for(['-b', '7', '-j', '3'], open_foreign, foreign=foreign)
    assert words == expected and options == {'foreign': True, 'batch_size': 7, 'workers': 3}
    assert asked_for([], lambda *given: open_foreign(*given, 'test'), foreign='letters')[0][0] == 'test'
    assert asked_for([], open_foreign, foreign=None) is None


def test_commands_without_a_choice_of_device_are_on_the_cpu():
    parser = argparse.ArgumentParser()
    add_checkpoint_arguments(parser, device=False)
    assert parser.parse_args(['net.pth.tar']).device == 'cpu'
