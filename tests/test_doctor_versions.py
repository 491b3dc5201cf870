"""Releases that do not belong together are named, with what to install."""
import pytest

from timm_coded.train.doctor.versions import installed_versions, libtpu_of_xla, mismatches

TOGETHER = {'torch': '2.9.0', 'torch_xla': '2.9.0', 'torchvision': '0.24.0', 'timm': '1.0.31', 'libtpu': '0.0.21'}


@pytest.mark.parametrize('changes', [
    {},
    {'torch': '2.9.1+cu128', 'torchvision': '0.24.1+cu128'},
    {'torch': '2.10.0', 'torch_xla': '2.10.0', 'torchvision': '0.25.0'},
    {'torch': '2.15.0', 'torch_xla': None, 'torchvision': '0.29.2', 'libtpu': None},  # which asks for torch>=2.14
    {'torch': '2.4.1', 'torch_xla': None, 'torchvision': '0.19.1', 'libtpu': None},
    {'timm': '1.0.100.dev0'},
    {'timm': '1.1'},
])
def test_releases_that_belong_together_are_left_alone(changes):
    assert mismatches(TOGETHER | changes, '0.0.21') == []


@pytest.mark.parametrize('changes, wrong, command', [
    ({'torch': '2.10.0', 'torchvision': '0.25.0'}, 'torch_xla 2.9.0 is built for torch 2.9, not for 2.10.0',
     "pip install 'torch==2.9.*' 'torch_xla==2.9.*'"),
    ({'torchvision': '0.23.0'}, 'torchvision 0.23.0 is not built for torch 2.9.0', "pip install 'torchvision==0.24.*'"),
    ({'timm': '1.0.9'}, 'timm 1.0.9 is older than 1.0.31', "pip install 'timm>=1.0.31'"),
    ({'libtpu': '0.0.17'}, 'libtpu 0.0.17 is not the one of torch_xla 2.9.0', "pip install 'libtpu==0.0.21'"),
])
def test_release_that_does_not_belong_is_named(changes, wrong, command):
    line, = mismatches(TOGETHER | changes, '0.0.21')
    assert line == f'{wrong}: {command}'


def test_this_machines_releases_are_read():
    import timm
    import torch
    versions = installed_versions()
    assert (versions['torch'], versions['timm']) == (torch.__version__.split('+')[0], timm.__version__) \
        or versions['torch'] == torch.__version__
    assert mismatches(versions, libtpu_of_xla()) == []


def test_libtpu_is_the_one_that_torch_xla_asks_for():
    torch_xla = pytest.importorskip('torch_xla')
    if torch_xla.__version__.startswith('2.9.0'):
        assert libtpu_of_xla() == '0.0.21'
