"""summary.csv: one row for each epoch that has ended, in timm's columns."""
import csv
import io
import os
from pathlib import Path


def write_summary(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes the whole file anew under another name and renames it, so that it is never half a file.

    Args:
        rows: of the epochs. The columns are all rows' in the order of their appearance.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    draft = path.with_name(path.name + '.tmp')
    draft.write_text(text.getvalue())
    os.replace(draft, path)
