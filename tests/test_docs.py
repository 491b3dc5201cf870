import argparse
import configparser
import html.parser
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import types
import urllib.parse
from pathlib import Path

import pytest
import timm
import torch
from markdown_pages import PAGES, ROOT, anchors, blocks, commands, links, script, shell_code
from PIL import Image
from random_network import random_network

import timm_coded
from timm_coded import analysis
from timm_coded.analysis.calibration import Calibrator
from timm_coded.analysis.extraction import Extracted
from timm_coded.analysis.outputs import fingerprint
from timm_coded.cli.main import COMMANDS, main
from timm_coded.export import export_onnx
from timm_coded.train.args import build_parser, parse_args

# of the paper's public code, of gcloud, and of timm's train.py and accelerate
OTHERS_FLAGS = {
    '--Energy-normalization', '--LossDisentangle-type', '--Mask-grads', '--Same-code-Same-mask', '--spot',
    '--cpu', '--device-modules', '--grad-accum-steps', '--loss', '--task', '--torchcompile', '--torchscript',
}

PUBLIC = [timm_coded, timm_coded.codes, timm_coded.models, analysis.calibration, analysis.exits, analysis.extraction]

by_name = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('site')
    build = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', folder], cwd=ROOT, capture_output=True,
        text=True, timeout=300)
    assert not build.returncode, build.stderr
    return folder


class Requests(html.parser.HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag != 'a':
            self.urls += [value for name, value in attributes if name in ('src', 'href', 'srcset', 'data') and value]


def test_site_builds_without_warnings_and_asks_no_other_machine_for_anything(site):
    pages = sorted(site.rglob('*.html'))
    assert {page.parent.name for page in pages} >= {'readme', 'method', 'api', 'porting'}
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text())
        assert requests.urls and not [url for url in requests.urls if re.match(r'(https?:)?//', url)]
    for sheet in site.rglob('*.css'):
        assert not re.search(r'url\(\s*["\']?(https?:)?//|@import', sheet.read_text())


def test_equations_are_drawn_and_links_between_readme_and_docs_hold(site):
    method, source = (site / 'method' / 'index.html').read_text(), (ROOT / 'docs' / 'method.md').read_text()
    assert method.count('<math') == method.count('class="math"') == source.count('```math') > 0
    assert '\\frac' not in method and '```' not in method
    readme = (site / 'readme' / 'index.html').read_text()
    assert 'href="../training/"' in readme and '](docs/' not in readme
    assert 'href="readme/">README</a>' in (site / 'index.html').read_text()


def test_api_has_all_that_the_public_modules_name():
    directives = re.findall(r'^::: (\S+)$', (ROOT / 'docs' / 'api.md').read_text(), re.M)
    documented = [pkgutil.resolve_name(path) for path in directives]
    for module in PUBLIC:
        for name in getattr(module, '__all__', vars(module)):
            thing = getattr(module, name)
            if isinstance(thing, type | types.FunctionType) and not timm.is_model(name):
                assert thing in documented, f'{module.__name__}.{name}'


@by_name
def test_links_lead_somewhere(page):
    for link in links(page):
        if '://' in link:
            url = urllib.parse.urlparse(link)
            assert url.scheme == 'https' and re.fullmatch(r'[\w-]+(\.[\w-]+)+', url.netloc), link
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@by_name
def test_blocks_of_python_and_shell_are_run_or_say_why_not(page):
    fences = re.findall(r'^ *```(\w*)$', page.read_text(), re.M)[::2]
    assert set(fences) <= {'python', 'sh', 'math', 'text', 'diff', 'bibtex'}
    assert len(fences) == sum(len(blocks(page, language)) for language in set(fences))
    for block in blocks(page, 'python') + blocks(page, 'sh'):
        assert not re.search(r'^\.\.\.$', block.code, re.M), f'line {block.line}: left out what?'


