"""The repository's README as a page of the site, and links that leave this folder as the site can have them."""
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# code, which stays as it is, or [text](target) or ![text](target) with a target that is not on another machine
CODE_OR_LINK = re.compile(r'```.*?```|`[^`\n]*`|(!?)\[([^][]*)\]\(([^)\s:]+)\)', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """mkdocs: when the files of this folder are known."""
    readme = Path(config.config_file_path).parent / 'README.md'
    files.append(File.generated(config, 'readme.md', content=readme.read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """mkdocs: before a page is rendered."""
    root = Path(config.config_file_path).parent
    here = root if page.file.src_uri == 'readme.md' else Path(config.docs_dir)
    return CODE_OR_LINK.sub(lambda match: match[3] and as_on_site(*match.groups(), here, root) or match[0], markdown)


def as_on_site(image: str, text: str, target: str, here: Path, root: Path) -> str:
    """A link of a file in the folder `here`, as the site has it; the text alone where the site has no such page."""
    path, mark, anchor = target.partition('#')
    place = (here / path).resolve()
    if not path:
        return f'[{text}]({target})'
    if place == root / 'README.md':
        return f'[{text}](readme.md{mark}{anchor})'
    if root / 'docs' in place.parents:
        return f'{image}[{text}]({place.relative_to(root / "docs").as_posix()}{mark}{anchor})'
    return text
