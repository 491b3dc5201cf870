"""Coding schemes as text: comment lines that start with '#', then one row of zeros and ones per class."""
import os
import re
from pathlib import Path

import numpy as np

from .scheme import CodingScheme

_SIZES = re.compile(r'#\s*K=(\d+) N=(\d+) N_act=(\d+)\b')


def scheme_to_text(scheme: CodingScheme) -> str:
    """The text that `CodingScheme.save` writes: a header with the figures of the scheme, then the codewords."""
    header = (
        f'# K={scheme.num_classes} N={scheme.num_subnns} N_act={scheme.num_active}'
        f' min_distance={scheme.min_distance} closest_pairs={scheme.closest_pairs}\n'
        f'# {scheme.source}: {scheme.construction}\n')
    if scheme.command:
        header += f'# made by: {scheme.command}\n'
    return header + ''.join(''.join(map(str, word)) + '\n' for word in scheme.codewords.tolist())


def load_scheme(path: str | os.PathLike[str]) -> CodingScheme:
    """Reads a coding scheme from a text file, as written by `CodingScheme.save` or by hand.

    Empty lines and lines that start with '#' are passed over. When a line `# K=.. N=.. N_act=..` is there, the rows
    must agree with it, so that a file cut short is noticed.

    Args:
        path: The file.

    Returns:
        A scheme whose `source` is 'file'.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is no valid coding scheme; the message names file and line.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not a text file ({error.reason} at byte {error.start})') from None
    words: list[list[int]] = []
    line_of: dict[str, int] = {}
    stated = None
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line.startswith('#'):
            sizes = _SIZES.match(line)
            stated = tuple(map(int, sizes.groups())) if sizes else stated
        elif line:
            try:
                words.append(_parse_word(line, line_of, words))
            except ValueError as error:
                raise ValueError(f'{path}, line {number}: {error}') from None
            line_of[line] = number
    if not words:
        raise ValueError(f'{path}: no codewords in this file, expected one row of zeros and ones per class')
    found = len(words), len(words[0]), sum(words[0])
    if stated is not None and stated != found:
        raise ValueError(
            f'{path}: the header states K={stated[0]} N={stated[1]} N_act={stated[2]},'
            f' but the rows are K={found[0]} N={found[1]} N_act={found[2]}')
    return CodingScheme(np.array(words), source='file', construction=f'read from {Path(path).name}')


def _parse_word(line: str, line_of: dict[str, int], words: list[list[int]]) -> list[int]:
    """One row as a list of 0 and 1, checked against the rows before it."""
    if set(line) - {'0', '1'}:
        strange = sorted(set(line) - {'0', '1'})[0]
        raise ValueError(f'expected a row of zeros and ones, found {strange!r}')
    if line in line_of:
        raise ValueError(f'same codeword as in line {line_of[line]}')
    if '1' not in line:
        raise ValueError('a codeword needs at least one 1')
    if words and len(line) != len(words[0]):
        raise ValueError(f'{len(line)} digits, but the first codeword has {len(words[0])}')
    if words and line.count('1') != sum(words[0]):
        raise ValueError(f'{line.count("1")} ones, but the first codeword has {sum(words[0])}')
    return list(map(int, line))