def test_images_of_the_page_for_a_phone_are_timms(tmp_path, monkeypatch, capsys):
    """Of photographs in any shape: resized and cut to the pixel as timm's transform does."""
    pytest.importorskip('onnxruntime')
    network = timm_coded.extract_classes(random_network('coded_resnext11_10x11d'), [3])
    config = {'input_size': (3, 24, 24), 'mean': (.5, .4, .3), 'std': (.2, .3, .2), 'interpolation': 'bicubic',
              'crop_pct': .875, 'crop_mode': 'center'}
    monkeypatch.chdir(tmp_path)
    export_onnx(network, 24, Path('three.onnx'), about={**config, 'threshold': 0.})
    code, = (block.code for block in blocks(ROOT / 'docs' / 'export.md', 'python') if 'onnxruntime' in block.code)
    transform = timm.data.create_transform(**config)
    for width, height in ((29, 10), (35, 42), (40, 40), (57, 31), (33, 59)):
        torch.manual_seed(width)
        noise = torch.randint(256, (height, width, 3), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save('IMAGE.png')
        exec(compile(code, 'export.md', 'exec'), {})
        answer, logit = capsys.readouterr().out.split()[-2:]
        with torch.no_grad():
            expected = network(transform(Image.open('IMAGE.png'))[None]).item()
        assert float(logit) == pytest.approx(expected, abs=1e-4) and answer == ('yes' if expected >= 0 else 'no')


def test_models_of_the_readme_are_those_there_are():
    rows = re.findall(r'^\| `(coded_\w+)`[^|]*\| ([^|]+) \| ([\d,]+) \|', (ROOT / 'README.md').read_text(), re.M)
    assert {name for name, *_ in rows} == set(timm.list_models('coded_*', module='coded_resnext'))
    for name, ratios, parameters in rows:
        model = timm.create_model(name)
        stages = [getattr(model, stage) for stage in model.stage_names]
        assert ratios.split() == [f'{stage[0].num_active}/{model.num_subnns}' for stage in stages], name
        assert parameters == f'{sum(parameter.numel() for parameter in model.parameters()):,}', name


def make_results(folder: Path) -> None:
    """What the commands of analysis.md leave behind, of a network that has learnt nothing."""
    analysis = folder / 'output' / 'train' / 'digits' / 'analysis'
    analysis.mkdir(parents=True)
    model = random_network('coded_resnext29_10x11d')
    torch.save(model.state_dict(), analysis.parent / 'last.pth.tar')
    taus = dict.fromkeys(model.coded_blocks, -.1)
    Calibrator(1.5, taus, fingerprint(model), num_classes=10, samples=389).save(analysis / 'calibrator.json')
    three = Extracted('coded_resnext29_10x11d', [3], num_classes=10, threshold=0.)
    timm_coded.save_extracted(timm_coded.extract_classes(model, [3]), three, analysis / 'extracted-3.pth')


def test_python_of_each_page_runs_from_top_to_bottom(tmp_path):
    make_results(tmp_path)
    files = []
    for page in PAGES:
        files.append(tmp_path / f'{page.stem}_page.py')
        files[-1].write_text(script(page, 'python'))
    run_all = 'import runpy, sys; [runpy.run_path(file) for file in sys.argv[1:]]'  # torch and timm are imported once
    ran = subprocess.run(
        [sys.executable, '-W', 'error', '-c', run_all, *files], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, env=os.environ | {'OMP_NUM_THREADS': '1'})
    assert not ran.returncode, ran.stderr


@by_name
def test_commands_of_a_page_have_the_flags_and_files_that_it_gives_them(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # where configs/ is
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    for code in shell_code(page):
        calls = commands(code, tmp_path)
        checked = [check_call(call, setup['options.extras_require'], monkeypatch) for call in calls]
        named = re.findall(r'(?:^|[\s"])(?:timm-coded|train_xla\.py) ', re.sub(r'(^|\s)#.*', '', code))
        assert sum(checked) >= len(named), f'some commands were not seen in:\n{code}'


def check_call(call: list[str], extras, monkeypatch) -> bool:
    """Whether it is a command of ours, whose arguments are right then."""
    if call[0] == 'timm-coded':
        assert call[1] in COMMANDS
        if call[2:]:
            monkeypatch.setattr(importlib.import_module(f'timm_coded.cli.{call[1]}'), 'run', lambda args: 0)
            assert main(call[1:]) == 0
    elif 'train_xla.py' in call:
        parse_args(call[call.index('train_xla.py') + 1:])
    elif call[1:3] == ['-m', 'pytest']:
        assert all((ROOT / word).is_file() for word in call if word.startswith('tests/'))
    elif call[:2] == ['pip', 'install'] and '[' in call[-1]:
        assert set(re.findall(r'\w+', call[-1].partition('[')[2])) <= set(extras)
    return call[0] == 'timm-coded' or 'train_xla.py' in call


def test_flags_named_in_the_text_are_flags():
    parsers = [build_parser()]
    for name in COMMANDS:
        parsers.append(argparse.ArgumentParser())
        importlib.import_module(f'timm_coded.cli.{name}').add_arguments(parsers[-1])
    known = {flag for parser in parsers for flag in re.findall(r'--[\w-]+', parser.format_help())} | OTHERS_FLAGS
    for page in PAGES:
        named = re.findall(r'`(--[a-zA-Z][\w-]*)[^`\n]*`', page.read_text())
        assert set(named) <= known, page.name


def test_costs_of_the_recipe_are_the_formula_of_the_estimated_throughput():
    speed = (ROOT / 'docs' / 'performance.md').read_text()
    estimated = re.findall(
        r'^\| (v\w+, \d+) \| \*\*`coded_resnext50_32x4d`, packed\*\* \| \S+ \| (\d+) \|', speed, re.M)
    training = (ROOT / 'docs' / 'training.md').read_text()
    costs = re.findall(r'^\| (v\w+, \d+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$', training, re.M)
    assert sorted((chip, rate) for chip, rate, *_ in costs) == sorted(estimated)
    for _, rate, *told in costs:
        hours = 250 * 1_281_167 / (3600 * int(rate))
        assert told == [f'{hours:.0f}', f'{hours / 8:.1f}', f'{8 * int(rate) / 324:.1f}']
