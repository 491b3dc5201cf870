"""The report as a browser shows it: Chromium without a window, on a phone and on a desk, in light and in dark."""
import base64
import io
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from timm_coded.analysis.findings import Findings, Table
from timm_coded.analysis.page import InlinePage, render_page
from timm_coded.cli import main, report

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
PHONE, DESK = (390, 844), (1280, 900)
TEN_POINTS = 10 / 72 * 150  # the height of a figure's text, in the file's pixels
SCREENS = [(size, scheme) for size in (PHONE, DESK) for scheme in ('light', 'dark')]
BEFORE_CLICK = 'Array.from(document.querySelectorAll("details")).forEach(one => one.open = true)'

# Every element that itself holds text, with its size in pixels, its colour, and the opaque one that is behind it: the
# backgrounds of its ancestors over the browser's own canvas.
TEXTS = '''() => {
    const numbers = color => {
        const found = color.match(/[\\d.]+/g).map(Number);
        return found.length < 4 ? [...found, 1] : found;
    };
    const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]).concat(1);
    const probe = document.body.appendChild(document.createElement('div'));
    probe.style.backgroundColor = 'Canvas';
    const canvas = numbers(getComputedStyle(probe).backgroundColor);
    probe.remove();
    const texts = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = Array.from(element.childNodes).filter(node => node.nodeType === 3).map(node => node.data).join('');
        if (!own.trim()) continue;
        let behind = canvas;
        const ancestors = [];
        for (let one = element; one; one = one.parentElement) ancestors.unshift(one);
        for (const one of ancestors) behind = over(numbers(getComputedStyle(one).backgroundColor), behind);
        const style = getComputedStyle(element);
        texts.push({
            text: own.trim(), size: parseFloat(style.fontSize), color: over(numbers(style.color), behind), behind,
        });
    }
    return texts;
}'''


def find_browser(playwright: Playwright) -> str | None:
    """The system's, or the one that playwright has installed."""
    paths = [*map(shutil.which, BROWSERS), playwright.chromium.executable_path]
    return next((path for path in paths if path and Path(path).exists()), None)


@pytest.fixture(scope='module')
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = find_browser(playwright)
        if not path:
            pytest.skip('there is no browser: apt-get install chromium, or python -m playwright install chromium')
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def reported(digits_checkpoint, tmp_path_factory) -> Path:
    """A report with all kinds of sections, of few images."""
    folder = tmp_path_factory.mktemp('report')
    timed_images, report.TIMED_IMAGES = report.TIMED_IMAGES, 2
    try:
        assert main(['report', str(digits_checkpoint), '--output', str(folder), '--foreign', 'letters', '--classes',
                     '3', '--explained', '1', '--skip', 'ablate']) == 0
    finally:
        report.TIMED_IMAGES = timed_images
    return folder / 'report.html'


@pytest.fixture(scope='module')
def long_table(tmp_path_factory) -> Path:
    """A page with a table that is folded away."""
    path = tmp_path_factory.mktemp('long') / 'report.html'
    rows = [{'k': k, 'k squared': k * k} for k in range(50)]
    path.write_text(render_page('Long', [], [Findings('squares', 'Squares', [Table('squares', 'All', rows)])], {}))
    return path


@contextmanager
def opened(browser: Browser, path: Path, size: tuple[int, int] = DESK, scheme: str = 'light') -> Iterator[Page]:
    """The page in a new window. `requests` and `complaints` of it list all that it asked for but itself, none of which
    is answered, and what came to the console."""
    context = browser.new_context(
        viewport=dict(zip(('width', 'height'), size)), color_scheme=scheme, has_touch=size is PHONE)
    page = context.new_page()
    page.requests, page.complaints = [], []
    itself = path.as_uri()

    def answer(route) -> None:
        url = route.request.url
        if url.split('#')[0] == itself:
            route.continue_()
        else:
            page.requests.append(url)
            route.abort()

    context.route('**/*', answer)
    page.on('console', lambda message: page.complaints.append(message.text))
    page.on('pageerror', lambda error: page.complaints.append(str(error)))
    page.goto(itself)
    page.evaluate(BEFORE_CLICK)
    yield page
    context.close()


