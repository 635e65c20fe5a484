"""Banned words: none is written, whatever the tokenizer, the order and the settings; what is given may hold any."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from engine.backends.folder import Folder
from engine.backends.hub_tokenizer import HubTokenizer
from engine.backends.toy import Toy
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap, words
from engine.filling import fill
from engine.frames import Cell, Frame, Result
from engine.settings import LONGEST_BAN, MOST_BANS, Settings, SettingsError
from engine.text import SPACELESS, bare_words
from engine.tokenizer import Tokenizer
from tests import wild
from tests.bigrams import Bigrams
from tests.encoders import gpt2_files, word_pieces
from tests.growing import Growing
from tests.pieces import SIGNS, WORDS, Pieces
from tests.wild import Wild

ROOT = Path(__file__).parent.parent


@cache
def model_of(tokenizer: str) -> Denoiser:
    """A model of each kind of vocabulary."""
    if tokenizer == "bytes":
        return Toy()
    if tokenizer == "embedded":
        own = Tokenizer.load(ROOT / "assets/model/tokenizer.model")
        return Bigrams(own.encode, own.decode, own.vocab_size, own.without_text)
    folder = Path(mkdtemp())
    (folder / "config.json").write_text("{}")
    if tokenizer == "word pieces":
        word_pieces(folder)
    else:
        gpt2_files(folder, first=[], last=[])
    found = HubTokenizer.of(Folder(folder))
    assert found is not None
    return Bigrams(found.encode, found.decode, found.vocab_size, found.without_text)


def written(draft: Draft, frames: Sequence[Frame]) -> tuple[str, list[int]]:
    """The whole text at the end, and for each character the gap that the model wrote it in, -1 where it was given."""
    result = Result()
    for frame in frames:
        result.take(frame)
    cells: dict[int, list[Cell]] = {}
    for cell in sorted(result.cells.values(), key=lambda c: (c.gap, c.index)):
        cells.setdefault(cell.gap, []).append(cell)
    text, owners = "", []
    gaps = itertools.count()
    for part in draft.parts:
        pieces = [(part, -1)] if isinstance(part, str) else []
        if not isinstance(part, str):
            number = next(gaps)
            pieces = [(c.text, -1 if c.state == "pinned" else number) for c in cells[number]]
        for piece, owner in pieces:
            text += piece
            owners += [owner] * len(piece)
    assert text == result.text
    return text, owners


def violations(text: str, owners: Sequence[int], ban: str, gap: int | None = None) -> list[str]:
    """Where a ban stands in a text, at least in part written by the model (in one gap); told apart from the engine's own way."""
    mine = [owner >= 0 if gap is None else owner == gap for owner in owners]
    wanted = bare_words(ban)
    if not wanted or SPACELESS.search(ban):
        chars = [(c.lower(), at) for at, c in enumerate(text) if not c.isspace()]
        plain, sign = "".join(c for c, _ in chars), "".join(ban.split()).lower()
        starts = [m.start() for m in re.finditer(f"(?={re.escape(sign)})", plain)]
        return [sign for at in starts if any(mine[chars[at][1] : chars[at + len(sign) - 1][1] + 1])]
    runs = [(bare_words(run[0])[0], run) for run in re.finditer(r"[^\s—–…/]+", text) if bare_words(run[0])]
    found = []
    for at in range(len(runs) - len(wanted) + 1):
        if [word for word, _ in runs[at : at + len(wanted)]] == wanted:
            (_, first), (_, last) = runs[at], runs[at + len(wanted) - 1]
            start = first.start() + re.search(r"[^\W_]", first[0]).start()  # type: ignore[union-attr]
            end = last.start() + max(m.end() for m in re.finditer(r"[^\W_]", last[0]))
            if any(mine[start:end]):
                found.append(text[start:end])
    return found


def tempting(text: str, owners: Sequence[int], random: Random) -> list[str]:
    """A few bans that a fill would hold: words, two words in a row, signs."""
    mine = "".join(c if owner >= 0 else " " for c, owner in zip(text, owners, strict=True))
    said = bare_words(text)
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(said)]
    signs = sorted({c for c in mine if not c.isalnum() and not c.isspace()} - {"\ufffd"})
    found = [*random.sample(bare_words(mine), min(3, len(bare_words(mine)))), *random.sample(pairs, min(2, len(pairs)))]
    return [ban for ban in [*found, *random.sample(signs, min(1, len(signs)))] if len(ban) <= LONGEST_BAN]


