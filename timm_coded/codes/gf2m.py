"""Arithmetic of the finite fields GF(2^m), vectorised, for the algebraic coding schemes.

An element is an integer below 2^m whose bits are the coefficients of a polynomial; addition is XOR. SubNN number x of a
scheme with 2^m subNNs is the field element x.
"""
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

# One primitive polynomial for each degree, e.g. 0b100101 is x^5 + x^2 + 1 (MacWilliams & Sloane, Chapter 4).
PRIMITIVE_POLYNOMIALS = {
    1: 0b11, 2: 0b111, 3: 0b1011, 4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10000011, 8: 0b100011101,
}


class BinaryField:
    """GF(2^m) by logarithm tables.

    Args:
        degree: The m in GF(2^m), 1 to 8.
    """

    def __init__(self, degree: int):
        self.degree = degree
        self.order = 2 ** degree
        powers = [1]
        while len(powers) < self.order - 1:
            value = powers[-1] << 1
            powers.append(value ^ PRIMITIVE_POLYNOMIALS[degree] if value & self.order else value)
        self._exp = np.array(powers)
        self._log = np.zeros(self.order, dtype=np.int64)
        self._log[self._exp] = np.arange(self.order - 1)

    def multiply(self, a: ArrayLike, b: ArrayLike) -> np.ndarray:
        """Elementwise product of two integer arrays (or integers) of field elements."""
        a, b = np.asarray(a), np.asarray(b)
        product = self._exp[(self._log[a] + self._log[b]) % (self.order - 1)]
        return np.where((a == 0) | (b == 0), 0, product)

    def power(self, a: ArrayLike, exponent: int) -> np.ndarray:
        """Elementwise a^exponent for a positive exponent."""
        a = np.asarray(a)
        return np.where(a == 0, 0, self._exp[self._log[a] * exponent % (self.order - 1)])

    def trace(self, a: ArrayLike) -> np.ndarray:
        """Elementwise absolute trace a + a^2 + a^4 + ... + a^(2^(m-1)), which is 0 or 1."""
        total = np.zeros_like(np.asarray(a))
        for i in range(self.degree):
            total = total ^ self.power(a, 2 ** i)
        return total


@cache
def binary_field(degree: int) -> BinaryField:
    """The field GF(2^degree), built once."""
    return BinaryField(degree)