def luminance(color: list[float]) -> float:
    """WCAG 2.2's relative luminance of a colour of 0 to 255."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (one / 255 for one in color[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    """WCAG 2.2's contrast ratio: from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def faults(page: Page) -> set[str]:
    """What is wrong with the page as it stands, by a word each."""
    page.wait_for_load_state('networkidle')
    texts = page.evaluate(TEXTS)
    assert texts
    images = page.evaluate('''() => Promise.all(Array.from(document.images).map(async image => ({
        alt: image.alt.trim(), scale: image.clientWidth / (image.naturalWidth || 1),
        decoded: await image.decode().then(() => image.naturalWidth > 0, () => false)})))''')
    checks = {
        'request': not page.requests,
        'console': not page.complaints,
        'overflow': page.evaluate('document.documentElement.scrollWidth') <= page.viewport_size['width'],
        'small': all(text['size'] >= 12 for text in texts),
        'faint': all(contrast(text['color'], text['behind']) >= 4.5 for text in texts),
        'alt': all(image['alt'] for image in images),
        'broken': all(image['decoded'] for image in images),
        'tiny': all(image['scale'] * TEN_POINTS > 7.9 for image in images),
    }
    return {fault for fault, fine in checks.items() if not fine}


@pytest.mark.parametrize('size, scheme', SCREENS)
def test_report_can_be_read(browser, reported, size, scheme):
    with opened(browser, reported, size, scheme) as page:
        assert faults(page) == set()
        assert page.locator('img').count() >= 8


def figure_of(width: int) -> str:
    file = io.BytesIO()
    Image.new('L', (width, 1)).save(file, 'png')
    return f'data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'


@pytest.mark.parametrize('fault, body', [
    ('request', '<p>x</p><style>body { background: url(http://127.0.0.1:9/x) }</style>'),
    ('console', '<p>x</p><script>console.error("x")</script>'),
    ('console', '<p>x</p><script>throw Error("x")</script>'),
    ('overflow', '<p style="white-space: nowrap">' + 200 * 'x' + '</p>'),
    ('small', '<p>x <span style="font-size: 11px">x</span></p>'),
    ('faint', '<p style="color: #888">x</p>'),
    ('faint', '<div style="background: #0008"><p style="color: #333">x</p></div>'),
    ('alt', '<p>x</p><img alt=" " src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==">'),
    ('broken', '<p>x</p><img alt="x" src="data:image/png;base64,AAAA">'),
    ('tiny', f'<p>x</p><img alt="x" width="50" src="{figure_of(150)}">'),
])
def test_these_faults_would_have_been_found(browser, tmp_path, fault, body):
    path = tmp_path / 'page.html'
    path.write_text(f'<!DOCTYPE html><link rel="icon" href="data:,"><title>x</title>{body}')
    with opened(browser, path, PHONE) as page:
        assert fault in faults(page)


@pytest.mark.parametrize('size', [PHONE, DESK])
def test_dark_mode_is_dark_and_figures_stand_on_white(browser, reported, size):
    with opened(browser, reported, size, 'dark') as page:
        corner = Image.open(io.BytesIO(page.screenshot())).convert('RGB').getpixel((2, 2))
        assert luminance(corner) < 0.05
        for image in page.locator('img').all():
            figure = Image.open(io.BytesIO(image.screenshot())).convert('RGB')
            edge = figure.crop((1, 0, 2, figure.height))
            assert max(edge.getcolors())[1] == (255, 255, 255)


def test_links_lead_to_their_sections(browser, reported):
    with opened(browser, reported, PHONE) as page:
        links = page.locator('nav a')
        assert links.count() >= 8
        for link in links.all():
            name = link.get_attribute('href').removeprefix('#')
            link.click()
            heading = page.locator(f'section[id="{name}"] h2').bounding_box()
            assert 0 <= heading['y'] < PHONE[1] and heading['height'] > 0
            assert page.url.endswith(f'#{name}')


def test_long_table_unfolds_by_the_keyboard(browser, long_table):
    with opened(browser, long_table) as page:
        page.evaluate('document.querySelector("details").open = false')
        assert not page.get_by_text('2,401').is_visible()
        for _ in range(5):
            page.keyboard.press('Tab')
            if page.evaluate('document.activeElement.tagName') == 'SUMMARY':
                break
        assert page.evaluate('getComputedStyle(document.activeElement).outlineStyle') != 'none'
        page.keyboard.press('Enter')
        assert page.get_by_text('2,401').is_visible()


def test_page_within_a_notebook_keeps_its_links_and_asks_for_nothing(browser, reported, tmp_path):
    path = tmp_path / 'notebook.html'
    path.write_text(f'<!DOCTYPE html><title>x</title><p>x</p>{InlinePage(reported)._repr_html_()}')
    with opened(browser, path) as page:
        frame = page.frame_locator('iframe')
        assert frame.locator('img').count() >= 8
        frame.locator('nav a').last.click()
        assert 0 <= frame.locator('section h2').last.bounding_box()['y'] < DESK[1]
        assert faults(page) == set()
        own, = page.frames[1:]
        assert own.url.split('#')[0] == 'about:srcdoc' and own.evaluate('document.images[0].naturalWidth') > 0
