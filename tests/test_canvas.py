"""What the page reads (given text untouched, spaces and quotes at gap edges) and what the model reads (windows)."""

from __future__ import annotations

import pytest
import torch

from engine.backends.toy import Toy
from engine.canvas import Canvas
from engine.draft import Draft
from engine.filling import fill
from engine.layout import Fixed
from engine.settings import Settings
from tests.pieces import PIECES, Pieces
from tests.wild import Wild


def filled(draft: str, *wish: str) -> str:
    """The draft with its first gap's cells holding these pieces."""
    model = Pieces()
    canvas = Canvas(model, Draft.parse(draft))
    tokens = [PIECES.index(piece) for piece in wish]
    return canvas.text([canvas.texts(0, tokens)], [[False] * len(tokens)])


@pytest.mark.parametrize(
    ("draft", "wish", "text"),
    [
        ("it was [[]] when", [" the", " old"], "it was the old when"),
        ("it was[[]]when", [" the", " old"], "it was the old when"),
        ("it was[[]]when", ["the", " old"], "it was the old when"),
        ("it was[[]] when", [",", " so"], "it was, so when"),
        ("it was[[]] when", [" ,", " so"], "it was, so when"),
        ("it was[[]] when", [" (", "so", ")"], "it was (so) when"),
        ("it was [[]].", [" the", " old", " "], "it was the old."),
        ("it was [[]]", [" the", " "], "it was the"),
        ("[[]] was", [" the", " old"], "the old was"),
        ("so.\n[[]]\nwas", [" the", "\n", " old", "\n"], "so.\nthe\nold\nwas"),
        ("so.\n[[]]\nwas", ["\n", "the", "  ", " old"], "so.\nthe old\nwas"),
        ("so [[]] was", [" the", "\n", "\n\n", "old"], "so the\n\nold was"),
        ('he said "[[]]" and', [" the", " lamp"], 'he said "the lamp" and'),
        ("he said “[[]]” and", [" it", "'", "s", " so", '"'], "he said “it’s so”” and"),
        ("“I was going [[]] she said.", [" quiet", "—", '"'], "“I was going quiet—” she said."),
        ("“No.” He was[[]] she.", ["—", '"', "so", '"'], "“No.” He was—“so” she."),
        ("he said “so”. [[]].", [' "', "it", " is", ",", '"', " he"], "he said “so”. “it is,” he."),
        ("don’t: [[]].", [" '", "it", " is", "'"], "don’t: ‘it is’."),
        ("don't: [[]].", [" '", "it", " is", "'"], "don't: 'it is'."),
        ("well-[[]] lamp", [" known"], "well-known lamp"),
        ("a—[[]]—a", [" the", " old", "—"], "a—the old——a"),
        ("([[]])", [" the", " old"], "(the old)"),
        ("so.[[]]was", ["the", "."], "so.the. was"),
        ("so [[]]was", [' "', "the", '"'], 'so "the" was'),
        ("so “so” [[]]was", [' "', "the", '"'], "so “so” “the” was"),
        ("a\r\nb [[]] c\r\n", [" the", "\n", "old"], "a\r\nb the\r\nold c\r\n"),
        ("é[[]]́", ["the"], "é the ́"),
        ("猫[[]]犬", ["the"], "猫the犬"),
        ("a  [[]]  b", [" the"], "a  the  b"),
        ("a\t[[]]\tb", [" the"], "a\tthe\tb"),
        ("a [[]], b", [" the", " "], "a the, b"),
    ],
)
def test_spacing_at_the_edges_of_a_gap(draft, wish, text):
    assert filled(draft, *wish) == text


def test_cells_show_sensible_text_while_their_neighbours_are_masked():
    model = Pieces()
    canvas = Canvas(model, Draft.parse("it was [[]]when"))
    mask, the, old = model.mask_id, PIECES.index(" the"), PIECES.index(" old")
    assert canvas.texts(0, [mask, old, mask]) == ["", " old", ""]
    assert canvas.texts(0, [the, mask, mask]) == ["the", "", ""]
    assert canvas.texts(0, [mask, mask, old]) == ["", "", " old "]
    assert canvas.texts(0, [the, old, PIECES.index(" ")]) == ["the", " old ", ""]


def test_a_character_over_several_tokens_is_shown_by_the_one_that_completes_it():
    model = Wild(64)
    canvas = Canvas(model, Draft.parse("été [[]] x"))
    smile, mask = list("🙂".encode()), model.mask_id
    assert canvas.texts(0, [97, *smile, 98]) == ["a", "", "", "", "🙂", "b"]
    assert canvas.texts(0, [97, *smile[:3], 98]) == ["a", "", "", "", "b"]
    assert canvas.texts(0, [*smile[:2], mask, smile[3]]) == ["", "", "", ""]
    assert canvas.texts(0, [0xFF, 97, 7, 0xC2, 0x85]) == ["", "a", "", "", ""]


def seen(draft: str, sizes: list[int], max_length: int = 64) -> list[str]:
    """What the model reads in each window, ░ for a mask."""
    model = Pieces(max_length=max_length)
    canvas = Canvas(model, Draft.parse(draft))
    tokens = [[model.mask_id] * size for size in sizes]
    found = []
    for group in canvas.windows(sizes):
        window = canvas.window(group, tokens)
        found.append("".join("░" if i == model.mask_id else PIECES[i] for i in window.ids))
        for at, (span, cell) in window.cells.items():
            assert window.ids[at] == model.mask_id
            tokens[span][cell] = PIECES.index(" a")
    assert all(token != model.mask_id for span in tokens for token in span)
    return found


