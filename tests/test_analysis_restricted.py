"""Accuracies of an extracted network and of the full one are counted on the images of its classes, and only there."""
import pytest
import torch
from torch import nn

from timm_coded.analysis.extraction.restricted import restricted_accuracy


class Logits(nn.Module):
    """Logits [B, K] that lie in the first pixels of the images [B, 3, K, 1]."""

    def __init__(self, channel, num_classes):
        super().__init__()
        self.channel, self.num_classes = channel, num_classes

    def forward(self, x):
        return x[:, self.channel, :self.num_classes, 0]


def images(full, cut):
    """Images for which the full network gives the logits `full` [B, 4] and the extracted one `cut` [B, 2]."""
    x = torch.zeros(len(full), 3, 4, 1)
    x[:, 0, :, 0], x[:, 1, :2, 0] = torch.tensor(full), torch.tensor(cut)
    return x


def test_accuracies_are_those_counted_by_hand():
    classes = [3, 1]  # the logits of the extracted network are of class 3, then of class 1
    batches = [
        (images([[9., 1., 0., 5.], [0., 7., 0., 6.], [9., 0., 0., 0.]], [[2., 1.], [2., 1.], [9., 0.]]),
         torch.tensor([3, 3, 0])),  # the last is of another class
        (images([[0., 0., 9., 0.]], [[0., 1.]]), torch.tensor([2])),
        (images([[0., 8., 9., 1.], [0., 9., 0., 0.], [0., 9., 0., 0.]], [[1., 2.], [3., 1.], [1., 2.]]),
         torch.tensor([1, 1, -1])),  # the last is a filler
    ]
    table = restricted_accuracy(Logits(0, 4), Logits(1, 2), classes, batches)
    assert [(row['accuracy'], row['samples']) for row in table.rows] == [
        (75., 4),  # right, right, right, wrong
        (75., 4),  # 3 of (3, 1); 1 for 3; 1; 1
        (25., 4),  # 0 for 3; 1 for 3; 2 for 1; 1
    ]
    assert [row['what'] for row in table.rows] == [
        'extracted network', "full network, these classes' logits only", 'full network, all 4']


def test_one_class_and_no_images_are_an_error():
    batch = images([[1., 2., 3., 4.]], [[0., 1.]]), torch.tensor([2])
    with pytest.raises(ValueError, match='name two classes or more'):
        restricted_accuracy(Logits(0, 4), Logits(1, 2), [2], [batch])
    for batches in ([], [batch]):
        with pytest.raises(ValueError, match='no images of the 2 classes'):
            restricted_accuracy(Logits(0, 4), Logits(1, 2), [0, 1], batches)
