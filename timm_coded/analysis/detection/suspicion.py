"""How little a coded model's answer to a sample should be trusted, told by its paths: scores, the higher the less."""
import numpy as np
import torch

from ..outputs import Outputs

# Scores by the columns of `suspicion`: what they are, for the reader.
SCORES = {
    'code distance': 'how far the energies are from every codeword: min over k of ||r E - w_k||, mean over coded '
                     'blocks',
    'disagreement': 'share of the early decoders that do not name the class that the network names',
    'dispute': 'share of the pairs of early decoders that name different classes',
    'path distance': 'combines the first two: ||r E - w_k|| for the class k that the network names, mean over coded '
                     'blocks; the code distance where a decoder agrees with the network, more where it does not',
    'max-softmax': 'baseline: 1 - the highest softmax probability',
    'energy score': 'baseline: - log sum exp of the logits',
}


def suspicion(outputs: Outputs) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All scores, [S] by name in the order of `SCORES`, and the code distance in each coded block, [S] by block.

    The higher, the less the sample should be trusted. None has a parameter, and none is fitted to any data.
    """
    decoded = outputs.decoded()
    named = np.stack(list(decoded.values()), 1)
    predictions = outputs.predictions
    distances = {block: distance_to(outputs, block, decoded[block]) for block in outputs.blocks}
    scores = {
        'code distance': np.mean(list(distances.values()), 0),
        'disagreement': (named != predictions[:, None]).mean(1),
        'dispute': dispute(named),
        'path distance': np.mean([distance_to(outputs, block, predictions) for block in outputs.blocks], 0),
        'max-softmax': max_softmax(outputs.logits),
        'energy score': -torch.from_numpy(outputs.logits).double().logsumexp(1).numpy(),
    }
    return scores, distances


def distance_to(outputs: Outputs, block: str, classes: np.ndarray) -> np.ndarray:
    """||r E - w_k||_2 in a coded block, [S], where `classes` [S] has each sample's k: 0 where Eq. (5) has its way."""
    words = outputs.codewords[block]
    ratio = words[0].sum() / words.shape[1]
    difference = np.float32(ratio) * outputs.energies[block] - words[classes]
    return np.linalg.norm(difference, axis=1)


def dispute(decoded: np.ndarray) -> np.ndarray:
    """Share of the pairs among the decoders that name different classes, [S]; `decoded` is [S, decoders]."""
    decoders = decoded.shape[1]
    differ = np.zeros(len(decoded))
    for shift in range(1, decoders):
        differ += (decoded[:, shift:] != decoded[:, :-shift]).sum(1)
    return differ / max(1, decoders * (decoders - 1) / 2)


def max_softmax(logits: np.ndarray) -> np.ndarray:
    """log((1 - p) / p) of the highest softmax probability p, [S].

    It orders samples as 1 - p does, but does not round the surest of them to one and the same number.
    """
    values = torch.from_numpy(logits).double()
    highest, index = values.max(1, keepdim=True)
    others = values.scatter(1, index, -torch.inf)
    return (others.logsumexp(1) - highest[:, 0]).numpy()
