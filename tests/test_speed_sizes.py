"""Multiply-accumulates are those of the layers' formulas, the energies' and the padding's included."""
import pytest

from timm_coded.speed.contestant import Case
from timm_coded.speed.sizes import size_table
from timm_coded.train.errors import UserError


def test_stock_and_coded_resnext50_have_table_5s_numbers():
    stock, coded = size_table(['resnext50_32x4d', 'coded_resnext50_32x4d'], [Case('training', 192, 160)], 1000).rows
    assert stock['parameters'] == coded['parameters'] == 25_028_904
    # Table 5 has 2.196 GFlops of fvcore, which counts BatchNorm and pooling too
    assert stock['GMACs an image'] == pytest.approx(2.196, rel=0.02)
    assert stock['GMACs an image'] == stock['padded GMACs an image']
    # energies: Z Z^T takes d^2 a subNN and pixel, W^T W d^2 a subNN and output channel for all of the batch
    extra = 6 * (32 * 16 ** 2 * (100 + 1024 / 192)) + 3 * (32 * 32 ** 2 * (25 + 2048 / 192))
    assert (coded['GMACs an image'] - stock['GMACs an image']) * 1e9 == pytest.approx(extra, rel=1e-6)
    assert coded['GMACs / first [%]'] == pytest.approx(100 + 1e-7 * extra / stock['GMACs an image'])


def test_padding_is_counted_beside_what_the_layers_need():
    plain, packed = size_table(['resnext50_32x4d', 'resnext50_32x4d:packed'], [Case('inference', 1, 224)], 1000).rows
    assert plain['GMACs an image'] == packed['GMACs an image']
    # each 3x3 convolution: width^2 9 / groups becomes width 9 128, and in stage 2, of one group, width 9 256
    extra = sum(9 * width * (group - width // 32) * pixels ** 2 * blocks for width, group, pixels, blocks in
                ((128, 128, 56, 3), (256, 256, 28, 4), (512, 128, 14, 6), (1024, 128, 7, 3)))
    assert (packed['padded GMACs an image'] - plain['padded GMACs an image']) * 1e9 == pytest.approx(extra)


def test_each_shape_has_its_rows_once():
    cases = [Case('training', 4, 16), Case('inference', 4, 16), Case('training', 8, 16)]
    rows = size_table(['resnext11_10x11d'], cases, 10).rows
    assert [(row['pixels'], row['batch']) for row in rows] == [(16, 4), (16, 8)]


def test_images_that_a_model_does_not_take_are_an_error():
    with pytest.raises(UserError, match='vit_tiny_patch16_224 does not take images of 160 pixels: Assert'):
        size_table(['resnext11_10x11d', 'vit_tiny_patch16_224'], [Case('training', 4, 160)], 10)
