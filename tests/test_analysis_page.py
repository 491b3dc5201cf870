"""The page of findings is valid HTML that holds all of them and asks for nothing from elsewhere."""
import base64
import io
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from PIL import Image

from timm_coded.analysis.findings import Findings, Picture, Table
from timm_coded.analysis.page import render_page
from timm_coded.analysis.paper import TABLES

VOID = {'meta', 'link', 'img', 'br'}


class Reader(HTMLParser):
    """Checks that tags close in order; gathers attributes, and the text of cells."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.cells = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ('td', 'th'):
            self.cells.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture(scope='module')
def page() -> str:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    found = [
        Findings('decode', 'Decoders <b>', [Table('a', 'Classes & more', [{'class': '<script>x', 'accuracy': 12.5}])],
                 [Picture('p', 'A "curve"', figure)], ['n < 5']),
        Findings('other', 'Other', [Table('b', 'Long', [{'k': k} for k in range(50)]), Table('c', 'None', [])]),
    ]
    return render_page('Title', [{'what': 'model', 'value': 'coded'}], found, TABLES)


def test_all_numbers_and_texts_are_there_and_none_is_taken_for_markup(page):
    reader = read(page)
    assert {'<script>x', '12.5', '49', 'coded', '98.1', '>= 6'} <= set(reader.cells)
    assert '<script' not in page and 'Decoders &lt;b&gt;' in page and 'n &lt; 5' in page
    assert 'Long: 50 rows' in page and 'None: (empty)' in page


def test_the_papers_table_stands_only_after_its_own_findings(page):
    decode, other = page.split('<section')[1:]
    assert 'Table 3' in decode and 'not to compare like with like' in decode
    assert 'paper' not in other


def test_pictures_are_inside_with_their_titles_and_nothing_is_fetched(page):
    reader = read(page)
    images = [value for tag, name, value in reader.attributes if (tag, name) == ('img', 'src')]
    assert len(images) == 1
    with Image.open(io.BytesIO(base64.b64decode(images[0].removeprefix('data:image/png;base64,')))) as image:
        assert image.size == (300, 150)
    assert ('img', 'alt', 'A "curve"') in reader.attributes
    links = [value for _, name, value in reader.attributes if name in ('src', 'href')]
    assert all(link.startswith(('data:', '#')) for link in links)
    assert not re.search(r'url\(|@import|https?://', page)


def test_links_lead_to_sections(page):
    reader = read(page)
    links = {value[1:] for tag, name, value in reader.attributes if (tag, name) == ('a', 'href')}
    sections = {value for tag, name, value in reader.attributes if (tag, name) == ('section', 'id')}
    assert links == sections == {'decode', 'other'}


def test_figures_are_the_papers():
    rows = {row['agreeing decoders']: row for row in TABLES['decode'].rows}
    assert rows['0']['CIFAR-10'] == 52.0 and rows['>= 6']['ImageNet'] == 92.6 and rows['2']['ImageNet'] == 87.3
    assert [row['F1'] for row in TABLES['classify'].rows] == [84, None, 86]
