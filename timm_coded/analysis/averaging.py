"""The same findings of several runs: mean and spread of each number."""
import json
import math
import statistics
from pathlib import Path
from typing import Any, Sequence

from .findings import Findings, Row, Table


def average_findings(paths: Sequence[str | Path]) -> Findings:
    """Mean and sample standard deviation over runs, of every number in the tables of their JSON files.

    Rows belong together by their place; tables that have not the same title, columns and texts in all runs are left
    out, and named. Whole numbers that are equal in all runs, as numbers of samples, stay as they are.

    Args:
        paths: `Findings.write`'s JSON files of one analysis, of two runs or more.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is none of findings, or they are not of the same analysis.
    """
    if len(paths) < 2:
        raise ValueError(f'{len(paths)} file: give those of two runs at least')
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise ValueError('a file is named twice: give that of each run once')
    contents = [read_findings(path) for path in paths]
    first = contents[0]
    tables, left_out = [], []
    for name, table in first['tables'].items():
        same = [content['tables'].get(name) for content in contents]
        if all(other and is_alike(other, table) for other in same):
            rows = zip(*(other['rows'] for other in same))
            tables.append(Table(name, table['title'], [average_row(row) for row in rows]))
        else:
            left_out.append(name)
    others = [path for path, content in zip(paths, contents) if content['title'] != first['title']]
    if others or not tables:
        raise ValueError(f'{(others or paths[1:])[0]} has other tables than {paths[0]}: give the same analysis')
    notes = [f'Left out, with other titles or rows in some runs: {", ".join(left_out)}'] if left_out else []
    title = f'{first["title"]}: mean ± standard deviation over {len(paths)} runs'
    return Findings('average', title, tables, notes=notes)


def read_findings(path: str | Path) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text())
        for table in content['tables'].values():
            texts_of(table)
        content['title']
        return content
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} holds no findings: give the JSON file of an analysis, as evaluate.json') from error


def is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two tables have the same title, which tells of which samples they are, and rows that match."""
    return one['title'] == other['title'] and texts_of(one) == texts_of(other)


def texts_of(table: dict[str, Any]) -> list[dict[str, str]]:
    """What rows must have in common: columns and texts, but not numbers."""
    return [{key: value if isinstance(value, str) else '' for key, value in row.items()} for row in table['rows']]


def average_row(rows: Sequence[Row]) -> Row:
    """One row with '98.30 ± 0.23' for each number; None where a run has none."""
    averaged = {}
    for key, value in rows[0].items():
        values = [row[key] for row in rows]
        same = all(other == value for other in values)
        if isinstance(value, str) or same and not isinstance(value, float):
            averaged[key] = value
        elif None in values:
            averaged[key] = None
        else:
            averaged[key] = with_spread(statistics.fmean(values), statistics.stdev(values))
    return averaged


def with_spread(mean: float, spread: float) -> str:
    """Both with two digits of the spread, but no more than four decimals: '98.30 ± 0.23'."""
    decimals = 2 if not spread else min(4, max(0, 1 - math.floor(math.log10(spread))))
    return f'{mean:.{decimals}f} ± {spread:.{decimals}f}'