def given_of(text: str, owners: Sequence[int]) -> str:
    return "".join(char for char, owner in zip(text, owners, strict=True) if owner < 0)


def check_bans(draft: Draft, settings: Settings, model: Denoiser, random: Random) -> None:
    text, owners = written(draft, list(fill(model, draft, settings)))
    given = given_of(text, owners)
    for _ in range(2):  # what is written instead may be banned, too
        settings = replace(settings, bans=(*settings.bans, *tempting(text, owners, random)))
        frames = list(fill(model, draft, settings))
        text, owners = written(draft, frames)
        assert not [found for ban in settings.bans for found in violations(text, owners, ban)], (text, settings.bans)
        assert given_of(text, owners) == given
        marks = [mark for mark in draft.marks if isinstance(mark, Gap)]
        if settings.remasking == 0 and not isinstance(model, Wild):
            for number, mark in ((n, m) for n, m in enumerate(draft.marks) if m in marks):
                check_length(mark, "".join(c for c, owner in zip(text, owners, strict=True) if owner == number))
    assert list(fill(model, draft, settings)) == frames


def check_length(mark: Gap, fill: str) -> None:
    if mark.length and mark.length.unit == "words":
        assert mark.length.low <= len(words(fill)) <= mark.length.high


@pytest.mark.parametrize(("tokenizer", "examples"), [("bytes", 40), ("word pieces", 25), ("byte pairs", 25), ("embedded", 10)])
def test_none_is_written_in_random_drafts(tokenizer: str, examples: int, long: bool) -> None:
    model = model_of(tokenizer)

    @hypothesis_settings(max_examples=2_000 if long else examples)
    @given(wild.drafts(), wild.settings, st.randoms(use_true_random=False))
    def check(draft: Draft, settings: Settings, random: Random) -> None:
        check_bans(draft, settings, model, random)

    check()


@pytest.mark.parametrize("model", [Wild(24), Growing(24, expand=0.0), Growing(512, delete=1.0), Growing(512, expand=2.0, tame=False)])
def test_none_is_written_with_halves_of_characters_in_windows_or_in_gaps_that_grow(model: Toy, long: bool) -> None:
    @hypothesis_settings(max_examples=500 if long else 12)
    @given(wild.drafts(), wild.settings, st.randoms(use_true_random=False))
    def check(draft: Draft, settings: Settings, random: Random) -> None:
        check_bans(draft, settings, model, random)

    check()


class Wishful(Pieces):
    """Wishes for its pieces from the gap's first cell on, whatever is written already."""

    first: int | None = None

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        asked = positions[0].nonzero()[:, 0].tolist()
        self.first = asked[0] if self.first is None else self.first
        found = torch.zeros(len(asked), self.vocab_size)
        for row, wish in ((row, place - self.first) for row, place in enumerate(asked)):
            if wish < len(self.wish):
                found[row, self.wish[wish]] = 8.0
        return found


def says(wish: str, draft: str, *bans: str, **settings: Any) -> str:
    """What a model that wishes for these pieces writes."""
    *_, last = fill(Wishful(wish.split("|")), draft, Settings(temperature=0, bans=bans, **settings))
    return last.text


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("sampler", ["confidence", "left_to_right", "random"])
@pytest.mark.parametrize(
    ("wish", "draft", "ban"),
    [
        (" the| lamp", "it [[2 tokens]] was.", "lamp"),
        (" the| lamp", "it [[2 tokens]] was.", "The  Lamp"),
        (" lamp|s", "it [[2 tokens]] was.", "LAMPS"),
        (" it|'|s", "so [[3 tokens]] when.", "it’s"),
        (" well|-|known", "so [[3 tokens]] when.", "well-known"),
        ("-|known", "a well[[2 tokens]] house", "well-known"),
        (" old|—", "a [[2 tokens]]house", "old house"),
        (" a| quiet", "so [[2 tokens]] house.", "quiet house"),
        (" the|,| old", "so [[3 tokens]] when.", "the old"),
        (" the|?", "so [[2 tokens]]", "?"),
        (" so|—", "so [[2 tokens]]when", "—"),
    ],
)
def test_a_word_is_not_put_together_either(wish: str, draft: str, ban: str, steps: int, sampler: str) -> None:
    before, after = draft.split("[[")[0], draft.split("]]")[1]
    steps = 4 if "known" in wish else steps  # an end of a word is written when its beginning is there, not in the same step
    for bans in ((), (ban,)):
        text = says(wish, draft, *bans, steps=steps, sampler=sampler)
        assert text.startswith(before) and text.endswith(after)
        owners = [-1] * len(before) + [0] * (len(text) - len(before) - len(after)) + [-1] * len(after)
        assert bool(violations(text, owners, ban)) is (not bans), text


