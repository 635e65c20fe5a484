"""Control variates: the NELBO's mean stays what it is, and the noise of levels and masks goes."""

from __future__ import annotations

import numpy as np

from engine.evaluation.variates import LEAST, steadied

Draw = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def drawn(rng: np.random.Generator, rows: int, hardness: np.ndarray) -> Draw:
    """Estimates as `nelbo.bound` makes them, of texts whose masked tokens cost 2 + 4 t nats times their hardness: 4 on average."""
    sizes = rng.integers(32, 512, rows).astype(float)
    times = (rng.permutation(rows) + rng.random(rows)) / rows
    masked = rng.binomial(sizes.astype(int), times).astype(float)
    return masked * (2 + 4 * times) * hardness / times, sizes, times, masked


def test_the_mean_stays_and_the_noise_goes() -> None:
    rng = np.random.default_rng(0)
    plain, steady = [], []
    for _ in range(300):
        nats, sizes, times, masked = drawn(rng, 400, np.exp(0.05 * rng.standard_normal(400) - 0.00125))
        plain.append(nats.sum() / sizes.sum())
        steady.append(steadied(nats, sizes, times, masked).sum() / sizes.sum())
    error = np.std(steady) / len(steady) ** 0.5
    assert abs(np.mean(steady) - 4) < 4 * error
    assert np.std(steady) < 0.4 * np.std(plain)


def test_what_only_the_level_made_of_a_row_is_no_error_of_its_text() -> None:
    rng = np.random.default_rng(1)
    nats, sizes, times, masked = drawn(rng, 400, np.ones(400))
    each = steadied(nats, sizes, times, masked) / sizes
    assert np.std(each) < 0.1 < 1 < np.std(nats / sizes)
    assert abs(each.mean() - 4) < 0.02


def test_few_rows_stay_as_they_came() -> None:
    nats, sizes, times, masked = drawn(np.random.default_rng(2), LEAST - 1, np.ones(LEAST - 1))
    assert steadied(nats, sizes, times, masked) is nats
