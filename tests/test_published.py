"""Published methods by name: settings that are valid, the table in the docs, and what each does in a fill."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from engine.backends.toy import Toy
from engine.draft import Draft
from engine.filling import check, fill
from engine.forward import subs_log_probs
from engine.frames import MASKED_TEXT
from engine.reverse import denoise
from engine.samplers import SAMPLERS
from engine.settings import HELP, ONLY_FOR, PUBLISHED, Settings, SettingsError

DOCS = Path(__file__).parent.parent / "docs/SAMPLERS.md"
DRAFT = Draft.parse("It was [[8 tokens]] when the [[12 tokens]] opened.")


def table() -> str:
    return "\n".join(f"| {name} | {', '.join(f'`{key}={value}`' for key, value in values.items())} |" for name, values in PUBLISHED.items())


def test_the_docs_tell_the_settings_of_every_published_method() -> None:
    assert f"| published method | settings |\n| --- | --- |\n{table()}\n\n" in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_method_fills(name: str) -> None:
    settings = Settings.of({"temperature": 0.5, **PUBLISHED[name]})
    check(DRAFT, settings)
    model = Toy()
    *_, last = fill(model, DRAFT, settings)
    assert MASKED_TEXT not in last.text and last.step == last.steps
    assert model.calls <= settings.steps


def test_what_the_page_reads_is_whole() -> None:
    names = [field.name for field in fields(Settings)]
    assert list(HELP) == names
    for name, samplers in ONLY_FOR.items():
        assert name in names and set(samplers) <= set(SAMPLERS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rounding": "sideways"}, "Rounding must be one of every_step, nearest, up, down."),
        ({"scores": "best"}, "Scores must be one of model, tempered."),
        ({"guidance": -1.0}, "Guidance must be between 0 (off) and 100."),
        ({"guidance": float("nan")}, "Guidance must be between 0 (off) and 100."),
        ({"block_length": -1}, "Block_length must be between 0 (no blocks) and 65536."),
        ({"factor": 0.0}, "Factor must be above 0 and at most 100."),
        ({"block_length": 2.5}, "block_length must be a whole number, not 2.5."),
    ],
)
def test_wrong_settings_are_one_sentence(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.of(wrong)
    assert str(caught.value) == said


def test_guidance_goes_beyond_what_the_given_text_alone_would_do() -> None:
    """One call a step, of twice the rows; without given text there is nothing to be guided by."""
    model = Toy()
    x = torch.tensor([list(b"It was ") + [256] * 3 + list(b"hen the door opened.")])
    masked = x == 256
    (move,) = denoise(model, x, writable=masked, settings=Settings(steps=1, guidance=1.5))
    assert (model.calls, model.tokens) == (1, 2 * x.numel())
    conditioned, free = model.logits(x, masked), model.logits(torch.full_like(x, 256), masked)
    expected = subs_log_probs(free + 2.5 * (conditioned - free), model.suppressed)
    torch.testing.assert_close(move.log_probs, expected)
    alone, unguided = Toy(), Toy()
    assert [frame.text for frame in fill(alone, "[[9 tokens]]", Settings(guidance=3.0))] == [
        frame.text for frame in fill(unguided, "[[9 tokens]]", Settings(guidance=0.0))
    ]
    assert alone.tokens == unguided.tokens


@pytest.mark.parametrize("sampler", ["confidence", "random", "ancestral", "threshold"])
def test_blocks_are_filled_from_the_left(sampler: str) -> None:
    settings = Settings(sampler=sampler, steps=12, block_length=6, seed=3)
    cells: dict[int, bool] = {}
    for frame in fill(Toy(), DRAFT, settings):
        for cell in frame.cells:
            cells[cell.id] = cell.state == "revealed"
        written = [number // 6 for number, cell in enumerate(sorted(cells)) if cells[cell]]
        open_ones = [number // 6 for number, cell in enumerate(sorted(cells)) if not cells[cell]]
        assert not written or not open_ones or max(written) <= min(open_ones)
