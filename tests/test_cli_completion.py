"""The script of `timm-coded --print-completion bash`, in a real bash: what the Tab key puts there."""
import subprocess
import sys

import pytest

from timm_coded.cli import main
from timm_coded.cli.main import COMMANDS


@pytest.fixture(scope='module')
def script(tmp_path_factory):
    """The file as a user would make it."""
    path = tmp_path_factory.mktemp('completion') / 'timm-coded'
    with pytest.MonkeyPatch.context() as patch, open(path, 'w') as file:
        patch.setattr('sys.stdout', file)
        with pytest.raises(SystemExit, match='^0$'):
            main(['--print-completion', 'bash'])
    return path


def complete(script, folder, *words) -> list[str]:
    """What bash offers for the last of the words, in this folder."""
    code = '''
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
function=$(complete -p timm-coded | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
$function timm-coded "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
'''
    command = ['bash', '--norc', '-c', code, 'bash', str(script), 'timm-coded', *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == '', done.stderr
    return sorted(done.stdout.split())  # files in the order of the folder, which is any


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'runs.npz').touch()
    return tmp_path


def test_all_commands_are_offered(script, folder):
    assert set(complete(script, folder, '')) == set(COMMANDS)


@pytest.mark.parametrize('words, offered', [
    (['ev'], ['evaluate']),
    (['--ver'], ['--version']),
    (['evaluate', '--for'], ['--foreign']),
    (['evaluate', 'run'], ['run', 'runs.npz']),
    (['evaluate', 'x.pth', 'run'], ['run']),
    (['evaluate', 'x.pth', '--output', 'run'], ['run']),
    (['explain', 'x.pth', 'ru'], ['run', 'runs.npz']),
    (['average', 'ru'], ['run', 'runs.npz']),
    (['evaluate', 'x.pth', '--device', ''], ['auto', 'cpu', 'cuda', 'xla']),
    (['report', 'x.pth', '--skip', 'explain', 'de'], ['decode', 'detect']),
    (['detect', 'runs.npz', '--against', 'ru'], ['run', 'runs.npz']),
    (['extract', 'x.pth', '--onnx', 'runs'], ['runs.npz']),
    (['paths', 'ru'], ['run', 'runs.npz']),
    (['paths', 'coded_resnext50'], ['coded_resnext50_32x4d']),
    (['benchmark', 'resnext29_10x11d', 'coded_resnext29_2'], ['coded_resnext29_20x6d']),
])
def test_words_are_completed(script, folder, words, offered):
    assert complete(script, folder, *words) == offered


@pytest.mark.parametrize('shell', ['zsh', 'tcsh'])
def test_other_shells_get_a_script_with_all_commands(shell, capsys):
    with pytest.raises(SystemExit, match='^0$'):
        main(['--print-completion', shell])
    out, err = capsys.readouterr()
    assert all(name in out for name in COMMANDS) and err == ''


def test_package_that_writes_it_is_named_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'shtab', None)
    monkeypatch.delitem(sys.modules, 'timm_coded.cli.completion', raising=False)
    assert main(['--print-completion', 'bash']) == 2
    assert capsys.readouterr().err == "timm-coded: needs shtab: pip install 'timm_coded[analysis]'\n"
