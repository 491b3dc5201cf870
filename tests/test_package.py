"""What is installed, built and published: metadata, annotations, source distribution and wheel."""
import ast
import configparser
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import timm_coded
from timm_coded.train.doctor.versions import OLDEST_TIMM

ROOT = Path(__file__).parent.parent
PUBLIC = ['timm_coded', 'timm_coded.codes', 'timm_coded.models', 'timm_coded.analysis.calibration',
          'timm_coded.analysis.exits', 'timm_coded.analysis.extraction']


def run(*words, cwd=ROOT, **variables):
    """A command's output; fails with all that it printed."""
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=900, env={**os.environ, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    return parser


def test_version_is_the_installed_one_and_the_newest_of_the_changelog():
    headings = re.findall(r'^## \[(\d+\.\d+\.\d+)\]', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    assert timm_coded.__version__ == version('timm_coded') == headings[0]


@pytest.mark.parametrize('name', PUBLIC)
def test_all_that_a_public_package_names_is_there(name):
    package = importlib.import_module(name)
    assert len(set(package.__all__)) == len(package.__all__)
    assert not [word for word in package.__all__ if not hasattr(package, word)]


def test_what_is_imported_into_a_public_package_is_public():
    for name in PUBLIC:
        tree = ast.parse((ROOT / name.replace('.', '/') / '__init__.py').read_text())
        imported = {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom)
                    for alias in node.names}
        assert imported - {'__version__'} <= set(importlib.import_module(name).__all__), name


def test_bounds_of_the_installation_are_those_that_the_doctor_holds(setup):
    required = setup['options']['install_requires'].split()
    assert f'timm>={".".join(map(str, OLDEST_TIMM))}' in required


def test_oldest_python_is_the_first_of_the_classifiers_and_what_types_are_checked_for(setup):
    named = re.findall(r':: (3\.\d+)$', setup['metadata']['classifiers'], re.MULTILINE)
    assert setup['options']['python_requires'] == f'>={named[0]}'
    assert f'python_version = "{named[0]}"' in (ROOT / 'pyproject.toml').read_text()
    assert f'target-version = "py{named[0].replace(".", "")}"' in (ROOT / 'pyproject.toml').read_text()


def test_contributing_has_the_readmes_test_command():
    lines = (ROOT / 'README.md').read_text().splitlines()
    command, = [line for line in lines if line.startswith('python3 -m venv') and 'python -m pytest' in line]
    install, test = command.rsplit(' && ', 1)
    contributing = (ROOT / 'CONTRIBUTING.md').read_text()
    assert install in contributing and f'\n{test} ' in contributing


def test_no_finding_of_ruff():
    run(sys.executable, '-m', 'ruff', 'check', '--no-cache', '.')


def test_no_finding_of_mypy():
    assert 'Success' in run(sys.executable, '-m', 'mypy')


@pytest.fixture(scope='module')
def distributions(tmp_path_factory):
    """Source distribution and wheel, built from what git tracks alone, as a release would be."""
    clone, dist = tmp_path_factory.mktemp('clone'), tmp_path_factory.mktemp('dist')
    for name in run('git', 'ls-files').splitlines():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    run(sys.executable, '-m', 'build', '--outdir', dist, clone)
    sdist, = dist.glob('*.tar.gz')
    wheel, = dist.glob('*.whl')
    return sdist, wheel


@pytest.mark.slow
def test_source_distribution_has_the_project_and_the_wheel_the_package(distributions):
    sdist, wheel = distributions
    with tarfile.open(sdist) as tar:
        sources = {name.partition('/')[2] for name in tar.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        installed = set(archive.namelist())
    tracked = set(run('git', 'ls-files').splitlines())
    assert {name for name in tracked if not name.startswith('.')} <= sources
    package = {name for name in tracked if name.startswith('timm_coded/')}
    assert package <= installed
    rest = {name for name in installed if not name.startswith('timm_coded/')}
    assert all('.dist-info/' in name for name in rest)
    assert any(name.endswith('licenses/LICENSE') or name.endswith('.dist-info/LICENSE') for name in rest)


@pytest.mark.slow
def test_wheel_runs_outside_the_repository(distributions, tmp_path):
    _, wheel = distributions
    site = tmp_path / 'site'
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', site, wheel, cwd=tmp_path)
    program = '''
import timm, torch, timm_coded
print(timm_coded.__file__)
model = timm.create_model('coded_resnext11_10x11d', num_classes=7).eval()
logits, energies = model.forward_energies(torch.zeros(2, 3, 32, 32))
print(tuple(logits.shape), len(energies), timm_coded.coding_scheme(100, 20, 8).min_distance)
'''
    file, found = run(sys.executable, '-c', program, cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    assert Path(file).is_relative_to(site)
    assert found == '(2, 7) 2 8'
    command = site / 'bin' / 'timm-coded'
    scheme = run(sys.executable, command, 'codes', '--num-classes', 10, '--num-subnns', 10, '--num-active', 3,
                 cwd=tmp_path, PYTHONPATH=str(site))
    words = [line for line in scheme.splitlines() if set(line) == {'0', '1'}]
    assert len(words) == 10 and {word.count('1') for word in words} == {3}


@pytest.mark.slow
def test_unpacked_source_distribution_knows_how_to_train(distributions, tmp_path):
    sdist, _ = distributions
    with tarfile.open(sdist) as tar:
        tar.extractall(tmp_path, filter='data')
    folder, = tmp_path.iterdir()
    run(sys.executable, 'train_xla.py', '--config', 'configs/digits.yaml', '--epochs', 1, '--warmup-epochs', 0,
        '--model', 'coded_resnext11_10x11d', '--device', 'cpu', '--output', tmp_path / 'output',
        cwd=folder, PYTHONPATH=str(folder))
