"""Markdown pages taken apart: headings, links, blocks of code, and the commands that their shell code would run."""
import re
import subprocess
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]

FENCE = re.compile(r'^(?P<mark><!-- (?P<reason>.*?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$', re.M | re.S)
CODE = re.compile(r'^```.*?^```$|`[^`\n]+`', re.M | re.S)
LINK = re.compile(r'\[[^][]*\]\(([^)\s]+)\)')
COMMAND = re.compile(
    r'(PJRT_DEVICE=CPU )?timm-coded |(python|torchrun .*) train_xla\.py |python -m pytest |pip install ')

# Every program that a script calls is written down in the place of being run: there is none where bash looks.
RECORDER = r'''
command_not_found_handle() { printf '%s\x1f' "$@" >> commands; printf '\x1e' >> commands; }
.() { :; }
cd() { :; }
'''


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of its first line of code, from 1
    reason: str  # why it is not run, or ''


def blocks(page: Path, language: str) -> list[Block]:
    """A page's blocks of code in a language."""
    text = page.read_text()
    return [
        Block(language, match['code'], text.count('\n', 0, match.start('code')) + 1,
              (match['reason'] or '').removeprefix('not run: '))
        for match in FENCE.finditer(text) if match['language'] == language]


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures, those in code left out."""
    return LINK.findall(CODE.sub('', page.read_text()))


def anchors(page: Path) -> set[str]:
    """What a link to a place in the page can name: its headings as GitHub writes them, and what the API page is of."""
    text = page.read_text()
    prose = re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)
    titles = re.findall(r'^#+ (.*)$', prose, re.M)
    slugs = {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}
    return slugs | set(re.findall(r'^::: (\S+)$', text, re.M))


def script(page: Path, language: str) -> str:
    """All blocks of a page, each on the lines that it has in the page; those with a reason not to run left out."""
    lines: list[str] = []
    for block in blocks(page, language):
        if not block.reason:
            lines += [''] * (block.line - 1 - len(lines)) + block.code.splitlines()
    return '\n'.join(lines) + '\n'


def shell_code(page: Path) -> Iterator[str]:
    """A page's shell code: its blocks, and the commands with arguments that its text names."""
    yield script(page, 'sh')
    for span in re.findall(r'`([^`\n]+)`', FENCE.sub('', page.read_text()).replace('\n', ' ')):
        if COMMAND.match(span):
            yield span.removesuffix(' ...')


def commands(code: str, folder: Path) -> list[list[str]]:
    """The words of each program's call that bash makes of shell code: loops run, variables filled in, nothing called.

    Scripts inside an argument (`ssh --command='...'`, `sh -c "..."`) are taken apart, too. `[--flag a|b]`, which tells
    readers that they may leave it out, is taken as given.
    """
    code = re.sub(r'\[(--[\w-]+ [\w.-]+)[|\w]*\]', r'\1', code).replace('.venv/bin/', '')
    record = folder / 'commands'
    record.write_text('')
    bash = subprocess.run(
        ['/bin/bash', '--norc', '-c', RECORDER + code], cwd=folder, env={'PATH': '/nowhere'}, capture_output=True,
        text=True, timeout=60)
    assert 'syntax error' not in bash.stderr, f'{bash.stderr}\n{code}'
    called = [call.split('\x1f')[:-1] for call in record.read_text().split('\x1e')[:-1]]
    inner = [word.removeprefix('--command=') for call in called for word in call
             if re.search(r'(timm-coded|train_xla\.py) ', word) and call[:2] != ['python', '-c']]
    return called + [call for text in inner for call in commands(text, folder)]
