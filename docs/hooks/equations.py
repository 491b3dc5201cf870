"""Equations of ```math fences as MathML, which browsers draw without a script, font or request of ours."""
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """mkdocs: before anything is built."""
    fence = {'name': 'math', 'class': 'math', 'format': draw}
    config.mdx_configs.setdefault('pymdownx.superfences', {})['custom_fences'] = [fence]
    return config


def draw(source: str, language: str, css_class: str, options: dict, md: Any, **kwargs: Any) -> str:
    """A fence's LaTeX as HTML; long equations scroll, so that a phone's page does not."""
    source = re.sub(r'\\tag\{(.*?)\}', r'\\qquad (\1)', source)  # the number, which would touch the equation
    return f'<div class="{css_class}" style="overflow-x: auto; margin: 1em 0">{convert(source, display="block")}</div>'
