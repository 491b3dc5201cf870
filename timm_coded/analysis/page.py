"""Findings as one HTML page that needs nothing else: pictures inside, no scripts, no requests."""
import base64
import io
from html import escape
from pathlib import Path
from typing import Sequence

from .findings import Findings, Picture, Row, Table, shown

STYLE = '''
:root { color-scheme: light dark; --line: #8884; --quiet: #666; --shade: #0004; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --shade: #fff5; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.4rem, 6vw, 2rem); }
nav ul { columns: 16rem; padding-left: 1.2rem; }
section { border-top: 1px solid var(--line); margin-top: 2rem; }
figure { margin: 1.5rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: white; border-radius: 4px; }
figcaption, .note { color: var(--quiet); }
.wide + figcaption { margin-top: .4rem; }
.title { color: inherit; font-weight: 600; }
/* what is wider than the screen scrolls in its place, with a shadow at the side where there is more */
.wide {
  overflow-x: auto;
  background: linear-gradient(to right, Canvas 50%, transparent) left / 2rem 100% no-repeat local,
    linear-gradient(to left, Canvas 50%, transparent) right / 2rem 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) left / .8rem 100% no-repeat,
    linear-gradient(to left, var(--shade), transparent) right / .8rem 100% no-repeat;
}
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem clamp(.4rem, 1.2vw, .7rem); border-bottom: 1px solid var(--line); }
th, td { text-align: right; white-space: nowrap; }
th.text, td.text, .facts * { text-align: left; }
.facts th { font-weight: normal; color: var(--quiet); vertical-align: top; }
.facts td { white-space: normal; }
details { margin: .7rem 0; }
summary { cursor: pointer; }
'''
OPEN_ROWS = 24  # a longer table is folded away
DPI = 150  # of the pictures, for screens that have more pixels than the 96 an inch that CSS counts
READABLE = 0.6  # of its size: a picture is not made smaller, to fit a phone, but scrolls


class InlinePage:
    """A page's file as the last value of a notebook's cell: in a frame, so that neither's style touches the other's.

    Args:
        path: of the page, such as report.html.
        height: of the frame, in pixels.
    """

    def __init__(self, path: str | Path, height: int = 800) -> None:
        self.page = Path(path).read_text()
        self.height = height

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        # without a base its links would lead to the notebook's own address
        page = self.page.replace('<head>', '<head><base href="about:srcdoc">', 1)
        return (f'<iframe srcdoc="{escape(page)}" title="report" sandbox '
                f'style="width: 100%; height: {self.height}px; border: 1px solid #888"></iframe>')


def render_page(title: str, facts: Sequence[Row], findings: Sequence[Findings], paper: dict[str, Table]) -> str:
    """The page as text.

    Args:
        title: of the page.
        facts: what it is about, as rows of one table: checkpoint, model, images, ...
        findings: a section each, in this order.
        paper: by the findings' name, a table of the paper to stand after theirs.
    """
    links = ''.join(f'<li><a href="#{escape(found.name)}">{escape(found.title)}</a></li>' for found in findings)
    sections = '\n'.join(render_section(found, paper.get(found.name)) for found in findings)
    return f'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{render_facts(facts)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
{sections}
</main>
</body>
</html>
'''


def render_section(found: Findings, paper: Table | None) -> str:
    parts = [f'<section id="{escape(found.name)}">', f'<h2>{escape(found.title)}</h2>']
    parts += [f'<p class="note">{escape(note)}</p>' for note in found.notes]
    parts += [render_picture(picture) for picture in found.pictures]
    parts += [render_table(table) for table in found.tables]
    if paper:
        parts.append('<p class="note">As context, not to compare like with like: other data and another training.</p>')
        parts.append(render_table(paper))
    return '\n'.join([*parts, '</section>'])


def render_facts(facts: Sequence[Row]) -> str:
    rows = ''.join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
                   for name, value in (row.values() for row in facts))
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def render_picture(picture: Picture) -> str:
    file = io.BytesIO()
    picture.figure.savefig(file, format='png', dpi=DPI)
    data = base64.b64encode(file.getvalue()).decode()
    title = escape(picture.title)
    width, height = (round(96 * inches) for inches in picture.figure.get_size_inches())
    return (f'<figure><div class="wide"><img src="data:image/png;base64,{data}" alt="{title}" width="{width}" '
            f'height="{height}" style="min-width: {READABLE * width:.0f}px"></div>'
            f'<figcaption>{title}</figcaption></figure>')


def render_table(table: Table) -> str:
    """A table with its numbers to the right, folded away where it is long."""
    title = escape(table.title)
    if not table.rows:
        return f'<p>{title}: (empty)</p>'
    is_text = {name: any(isinstance(row[name], str) for row in table.rows) for name in table.rows[0]}

    def cells(tag: str, values: dict[str, str]) -> str:
        return '<tr>' + ''.join(
            f'<{tag} class="text">{escape(text)}</{tag}>' if is_text[name] else f'<{tag}>{escape(text)}</{tag}>'
            for name, text in values.items()) + '</tr>'

    head = cells('th', {name: name for name in is_text})
    body = ''.join(cells('td', {name: shown(value) for name, value in row.items()}) for row in table.rows)
    text = f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'
    if len(table.rows) > OPEN_ROWS:
        return f'<details><summary>{title}: {len(table.rows)} rows</summary>{text}</details>'
    return f'<figure><figcaption class="title">{title}</figcaption>{text}</figure>'
