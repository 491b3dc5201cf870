"""The picture of a report in the docs: a window in light mode beside a phone in dark mode.

    python tests/report_picture.py output/train/digits/analysis/report.html docs/images/report.png
"""
import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from test_page_browser import PHONE, find_browser

VIEWS = [((860, PHONE[1]), 'light', 'energies'), (PHONE, 'dark', 'explain-')]  # size, mode, start of a section's name
GAP, GREY = 16, (128, 128, 128)


def picture(report: Path) -> Image.Image:
    shots = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(playwright))
        for (width, height), scheme, section in VIEWS:
            page = browser.new_page(viewport={'width': width, 'height': height}, color_scheme=scheme)
            page.goto(report.resolve().as_uri())
            page.locator(f'nav a[href^="#{section}"]').first.click()
            shots.append(Image.open(io.BytesIO(page.screenshot())).convert('RGB'))
    width = sum(shot.width for shot in shots) + GAP * (len(shots) + 1)
    whole = Image.new('RGB', (width, shots[0].height + 2 * GAP), GREY)
    left = GAP
    for shot in shots:
        whole.paste(shot, (left, GAP))
        left += shot.width + GAP
    return whole


if __name__ == '__main__':
    report, path = map(Path, sys.argv[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(report).save(path, optimize=True)
