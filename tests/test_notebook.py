"""The notebook for Colab: it is committed clean, installs what the machine asks for, and runs from top to bottom."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / 'notebooks' / 'coded_resnext.ipynb'
CPU, GPU = ['/dev/null', '/dev/vfio/vfio'], ['/dev/nvidia0', '/dev/nvidiactl']
HELD = 'import sys; assert not {"torch_xla", "jax"} & sys.modules.keys()'  # it would keep the TPU from the commands
SUCCEEDED = 'assert globals().get("_exit_code", 0) == 0'  # of the last command


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def cell(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    return next(one for one in notebook.cells if one.id == name)


def test_it_is_committed_without_outputs(notebook):
    nbformat.validate(notebook)
    for one in notebook.cells:
        assert one.cell_type == 'markdown' or not one.outputs and one.execution_count is None


class Machine:
    """An empty folder on a machine with these device files, where `git` and `pip` only tell how they were called."""

    def __init__(self, folder: Path, devices: list[str], environment: dict[str, str]):
        self.home, self.calls, programs = folder / 'home', folder / 'calls', folder / 'programs'
        self.home.mkdir()
        self.calls.touch()
        programs.mkdir()
        clone = 'for last; do :; done; mkdir "$last"; touch "$last/train_xla.py"'
        for name, then in (('git', clone), ('pip', '')):
            program = programs / name
            program.write_text(f'#!/bin/sh\necho "$PWD: {name} $*" >> {self.calls}\n{then}\n')
            program.chmod(0o755)
        self.devices = devices
        self.environment = {'PATH': f'{programs}:/usr/bin:/bin', 'HOME': str(folder), **environment}

    def install(self, notebook: nbformat.NotebookNode, place: str = '.') -> str:
        """Runs the notebook's first two cells in that folder; returns what they print."""
        script = self.home.parent / 'cells.ipy'
        fake = f'import fnmatch, glob\nglob.glob = lambda pattern: fnmatch.filter({self.devices}, pattern)\n'
        sources = [cell(notebook, name).source for name in ('settings', 'install')]
        script.write_text('\n'.join([fake, *sources, 'print("trains on", DEVICE)']))
        done = subprocess.run(
            [sys.executable, '-m', 'IPython', '--no-banner', '--colors=NoColor', script], cwd=self.home / place,
            env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def called(self) -> list[str]:
        """Folder, program and arguments of each call since this was last asked."""
        lines = [line.replace(str(self.home), '~') for line in self.calls.read_text().splitlines()]
        self.calls.write_text('')
        return lines


@pytest.mark.parametrize('devices, environment, found, extras', [
    (CPU, {}, 'CPU', 'demo,analysis,xla'),
    (GPU, {}, 'GPU', 'demo,analysis'),
    ([*CPU, '/dev/accel0'], {}, 'TPU', 'demo,analysis,tpu'),
    ([*CPU, '/dev/vfio/0'], {}, 'TPU', 'demo,analysis,tpu'),
    (CPU, {'TPU_ACCELERATOR_TYPE': 'v5e-1'}, 'TPU', 'demo,analysis,tpu'),
])
def test_machine_gets_the_extra_of_its_device(notebook, tmp_path, devices, environment, found, extras):
    machine = Machine(tmp_path, devices, environment)
    assert f'{found}: extras' in machine.install(notebook)
    clone, install = machine.called()
    assert clone == '~: git clone --quiet --depth 1 https://github.com/OWNER/timm_coded coded'
    assert install == f'~/coded: pip install --quiet -e .[{extras}]'


@pytest.mark.parametrize('devices, device', [
    (CPU, 'auto'), (['/dev/accel0'], 'auto'), (['/dev/vfio/0', '/dev/vfio/1'], 'cpu')])
def test_several_chips_are_too_many_for_the_digits(notebook, tmp_path, devices, device):
    assert f'trains on {device}' in Machine(tmp_path, devices, {}).install(notebook)


def test_without_an_address_it_says_what_to_set(notebook, tmp_path):
    machine = Machine(tmp_path, CPU, {})
    (tmp_path / 'programs' / 'git').write_text('#!/bin/sh\nexit 128\n')
    with pytest.raises(AssertionError, match='set REPOSITORY in the first cell'):
        machine.install(notebook)


def test_after_a_restart_it_is_not_cloned_again(notebook, tmp_path):
    machine = Machine(tmp_path, CPU, {})
    machine.install(notebook)
    machine.called()
    machine.install(notebook)
    assert [call.split()[1] for call in machine.called()] == ['pip']


@pytest.mark.parametrize('place', ['.', 'notebooks'])
def test_inside_a_clone_it_is_used(notebook, tmp_path, place):
    machine = Machine(tmp_path, CPU, {})
    (machine.home / 'train_xla.py').touch()
    (machine.home / place).mkdir(exist_ok=True)
    machine.install(notebook, place)
    assert machine.called() == ['~: pip install --quiet -e .[demo,analysis,xla]']


@pytest.mark.parametrize('analyses, called', [('true', ['git']), ('false', ['git', 'pip'])])
def test_what_is_installed_with_its_analyses_stays_as_it_is(notebook, tmp_path, analyses, called):
    machine = Machine(tmp_path, CPU, {})
    (tmp_path / 'programs' / 'timm-coded').symlink_to(f'/bin/{analyses}')
    machine.install(notebook)
    assert [call.split()[1] for call in machine.called()] == called


@pytest.fixture(scope='module')
def executed(tmp_path_factory) -> nbformat.NotebookNode:
    """The notebook after two epochs' run in a copy of the clone; after each cell its command must have succeeded."""
    clone = tmp_path_factory.mktemp('clone')
    for name in ('timm_coded', 'configs', 'notebooks'):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'train_xla.py', clone)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    settings = cell(notebook, 'settings')
    assert 'EPOCHS = 8' in settings.source
    settings.source = settings.source.replace('EPOCHS = 8', 'EPOCHS = 2')
    notebook.cells = [part for one in notebook.cells for part in (one, new_code_cell(SUCCEEDED))]
    notebook.cells.append(new_code_cell(HELD))
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH']))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PATH', path)
        patch.setenv('PYTHONPATH', str(clone))
        NotebookClient(
            notebook, timeout=1200, resources={'metadata': {'path': str(clone / 'notebooks')}}).execute()
    return notebook


def printed(notebook: nbformat.NotebookNode, name: str) -> str:
    return ''.join(output.get('text', '') for output in cell(notebook, name).outputs)


def shown(notebook: nbformat.NotebookNode, name: str) -> set[str]:
    return {kind for output in cell(notebook, name).outputs for kind in output.get('data', ())}


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_by_xla(executed):
    assert 'XLA:CPU' in printed(executed, 'doctor') and 'healthy' in printed(executed, 'doctor')
    assert 'on XLA:CPU' in printed(executed, 'train') and 'best epoch 1: top-1' in printed(executed, 'train')
    assert 'network, top-1' in printed(executed, 'evaluate')


@pytest.mark.slow
def test_each_step_shows_what_it_promises(executed):
    assert 'extracted-3.pth' in printed(executed, 'extract')
    assert 'of them are 3:' in printed(executed, 'three') and 'image/png' in shown(executed, 'three')
    assert '% are right' in printed(executed, 'exit') and 'left at the end' in printed(executed, 'exit')
    assert 'margin' in printed(executed, 'decode') and 'image/png' in shown(executed, 'decode')
    page, = [output for output in cell(executed, 'report').outputs if 'text/html' in output.get('data', {})]
    assert page.data['text/html'].startswith('<iframe srcdoc=') and 'coded_resnext29_10x11d' in page.data['text/html']