def test_longer_words_and_given_ones_are_no_business_of_a_ban() -> None:
    assert says(" lamp|s", "it lamp [[2 tokens]] lamp.", "lamp", "the", sampler="left_to_right").startswith("it lamp ")
    assert says(" the| lamp|s", "so the lamp [[3 tokens]] was.", "lamp") == "so the lamp the lamps was."
    assert "it's" in says(" it|'|s", "so [[3 tokens]] when.") and "it's" not in says(" it|'|s", "so [[3 tokens]] when.", "it"), (
        "'s is no other word"
    )
    assert says("s", "the lamp [[~ {{lamp}} was]]", "lamp", steps=1).startswith("the lamp lamp ")


def test_a_gap_s_own_bans_bind_that_gap() -> None:
    text = says(" old", "the [[1 tokens; old]] house, the [[1 tokens]] house", steps=1)
    assert " old house, " not in text
    draft = Draft.parse("The lamp [[4; the, a]] and [[4]] so.")
    for seed in range(4):
        text, owners = written(draft, list(fill(model_of("embedded"), draft, Settings(seed=seed))))
        assert not violations(text, owners, "the", 0) and not violations(text, owners, "a", 0)


class Reciting(Toy):
    """Wants to write certain bytes at certain places of its canvas."""

    suppressed: Sequence[int] = (256,)
    text = "灯台守は台守と言った。".encode()

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        return super().logits(ids, positions) + 50 * one_hot(torch.tensor([self.text[p] for _, p in positions.nonzero().tolist()]), 257)


def test_scripts_without_spaces_know_no_whole_words() -> None:
    for bans in ((), ("台守",)):
        *_, last = fill(Reciting(), "灯台守は[[6 tokens]]と言った。", Settings(temperature=0, bans=bans, steps=2))
        inside = last.text.removeprefix("灯台守は").removesuffix("と言った。")
        assert ("台守" in inside) is (not bans)


def test_what_is_offered_beside_a_word_holds_no_banned_one() -> None:
    frames = list(fill(model_of("embedded"), "It was [[8]] when the door opened.", Settings(bans=("the", "a"), seed=2)))
    offered = {text.strip() for frame in frames for cell in frame.cells for text, _ in cell.alternatives}
    assert offered and not offered & {"the", "a", "The", "A"}


def test_where_everything_else_is_banned_something_harmless_is_written_or_it_is_said() -> None:
    words_and_signs = (*WORDS, *(sign for sign in SIGNS if sign != "-"), "s", "ing", "3")
    text = says(" the| old", "it was [[2]] when.", *words_and_signs)
    assert text.startswith("it was ") and not set(bare_words(text)) & {"the", "old", "a", "lamp"}
    everything = tuple(chr(i) for i in range(33, 127))
    *_, last = fill(Toy(), "It was [[3]] when.", Settings(bans=everything))
    assert last.text.split() == ["It", "was", "when."]


def test_a_list_of_banned_words_is_checked_in_one_sentence() -> None:
    assert Settings(bans=[" very ", "two words"]).bans == ("very", "two words")  # type: ignore[arg-type]
    assert Settings.of({"bans": ["very"]}) == Settings(bans=("very",)) and Settings.of({"bans": []}).bans == ()
    for wrong, sentence in [
        ("very", "Bans must be a list of words, not 'very'."),
        (None, "Bans must be a list of words, not 'None'."),
        ({"very": 1}, "Bans must be a list of words"),
        (["very", 3], "Bans must be words, not '3'."),
        (["very", " \t"], "Bans must be words, not ' \\t'."),
        (["x"] * (MOST_BANS + 1), f"Bans can be {MOST_BANS} words at most, not {MOST_BANS + 1}."),
        (["y" * (LONGEST_BAN + 1)], f"A banned word can be {LONGEST_BAN} characters long at most"),
    ]:
        with pytest.raises(SettingsError) as raised:
            Settings.of({"bans": wrong})
        assert str(raised.value).startswith(sentence) and str(raised.value).endswith(".")
