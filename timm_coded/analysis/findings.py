"""What an analysis found: tables and figures, and how they become files."""
import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]  # column -> number or text; the same columns in all rows of a table
PRINTED_ROWS = 100  # of a longer table the rest is in its file only


@dataclass
class Table:
    """Numbers with a name, which is that of their CSV file, and a title; accuracies and the like are in percent."""
    name: str
    title: str
    rows: list[Row]


@dataclass
class Picture:
    """A figure with the name of its PNG file and a title, which says what it shows to who cannot see it."""
    name: str
    title: str
    figure: 'Figure'


@dataclass
class Findings:
    """What an analysis found.

    Attributes:
        name: of the analysis, and of its JSON file.
        title: what it is, with the paper's section.
        tables, pictures: in the order of reading.
        notes: what one has to know to read them right: how many samples, what is simulated, ...
    """
    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def named(self, suffix: str, words: str) -> 'Findings':
        """The same with `-suffix` behind the names and `words` behind the titles, for an analysis done again."""
        tables = [Table(f'{table.name}-{suffix}', f'{table.title}, {words}', table.rows) for table in self.tables]
        pictures = [
            Picture(f'{one.name}-{suffix}', f'{one.title}, {words}', one.figure) for one in self.pictures]
        return Findings(f'{self.name}-{suffix}', f'{self.title}, {words}', tables, pictures, self.notes)

    def content(self) -> dict[str, Any]:
        """Title, notes and tables, as the JSON file has them."""
        tables = {table.name: {'title': table.title, 'rows': table.rows} for table in self.tables}
        return {'title': self.title, 'notes': self.notes, 'tables': tables}

    def write(self, folder: str | Path) -> list[Path]:
        """Writes a CSV file for each table, a PNG for each picture and one JSON for all numbers; returns the paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f'{self.name}.json']
        paths[0].write_text(json.dumps(self.content(), indent=1, allow_nan=False, default=as_plain) + '\n')
        for table in self.tables:
            paths.append(folder / f'{table.name}.csv')
            with open(paths[-1], 'w', newline='') as file:
                writer = csv.DictWriter(file, list(table.rows[0]) if table.rows else [])
                writer.writeheader()
                writer.writerows(table.rows)
        for picture in self.pictures:
            paths.append(folder / f'{picture.name}.png')
            picture.figure.savefig(paths[-1], dpi=150, metadata={'Title': picture.title})
        return paths

    def text(self) -> str:
        """The notes and tables as text in columns."""
        parts = [self.title, *self.notes]
        for table in self.tables:
            parts += ['', table.title, *columns(table.rows[:PRINTED_ROWS])]
            if len(table.rows) > PRINTED_ROWS:
                parts.append(f'... and {len(table.rows) - PRINTED_ROWS} more rows: {table.name}.csv')
        return '\n'.join(parts)


def new_figure(width: float, height: float) -> 'Figure':
    """An empty figure, in inches; matplotlib is imported with the first, as a command's help does without.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        error.msg = "pictures need matplotlib: pip install 'timm_coded[analysis]'"
        raise
    return Figure(figsize=(width, height), layout='constrained')


def as_plain(value: Any) -> Any:
    """NumPy's numbers as JSON has them."""
    return value.item()


def columns(rows: list[Row]) -> list[str]:
    """Lines of a table in columns, numbers to the right; None is an empty cell."""
    if not rows:
        return ['(empty)']
    cells = [list(rows[0]), *([shown(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    is_text = [any(isinstance(row[name], str) for row in rows) for name in rows[0]]
    return ['  '.join(cell.ljust(width) if text else cell.rjust(width)
                      for cell, width, text in zip(line, widths, is_text)).rstrip() for line in cells]


def shown(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, str) or not hasattr(value, '__float__'):
        return str(value)
    return f'{value:,}' if float(value).is_integer() and 'float' not in type(value).__name__ else f'{value:.4g}'
