"""What a coding scheme is: one codeword per class, and the figures by which schemes are compared."""
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .bounds import DistanceBound, distance_bound


@dataclass(frozen=True, eq=False)
class CodingScheme:
    """The codewords of one coded stage: class k works through the subNNs n where `codewords[k, n]` is 1.

    The paper's rules (Appendix A): A, every codeword has `num_active` ones; B, the column sums are about equal;
    C, the minimum Hamming distance is as large as possible. Rule A and distinct codewords are checked here.

    Attributes:
        codewords: [num_classes, num_subnns] uint8, zeros and ones, read-only.
        source: 'optimal', 'paper', 'search', or 'file'.
        construction: How the codewords came about, in words.
        command: The command that makes them again, where there is one.

    Raises:
        ValueError: The words are not 0/1, not of equal weight, all zero, or not distinct.
    """

    codewords: np.ndarray
    source: str = 'file'
    construction: str = ''
    command: str = ''

    def __post_init__(self) -> None:
        codewords = np.array(self.codewords)
        if codewords.ndim != 2 or 0 in codewords.shape:
            raise ValueError(f'codewords must be a [num_classes, num_subnns] table, got shape {codewords.shape}')
        if not np.isin(codewords, (0, 1)).all():
            raise ValueError('codewords must consist of zeros and ones')
        codewords = codewords.astype(np.uint8)
        weights = codewords.sum(axis=1, dtype=np.int64)
        if (weights != weights[0]).any():
            odd = int(np.argmax(weights != weights[0]))
            raise ValueError(
                f'every codeword needs the same number of ones: class 0 has {weights[0]}, class {odd} {weights[odd]}')
        if weights[0] == 0:
            raise ValueError('codewords need at least one active subNN, these are all zero')
        first_with: dict[bytes, int] = {}
        for k, word in enumerate(codewords):
            other = first_with.setdefault(word.tobytes(), k)
            if other != k:
                raise ValueError(f'classes {other} and {k} have the same codeword')
        codewords.setflags(write=False)
        object.__setattr__(self, 'codewords', codewords)

    def __reduce__(self) -> tuple[type, tuple[np.ndarray, str, str, str]]:
        # Copies and pickles go through the constructor, which keeps the codewords read-only.
        return type(self), (self.codewords, self.source, self.construction, self.command)

    def __repr__(self) -> str:
        return f'CodingScheme({self.num_classes}, {self.num_subnns}, {self.num_active}, source={self.source!r})'

    @property
    def num_classes(self) -> int:
        """K, the number of codewords."""
        return self.codewords.shape[0]

    @property
    def num_subnns(self) -> int:
        """N, the length of the codewords."""
        return self.codewords.shape[1]

    @property
    def num_active(self) -> int:
        """N_act, the number of ones of every codeword."""
        return int(self.codewords[0].sum())

    @property
    def ratio(self) -> float:
        """r = N_act / N."""
        return self.num_active / self.num_subnns

    @property
    def column_sums(self) -> np.ndarray:
        """[num_subnns] int64: how many classes each subNN serves."""
        return self.codewords.sum(axis=0, dtype=np.int64)

    @property
    def min_distance(self) -> int:
        """H_min, the smallest Hamming distance of two codewords; 0 for a single class, which has no pair to compare."""
        return self._closest[0]

    @property
    def closest_pairs(self) -> int:
        """How many pairs of classes are at exactly `min_distance`; 0 for a single class."""
        return self._closest[1]

    @property
    def distance_bound(self) -> DistanceBound:
        """The largest minimum distance that any scheme of this size could have, and the bound that proves it."""
        return distance_bound(self.num_classes, self.num_subnns, self.num_active)

    @cached_property
    def _closest(self) -> tuple[int, int]:
        """Minimum distance and number of pairs at it, from the inner products of all pairs, block by block.

        Words of equal weight w with inner product s are at distance 2 (w - s). Worked out on first use: it takes
        seconds for 20,000 classes, and a model does not need it.
        """
        most_shared, pairs, block = -1, 0, 2048
        words = self.codewords.astype(np.float32)  # inner products are exact in float32, and BLAS is fast in it
        for start in range(0, self.num_classes, block):
            rows = words[start:start + block]
            shared = rows @ words[start:].T
            shared[np.tril_indices(len(rows))] = -1  # a pair counts once, and no word is compared with itself
            largest = int(shared.max())
            if largest > most_shared:
                most_shared, pairs = largest, 0
            if largest == most_shared and largest >= 0:
                pairs += int(np.count_nonzero(shared == largest))
        return (0, 0) if self.num_classes == 1 else (2 * (self.num_active - most_shared), pairs)

    def describe(self) -> str:
        """The figures of this scheme in a few lines of text, with what the bounds allow."""
        sums, bound = self.column_sums, self.distance_bound
        if self.num_classes == 1:
            distance = 'no pair to compare (one class)'
        else:
            optimal = ', optimal' if self.min_distance == bound.distance else ''
            distance = f'{self.min_distance} (the bounds allow at most {bound.distance}{optimal}: {bound.proof})'
            if self.source == 'optimal' and not optimal:
                distance += "; no construction here has more, a search may: source 'search'"
        listed = f': {" ".join(map(str, sums))}' if len(sums) <= 32 else ''
        return '\n'.join([
            f'classes K             {self.num_classes}',
            f'subNNs N              {self.num_subnns}',
            f'active subNNs N_act   {self.num_active}',
            f'ratio r               {self.num_active}/{self.num_subnns} = {self.ratio:.4g}',
            f'minimum distance      {distance}',
            f'closest pairs         {self.closest_pairs}',
            f'column sums           {sums.min()} to {sums.max()}{listed}',
            f'construction          {self.source}: {self.construction or "not stated"}',
        ])

    def save(self, path: str | Path) -> None:
        """Writes the scheme as text, to be read back by `load_scheme`.

        Raises:
            OSError: The file cannot be written.
        """
        from .scheme_file import scheme_to_text
        Path(path).write_text(scheme_to_text(self), encoding='utf-8')