def test_the_model_reads_what_its_tokens_continue():
    assert seen("he said it was [[]] so", [2]) == ["he said it was░░ so"]
    assert seen("he said it was[[]]so", [2]) == ["he said it was░░ so"]
    assert seen("he “so” it’s.\r\n[[]]\r\n\r\nso", [1]) == ['he "so" it\'s.\n░\n\nso']
    assert seen("he [[]] [[]] so", [1, 2]) == ["he░░░ so"]


def test_pins_are_given_text_to_the_model():
    model = Pieces()
    canvas = Canvas(model, Draft.parse("[[~ the old {{house}} was, so {{quiet}}]] and"))
    sizes = [canvas.rewritten_tokens(i) for i in range(len(canvas.spans))]
    assert sizes == [2, 3]
    window = canvas.window(canvas.windows(sizes)[0], [[model.mask_id] * n for n in sizes])
    assert "".join("░" if i == model.mask_id else PIECES[i] for i in window.ids) == "░░ house░░░ quiet and"


def test_windows_share_what_is_near_and_split_what_is_far():
    near = "the old house was [[]] and the lamp was [[]] so."
    assert len(seen(near, [3, 3])) == 1
    far = "the old house [[]]" + " was quiet and" * 40 + " [[]] so."
    first, second = seen(far, [3, 3])
    assert len(Pieces().encode(first)) <= 64 and first.startswith("the old house░░░ was quiet") and second.endswith("░░░ so.")
    assert "░" not in second[:-7]


def test_a_gap_longer_than_the_model_reads_is_filled_in_several_windows():
    found = seen("the old house [[]] so.", [200])
    assert len(found) == 7
    assert found[0].startswith("the old house░░░") and found[1].startswith(" a a a") and found[-1].endswith("░ so.")
    assert all(len(Pieces().encode(text)) <= 64 for text in found)


def test_later_windows_see_what_earlier_ones_filled():
    text = "the old house [[]]" + " was quiet and" * 14 + " [[]] so."
    _, second = seen(text, [1, 1])
    assert second.startswith(("the old house a was", " old house a was", " house a was", " a was"))


def test_a_novel_costs_what_its_gaps_cost_in_an_excerpt():
    """100,000 words with gaps at both ends: the same denoiser calls on the same number of tokens as in 2,000 words."""

    def cost(words: int) -> tuple[int, int, int]:
        text = " ".join(f"word{i:05}" for i in range(words))
        model = Toy()
        frames = list(fill(model, f"It was [[]] and {text} when [[9]] was [[5 tokens]] there.", Settings(steps=4)))
        assert text in frames[-1].text
        return model.calls, model.tokens, len(frames)

    assert cost(100_000) == cost(2_000)


def test_the_text_between_gaps_is_counted_once_however_often_windows_are_laid_out():
    """Lengths and keywords lay them out anew for every gap that they look at."""
    model = Toy()
    canvas = Canvas(model, Draft.parse(" and ".join(["the lamp was [[]]"] * 300)))
    first = canvas.windows([5] * 300)
    read = []
    model.encode = read.append  # type: ignore[method-assign,assignment]
    assert canvas.windows([5] * 300) == first
    assert canvas.windows([1] * 300) and not read


@pytest.mark.parametrize(
    ("draft", "fixed"),
    [
        ("[[~ He read “{{Emma}}” twice]], and slept.", [" “", "Emma", "” "]),
        ("[[~ so ({{it}}, he said) went]].", [" (", "it"]),
        ("[[~ the “{{Iliad}},” and {{more}}]].", [" “", "Iliad", ",” ", " ", "more"]),
        ("[[~ was {{it}}, too]].", [" ", "it"]),
    ],
)
def test_signs_that_embrace_a_pin_stay_with_it(draft: str, fixed: list[str]) -> None:
    canvas = Canvas(Toy(), Draft.parse(draft))
    assert [item.text for item in canvas.items if isinstance(item, Fixed)] == fixed


def test_a_window_is_as_wide_as_was_asked_for_and_as_the_model_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Pieces(max_length=300)
    draft = Draft.parse("the old lamp " * 400 + "[[2 tokens]]" + " the old lamp" * 400)
    for window, length in ((64, 64), (200, 200), (5000, 300)):
        canvas = Canvas(model, draft, settings=Settings(window=window))
        assert canvas.room == length == len(canvas.window([(0, 0, 2)], [[model.mask_id] * 2]).ids)
    seen: list[int] = []

    def heard(self: Pieces, ids: torch.Tensor, positions: torch.Tensor, **_: object) -> torch.Tensor:
        seen.append(ids.shape[1])
        return torch.zeros(int(positions.sum()), self.vocab_size)

    monkeypatch.setattr(Pieces, "logits", heard)
    for window in (64, 300):
        *_, last = fill(model, draft, Settings(window=window, steps=2))
        assert last.text.startswith("the old lamp " * 400) and last.text.endswith(" the old lamp" * 400)
        assert max(seen) == window
        seen.clear()
