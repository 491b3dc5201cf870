"""Where a model's coding schemes come from: a named construction, or files."""
import os
from typing import Sequence, Union

from timm_coded.codes import SOURCES, CodingScheme, coding_scheme, load_scheme

SchemeSource = Union[str, os.PathLike[str], Sequence[Union[str, os.PathLike[str]]]]


def resolve_scheme(
        source: SchemeSource,
        num_classes: int,
        num_subnns: int,
        num_active: int,
        scheme_sizes: Sequence[int],
) -> CodingScheme:
    """The coding scheme of the blocks with `num_active` active subNNs.

    Args:
        source: 'optimal', 'paper' or 'search', or the path of one scheme file or a sequence of paths. A file serves the
            blocks whose N_act is the weight of its words; blocks for which no file is given take 'optimal'.
        num_classes: K.
        num_subnns: N.
        num_active: N_act of this scheme.
        scheme_sizes: N_act of all the model's schemes; every file must serve one of them.

    Raises:
        ValueError: a file is for other numbers of classes, subNNs or active subNNs than the model's, or a second one
            for the same blocks, or it is no file.
    """
    if isinstance(source, str) and source in SOURCES:
        return coding_scheme(num_classes, num_subnns, num_active, source=source)
    paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    found = {}
    for path in paths:
        if not os.path.isfile(path):
            raise ValueError(
                f'scheme_source {os.fspath(path)!r} is neither one of {", ".join(SOURCES)} nor a scheme file')
        scheme = load_scheme(path)
        sizes = scheme.num_classes, scheme.num_subnns
        if sizes != (num_classes, num_subnns) or scheme.num_active not in scheme_sizes:
            raise ValueError(
                f'{os.fspath(path)}: a scheme of {scheme.num_classes} classes with {scheme.num_active} of '
                f'{scheme.num_subnns} subNNs; the model has {num_classes} classes and blocks with '
                f'{", ".join(map(str, scheme_sizes))} of {num_subnns}')
        if scheme.num_active in found:
            raise ValueError(f'{os.fspath(path)}: a second scheme file for {num_active} of {num_subnns}')
        found[scheme.num_active] = scheme
    return found.get(num_active) or coding_scheme(num_classes, num_subnns, num_active)
