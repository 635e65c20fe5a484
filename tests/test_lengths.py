"""How many cells a gap gets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.backends.toy import Toy
from engine.filling import fill
from engine.lengths import FREE, fit_length_bias, length_bias
from engine.settings import Settings


class Peaked(Toy):
    """A toy that is surest of itself where a gap has the length it likes, and always surer of a short one."""

    def __init__(self, liked: int, lift: float = 6.0) -> None:
        super().__init__()
        self.liked, self.lift = liked, lift
        self.length_bias: dict[str, float] | None = None

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        super().logits(ids, positions, t=t, attend=attend)
        sure = []
        for count in positions.sum(-1).tolist():
            sure += [3 / count**0.5 + (self.lift if count == self.liked else 0.0)] * count
        scores = torch.zeros(len(sure), self.vocab_size)
        scores[:, ord("e")] = torch.tensor(sure)
        return scores


def size(model: Toy, draft: str) -> int:
    return len(next(iter(fill(model, draft, Settings(steps=2)))).cells)


@pytest.mark.parametrize("liked", [2, 5, 12])
def test_the_length_that_the_model_likes_best_after_its_bias(liked):
    model = Peaked(liked)
    model.length_bias = fit_length_bias(Peaked(0), [" ".join(["The lamp in the hall had burned low."] * 40)])
    assert size(model, "It was [[]] when the door opened.") == liked
    assert model.calls == 1, "an estimate is one call"


def test_a_model_that_sees_no_difference_gets_the_usual_length():
    model = Peaked(0)
    model.length_bias = fit_length_bias(model, [" ".join(["The lamp in the hall had burned low."] * 40)])
    assert size(model, "It was [[]] when the door opened.") == 5, "the candidate nearest to six tokens"


def test_the_bias_falls_with_the_length_and_is_interpolated():
    model = Peaked(0)
    model.length_bias = fit_length_bias(model, [" ".join(["The lamp in the hall had burned low."] * 40)])
    bias = length_bias(model)
    values = [bias(n) for n in (1, 2, 3, 4, 6, 9, 14, 26, 60)]
    assert values == sorted(values, reverse=True) and values[0] > 2 * values[-1]


def test_lengths_that_were_asked_for_cost_no_call():
    for draft, cells in (("It [[7 tokens]] so", 7), ("It [[1 tokens]] so", 1), ("[[]]", FREE), ("[[~ the old house]]", 13)):
        model = Toy()
        assert (size(model, draft), model.calls) == (cells, 0)


def test_a_range_is_kept_and_may_be_estimated():
    model = Peaked(12)
    assert 8 <= size(model, "It was [[8-16 tokens]] when.") <= 16
    assert model.calls == 1
    assert size(Peaked(1), "It was [[5-5 tokens]] when.") == 5
