"""Arrays lie in a TPU's memory as torch_xla would lay them."""
import pytest

from timm_coded.tpu.layout import minor_to_major


@pytest.mark.parametrize('shape, order', [
    ((), []),
    ((5,), [0]),
    ((128, 128), [1, 0]),  # whole tiles: no padding
    ((64, 160), [1, 0]),  # 256 / 160 is too much, but the largest is the last already
    ((1000, 16), [0, 1]),  # rows of 16 would fill an eighth of their tiles
    ((64, 3, 7, 7), [0, 3, 2, 1]),  # the stem's weights; of equal dimensions the last comes first
    ((192, 3, 160, 160), [0, 3, 2, 1]),  # images: 256 / 160 is too much
    ((8, 3, 128, 256), [3, 2, 1, 0]),
    ((300, 3, 128), [0, 2, 1]),  # 3 rows fill 8
    ((300, 8, 104), [2, 1, 0]),  # 128 / 104 is not too much yet
    ((300, 8, 100), [0, 2, 1]),
    ((0, 3), [1, 0]),
])
def test_order_of_dimensions(shape, order):
    assert minor_to_major(shape) == order
