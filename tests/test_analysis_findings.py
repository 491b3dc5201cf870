"""Findings become files that other programs read, and a table that people read."""
import csv
import json
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from timm_coded.analysis.findings import Findings, Picture, Table, new_figure


@pytest.fixture
def findings():
    rows = [{'block': 'layer2.0', 'accuracy': np.float64(98.25), 'samples': 1234567},
            {'block': 'layer10.0', 'accuracy': None, 'samples': np.int64(4)}]
    return Findings('things', 'What was found', [Table('numbers', 'All numbers', rows), Table('none', 'Nothing', [])],
                    [Picture('curve', 'A curve', Figure(figsize=(2, 1)))], ['n is small'])


def test_files_hold_all_numbers(findings, tmp_path):
    paths = findings.write(tmp_path / 'new' / 'folder')
    assert [path.name for path in paths] == ['things.json', 'numbers.csv', 'none.csv', 'curve.png']
    content = json.loads(paths[0].read_text())
    assert content['title'] == 'What was found' and content['notes'] == ['n is small']
    assert content['tables']['numbers']['rows'] == [
        {'block': 'layer2.0', 'accuracy': 98.25, 'samples': 1234567},
        {'block': 'layer10.0', 'accuracy': None, 'samples': 4}]
    with open(paths[1], newline='') as file:
        assert list(csv.DictReader(file)) == [
            {'block': 'layer2.0', 'accuracy': '98.25', 'samples': '1234567'},
            {'block': 'layer10.0', 'accuracy': '', 'samples': '4'}]
    with Image.open(paths[3]) as image:
        assert image.size == (300, 150) and image.info['Title'] == 'A curve'


def test_number_that_is_none_of_json_is_an_error_and_not_a_broken_file(findings, tmp_path):
    findings.tables[0].rows[0]['accuracy'] = float('nan')
    with pytest.raises(ValueError):
        findings.write(tmp_path)


def test_text_is_in_columns(findings):
    assert findings.text().splitlines() == [
        'What was found', 'n is small', '', 'All numbers',
        'block      accuracy    samples',
        'layer2.0      98.25  1,234,567',
        'layer10.0                    4',
        '', 'Nothing', '(empty)']


def test_of_a_long_table_the_start_is_printed(tmp_path):
    findings = Findings('sizes', 'Sizes', [Table('long', 'A long table', [{'row': index} for index in range(103)])])
    lines = findings.text().splitlines()
    assert lines[-2:] == [' 99', '... and 3 more rows: long.csv'] and len(lines) == 3 + 1 + 100 + 1
    findings.write(tmp_path)
    assert len((tmp_path / 'long.csv').read_text().splitlines()) == 104


def test_pictures_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'timm_coded\[analysis\]'"):
        new_figure(4, 3)
