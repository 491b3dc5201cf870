"""Imports run one way, and optional packages stay optional."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'timm_coded'
SOURCES = sorted(PACKAGE.rglob('*.py')) + [ROOT / 'train_xla.py']

# What each part may import of the others: codes <- models <- loss, analysis <- train <- cli, train_xla.py,
# speed <- tpu and hub between train and cli, export between models and cli; task, for the loops of others, on loss.
ALLOWED = {
    'codes': {'codes'},
    'models': {'codes', 'models'},
    'loss': {'codes', 'models', 'loss'},
    'analysis': {'codes', 'models', 'analysis'},
    'task': {'models', 'loss', 'task'},
    'train': {'codes', 'models', 'loss', 'analysis', 'train'},
    'export': {'codes', 'models', 'export'},
    'hub': {'codes', 'models', 'train', 'hub'},
    'speed': {'codes', 'models', 'loss', 'analysis', 'train', 'speed'},
    'tpu': {'codes', 'models', 'loss', 'analysis', 'train', 'speed', 'tpu'},
    'cli': {'codes', 'models', 'loss', 'analysis', 'train', 'speed', 'tpu', 'export', 'hub', 'cli'},
    'train_xla': {'codes', 'models', 'loss', 'train'},
    '__init__': {'codes', 'models', 'loss', 'analysis', 'task'},
}


def imported_names(path):
    """Absolute dotted names of all that a file imports, relative imports resolved, imports in functions included."""
    package = path.relative_to(ROOT).parent.parts
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[:len(package) - node.level + 1]) if node.level else ''
            names += ['.'.join(filter(None, (base, node.module, alias.name))) for alias in node.names]
    return names


def part_of(name):
    return name.split('.')[1] if name.startswith('timm_coded.') else None


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parts_import_only_what_they_may(path):
    parts = path.relative_to(ROOT).parts
    part = (parts[1] if parts[0] == 'timm_coded' else parts[0]).removesuffix('.py')
    found = {part_of(name) for name in imported_names(path)} - {None}
    assert found <= ALLOWED[part]


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_seam_knows_the_device_and_nothing_of_timm_is_private(path):
    names = imported_names(path)
    # `export_stablehlo` runs the second as a process of its own, as torch_xla takes a process for good
    if PACKAGE / 'train' / 'replicas' not in path.parents and path != PACKAGE / 'export' / 'xla_process.py':
        assert not [name for name in names if name.split('.')[0] == 'torch_xla' or name.startswith('torch.distributed')]
    if PACKAGE / 'tpu' not in path.parents:
        assert not [name for name in names if name.split('.')[0] in ('jax', 'jaxlib', 'libtpu')]
    assert not [name for name in names if name.split('.')[0] == 'timm' and '._' in name]
    if 'codes' in path.parts:
        assert {name.split('.')[0] for name in names} <= sys.stdlib_module_names | {'numpy', 'timm_coded'}


def test_package_works_without_torch_xla_and_what_only_analysis_needs():
    script = '''
import sys
# importing them fails, as where they are not installed
sys.modules.update(torch_xla=None, sklearn=None, matplotlib=None, captum=None)
import timm, torch, timm_coded, timm_coded.cli, timm_coded.train.run
import timm_coded.cli.estimate, timm_coded.cli.scaling
model = timm.create_model('coded_resnext11_10x11d')
loss = timm_coded.CodingLoss(torch.nn.CrossEntropyLoss(), model)
loss(model.forward_energies(torch.randn(2, 3, 8, 8)), torch.tensor([1, 2])).backward()
'''
    subprocess.run([sys.executable, '-c', script], check=True, cwd=ROOT, timeout=300)
