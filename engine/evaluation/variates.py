"""Control variates for the NELBO: what a row's estimate owes to its own draw of t and of masks is known, and taken out again."""

from __future__ import annotations

import numpy as np

MANY = 100
"""Rows from which on the curve over t is a cubic; of fewer it is a line."""
LEAST = 16
"""Rows below which nothing is fitted."""


def steadied(nats: np.ndarray, sizes: np.ndarray, times: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """(rows,) estimates of the NELBO in nats, of rows of so many tokens with `masked` of them masked at `times` -> the same, steadier.

    A row at a high level costs more than one at a low level, and one that happened to get more masks than t times its size costs
    more than it should. Both are draws, not text, and the mean of either is known: powers of t less their integrals over [0, 1], and
    the surplus of masks, which is zero on average at every t. Their share by least squares, as tokens weigh, is subtracted
    (control variates, Owen 2013, section 8.9): the mean stays, but for a bias that falls as 1 / rows, and the error that documents
    and sources show is mostly that of their texts.
    """
    if len(nats) < LEAST:
        return nats
    surplus = masked / (times * sizes) - 1
    powers = range(1, 4 if len(nats) >= MANY else 2)
    known = np.stack([*(times**k - 1 / (k + 1) for k in powers), *(surplus * times**k for k in range(len(powers)))], axis=-1)
    weights = np.sqrt(sizes)[:, None]
    design = np.concatenate((np.ones((len(nats), 1)), known), axis=-1)
    found = np.linalg.lstsq(design * weights, nats / sizes * weights[:, 0], rcond=None)[0]
    return np.asarray(nats - sizes * (known @ found[1:]))
