"""`coding_scheme`: the one way to ask for a scheme."""
import operator
from math import comb

from .cyclic import packaged_words
from .ladder import optimal_words
from .scheme import CodingScheme
from .search import search_words

# The schemes of the paper's experiments (Section 4.1), as text in the data folder.
PAPER_SCHEMES = ((10, 10, 5), (10, 10, 3), (100, 20, 8), (100, 20, 4), (1000, 32, 16), (1000, 32, 8))
SOURCES = ('optimal', 'paper', 'search')


def coding_scheme(
        num_classes: int,
        num_subnns: int,
        num_active: int,
        source: str = 'optimal',
        *,
        min_distance: int | None = None,
        seed: int | None = None,
        progress: bool | None = None,
) -> CodingScheme:
    """A coding scheme for a stage: which `num_active` of `num_subnns` subNNs each class works through.

    Args:
        num_classes: K.
        num_subnns: N.
        num_active: N_act, 1 to N.
        source: 'optimal' for the best of many constructions (ladder.py), provably optimal at the sizes of the paper; at
            others a search may have more distance, and `describe()` says so. 'paper' for the schemes of the paper's
            experiments (Table 4 for CIFAR-10; found by Algorithm 1 with the paper's arguments for CIFAR-100 and
            ImageNet), 'search' for Algorithm 1 of the paper.
        min_distance: For 'search' only: H_min, even. By default the largest for which the search finds K words.
        seed: For 'search' only, 0 by default: the same seed gives the same scheme.
        progress: For 'search' only: whether to show a progress bar on stderr, by default when that is a terminal.

    Returns:
        The scheme; `describe()` tells its distance, and what the bounds allow.

    Raises:
        ValueError: The sizes are impossible, or this source has no scheme for them, or arguments do not go together.
    """
    num_classes, num_subnns, num_active = map(operator.index, (num_classes, num_subnns, num_active))
    if source not in SOURCES:
        raise ValueError(f'unknown source {source!r}, expected one of {", ".join(map(repr, SOURCES))}')
    check_sizes(num_classes, num_subnns, num_active)
    if source != 'search' and (min_distance is not None or seed is not None):
        raise ValueError(f"min_distance and seed are for source='search', source={source!r} has no choice to make")
    command = (
        f'timm-coded codes --num-classes {num_classes} --num-subnns {num_subnns} --num-active {num_active}'
        f' --source {source}')
    if source == 'optimal':
        words, construction = optimal_words(num_classes, num_subnns, num_active)
        return CodingScheme(words, source, construction, command)
    if source == 'search':
        seed = seed or 0
        words, construction = search_words(num_classes, num_subnns, num_active, min_distance, seed, progress)
        given = '' if min_distance is None else f' --min-distance {min_distance}'
        return CodingScheme(words, source, construction, f'{command}{given} --seed {seed}')
    if (num_classes, num_subnns, num_active) not in PAPER_SCHEMES:
        known = ', '.join(map(str, PAPER_SCHEMES))
        raise ValueError(
            f'the paper has no scheme for {num_classes} classes with {num_active} of {num_subnns} subNNs active;'
            f" (classes, subNNs, active) can be {known}; use source='optimal' or 'search' for others")
    words = packaged_words(f'paper_{num_classes}_{num_subnns}_{num_active}.txt')
    construction = (
        'Table 4 of the paper' if num_classes == 10 else "Algorithm 1 of the paper with the paper's arguments")
    return CodingScheme(words, source, construction, command)


def check_sizes(num_classes: int, num_subnns: int, num_active: int) -> None:
    """Raises ValueError unless `num_classes` distinct words with `num_active` ones out of `num_subnns` exist."""
    if num_classes < 1 or num_subnns < 1:
        raise ValueError(f'need at least one class and one subNN, got {num_classes} classes, {num_subnns} subNNs')
    if not 1 <= num_active <= num_subnns:
        raise ValueError(f'the number of active subNNs must be from 1 to {num_subnns} (all subNNs), got {num_active}')
    available = comb(num_subnns, num_active)
    if num_classes > available:
        raise ValueError(
            f'{num_classes} classes need as many different codewords, but only C({num_subnns}, {num_active}) ='
            f' {available} have {num_active} of {num_subnns} subNNs active')
