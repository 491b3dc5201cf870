"""Reads the text of an HLO module: computations, and the lines of each."""
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """An instruction as it is written, `text` behind its opcode."""
    name: str
    shape: str
    opcode: str
    text: str

    def called(self, *attributes: str) -> list[str]:
        """The computations that the attributes name."""
        found = []
        for attribute in attributes:
            for names in re.findall(rf'\b{attribute}=(\{{[^}}]*\}}|%[\w.\-]+)', self.text):
                found += re.findall(r'%([\w.\-]+)', names)
        return found

    def cycles(self) -> int | None:
        match = re.search(r'"estimated_cycles":"(\d+)"', self.text)
        return int(match[1]) if match else None


def parse(text: str) -> tuple[dict[str, list[Line]], str]:
    """The computations of an HLO module by name, and the name of the one that is run."""
    computations: dict[str, list[Line]] = {}
    entry, lines = None, None
    for row in text.splitlines():
        head = re.match(r'(ENTRY )?%([\w.\-]+) \(.*\{$', row)
        if head:
            lines = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif lines is not None and (line := parse_line(row)):
            lines.append(line)
    if entry is None:
        raise ValueError('this is no HLO module: it has no ENTRY')
    return computations, entry


def parse_line(row: str) -> Line | None:
    match = re.match(r'\s+(?:ROOT )?%([\w.\-]+) = (.*)', row)
    if not match:
        return None
    name, rest = match.groups()
    end = closing(rest) if rest.startswith('(') else rest.index(' ')
    opcode = re.match(r' ?([\w\-]+)', rest[end:])
    assert opcode, row
    return Line(name, rest[:end], opcode[1], rest[end + opcode.end():])


def closing(text: str) -> int:
    """Where the parenthesis that the text begins with is closed."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == '(') - (letter == ')')
        if depth == 0:
            return index + 1
    raise ValueError(f'a parenthesis is not closed: {text[:80]}')
