"""Word counts by dynamic programming, against trying everything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.canvas import Canvas
from engine.constraints import SpanConstraint, SpanRule
from engine.draft import Draft, words
from engine.edges import Edges
from engine.rules import Rules
from engine.spacing import STOPS, is_saying
from engine.vocabulary import vocabulary
from engine.word_count import WordCount
from engine.wordings import word_moves
from tests.pieces import PIECES, Pieces

TEXTS = ["a", " a", "-", " ", "—", "s", " a b", ". C", "é/f", "…", '"', ' "a"', '," ']
MOVES = [word_moves(text) for text in TEXTS]

counts = st.tuples(st.integers(0, 4), st.none() | st.integers(0, 2)).map(lambda p: (p[0], None if p[1] is None else p[0] + p[1]))
cells = st.lists(st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=4, unique=True).map(tuple), min_size=1, max_size=4)


@given(counts, st.sampled_from([None, 0, 1]), cells)
def test_permitted_is_exactly_what_some_completion_uses(count, quotes, cells):
    low, high = count

    def wanted(text: str) -> bool:
        return low <= len(words(text)) and (high is None or len(words(text)) <= high) and quotes in (None, text.count('"') % 2)

    good = [choice for choice in itertools.product(*cells) if wanted("".join(TEXTS[c] for c in choice))]
    rule = WordCount(MOVES, low, high, quotes)
    assert rule.permitted(cells) == ([{choice[i] for choice in good} for i in range(len(cells))] if good else None)


def test_a_count_of_thousands_is_no_work():
    rule = WordCount(MOVES, 2000, 2000)
    assert rule.permitted([(0,), *[(1, 2)] * 1999]) == [frozenset({0}), *[frozenset({1})] * 1999]
    assert rule.permitted([(1,)] * 1999) is None
    assert rule.permitted([(0, 1, 2, 3)] * 3400) is not None


def constraint(size: int, low: int, high: int | None, before: str, after: str, takes_space: bool) -> SpanConstraint:
    known = vocabulary(Pieces())
    edges = Edges.of(known, before, after, size, takes_space=takes_space, newlines=False, partial=False, counted=True)
    rule = SpanRule(edges, WordCount(known.classes, low, high), [Pieces.mask_id] * size)
    return SpanConstraint(known, Pieces.mask_id, [rule], {i: (0, i) for i in range(size)})


@given(st.integers(1, 6), st.integers(1, 4), st.randoms(use_true_random=False), st.booleans())
def test_any_order_of_reveals_ends_with_the_count(size, wanted, random, takes_space):
    """Tokens drawn blindly from `allowed`, several at once and in any order, always come out at the number of words."""
    wanted = min(wanted, size)
    rules = constraint(size, wanted, wanted, "he ", " is", takes_space)
    x = torch.full((size,), Pieces.mask_id)
    while bool((x == Pieces.mask_id).any()):
        masked = (x == Pieces.mask_id).nonzero()[:, 0].tolist()
        positions = torch.tensor(random.sample(masked, random.randint(1, len(masked))))
        allowed = rules.allowed(x, positions)
        assert bool(allowed.any(-1).all())
        tokens = torch.tensor([random.choice(row.nonzero()[:, 0].tolist()) for row in allowed])
        log_probs = torch.full(allowed.shape, -5.0).masked_fill(~allowed, -torch.inf)
        settled = rules.settle(x, positions, tokens, log_probs)
        assert int(settled[0]) == int(tokens[0]), "the surest keeps its token"
        x[positions] = settled
    text = "".join(PIECES[i] for i in x.tolist())
    assert len(words(text)) == wanted, text


def test_side_by_side_no_word_twice_no_two_stops_no_two_quotes():
    known = vocabulary(Pieces())
    rules = constraint(4, 0, None, "he ", " is", takes_space=True)
    x = torch.tensor([PIECES.index(" the"), Pieces.mask_id, PIECES.index(","), Pieces.mask_id])
    second, fourth = ({PIECES[i] for i in row.nonzero()[:, 0].tolist()} for row in rules.allowed(x, torch.tensor([1, 3])))
    assert " old" in second and not second & {" the", ",", ".", "—"}
    assert " the" in fourth and not fourth & {",", ".", ";"}
    x = torch.full((4,), Pieces.mask_id)
    comma, the, old = PIECES.index(","), PIECES.index(" the"), PIECES.index(" old")
    log_probs = torch.full((4, known.size), -9.0)
    log_probs[:, old] = -1.0
    settled = rules.settle(x, torch.tensor([2, 1, 0, 3]), torch.tensor([comma, comma, the, the]), log_probs)
    assert settled.tolist() == [comma, old, the, the]


def allowed_texts(cell: int, size: int, before: str, after: str, *, takes_space: bool = True) -> set[str]:
    found = constraint(size, 0, None, before, after, takes_space).allowed(torch.full((size,), Pieces.mask_id), torch.tensor([cell]))
    return {PIECES[i] for i in found[0].nonzero()[:, 0].tolist()}


def test_edges_start_and_end_cleanly():
    after_space = allowed_texts(0, 3, "it was ", " when")
    assert {" the", " (", ' "', " —"} <= after_space
    assert not after_space & {"the", "ing", "  ", "\n", ",", " ,", ")", " )", "."}
    line_start = allowed_texts(0, 3, "it was.\n", " when", takes_space=False)
    assert {"the", '"', "("} <= line_start and not line_start & {" the", " ", ",", "\n"}
    glued = allowed_texts(0, 3, "was", " when", takes_space=False)
    assert {" the", ",", "."} <= glued and not glued & {"the", "ing"}
    quoted = allowed_texts(0, 3, 'he said "', " when", takes_space=False)
    assert "the" in quoted and not quoted & {" the", ","}
    assert not {'"', ' "'} & allowed_texts(1, 3, 'he said "', '"', takes_space=False)
    assert {'"', ' "'} & allowed_texts(1, 3, "he said ", " so") == {' "'}  # the other one waits for what it closes
    assert not allowed_texts(2, 3, "it was ", " when") & {" ", "  ", "(", " (", "\n", ' "'}
    assert "." in allowed_texts(2, 3, "it was ", " when") and "." not in allowed_texts(2, 3, "it was ", ", when")
    assert not allowed_texts(1, 3, "it was ", " when") & {"\n", "\n\n"}


def test_a_space_alone_stands_before_a_figure_and_nowhere_else():
    """Where figures bring no space of their own, as in the embedded model's vocabulary, "in 3" is three pieces."""
    space, three, the, said = (PIECES.index(piece) for piece in (" ", "3", " the", " said"))
    for low, high in ((0, None), (2, 3)):
        rules = constraint(4, low, high, "it was ", " when", takes_space=True)
        x = torch.tensor([said, Pieces.mask_id, three, Pieces.mask_id])
        between, behind = rules.allowed(x, torch.tensor([1, 3]))
        assert between[space] and not behind[space] and not between[the]  # " the3" is no word
        x = torch.tensor([said, Pieces.mask_id, the, Pieces.mask_id])
        assert not rules.allowed(x, torch.tensor([1]))[0, space]
        x = torch.tensor([said, Pieces.mask_id, Pieces.mask_id, Pieces.mask_id])
        counted = high is not None
        assert bool(rules.allowed(x, torch.tensor([1]))[0, space]) != counted  # there may be no word left for a figure
        if not counted:
            x[1] = space
            follows = {PIECES[i] for i in rules.allowed(x, torch.tensor([2]))[0].nonzero()[:, 0].tolist()}
            assert follows == {"3"}
    assert vocabulary(Pieces()).words([said, space, three, three, the], [0, 1, 2, 3, 4]) == [[0], [1, 2, 3], [4]]


def beside_given(draft: str, *held: str | None) -> list[set[str]]:
    """What each masked cell of the only gap may hold where the others hold these pieces."""
    model = Pieces()
    canvas = Canvas(model, Draft.parse(draft))
    tokens = [[model.mask_id if piece is None else PIECES.index(piece) for piece in held]]
    window = canvas.window([(0, 0, len(held))], tokens)
    masked = [p for p, (_, cell) in sorted(window.cells.items()) if held[cell] is None]
    found = Rules(model, canvas, window, tokens).allowed(torch.tensor(window.ids), torch.tensor(masked))
    return [{PIECES[i] for i in row.nonzero()[:, 0].tolist()} for row in found]


def test_spaces_that_the_writer_has_put_somewhere_bind_nothing():
    once, twice = (beside_given(f"it was.{space}[[2 tokens]] when.", None, " was")[0] for space in (" ", "  "))
    assert " was" not in once and " the" in once and {piece for piece in once if piece[:1] == " "} <= twice and " was" not in twice
    (last,) = beside_given("it was [[2 tokens]] 3 so.", " the", None)
    assert {" —", "s"} <= last and "3" in beside_given("it was [[2 tokens]] 3 so.", " ", None)[0]
    for before in ("- ", "it was - ", "it was 3 "):
        assert " " in beside_given(f"{before}[[2 tokens]] so.", None, "3")[0], before


def test_no_space_waits_where_a_quote_has_to_close_or_has_just_opened():
    fourth, fifth = beside_given("he said [[5 tokens]] so.", ' "', " the", " old", None, None)
    assert " " not in fourth and '"' in fifth | fourth
    (second,) = beside_given("he said [[4 tokens]] so.", ' "', None, "3", '"')
    assert " " not in second


def test_a_line_does_not_begin_with_the_end_of_a_word() -> None:
    known = vocabulary(Pieces())
    for before, takes_space in (("", False), ("Dear Sir,\n", False), ("he said: “", False)):
        edges = Edges.of(known, before, " of it.", 3, takes_space=takes_space, newlines=False, partial=False, counted=False)
        begins = {known.texts[i] for i in edges.first.nonzero()[:, 0].tolist()}
        assert {"the", "lamp"} <= begins and not {"ing", "s", " the"} & begins


@pytest.mark.parametrize(
    ("draft", "may"),
    [
        ("It was [[6 tokens]] so.", False),
        ("It was (as he said) [[6 tokens]] so.", False),
        ("It was (as [[6 tokens]] said) so.", True),
        ("It (was\n[[6 tokens]] so.", False),
        ("It was [[~ quiet (and old) and]] so.", True),
        ("It was [[40 tokens]] so.", True),
        ("```\nquiet [[6 tokens]]\n```\n", True),
    ],
)
def test_a_short_gap_in_prose_opens_no_bracket_that_it_could_not_close(draft: str, may: bool) -> None:
    class Bracketing(Pieces):
        """Wishes for nothing but brackets."""

        def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
            found = super().logits(ids, positions, t=t, attend=attend)
            found[:, [PIECES.index(sign) for sign in ("(", ")", " (", " )")]] += 20.0
            return found

    frames = engine.fill(Bracketing(), draft, engine.Settings(repetition=0.0))
    written = {char for frame in frames for cell in frame.cells for char in cell.text}
    assert bool(written & set("()")) == may


class Chance(Pieces):
    """Writes anything, stops most gladly; one of its words is a title."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = torch.Generator().manual_seed(seed)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(" Mrs" if i == PIECES.index(" lamp") else PIECES[i] for i in ids)

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        found = torch.randn(int(positions.sum()), self.vocab_size, generator=self._chance)
        found[:, [PIECES.index(piece) for piece in (" .", " ,", " lamp")]] += 4.0
        return found


@pytest.mark.parametrize("seed", range(8))
def test_a_saying_ends_in_a_stop_and_no_stop_stands_apart(seed: int) -> None:
    def fill(draft: str) -> str:
        *_, last = engine.fill(Chance(seed), draft, engine.Settings(temperature=1.0, top_p=1.0, seed=seed))
        before, _, after = draft.partition("[[6 tokens]]")
        return last.text[len(before) : len(last.text) - len(after)]

    said, quoted, title = (
        fill(draft) for draft in ("He said, “[[6 tokens]]” and left.", "The “[[6 tokens]]”, so.", "It was [[6 tokens]].")
    )
    assert said[-1] in STOPS and not title.endswith("Mrs")
    assert not any(sign in text for sign in (" .", " ,") for text in (said, quoted, title))


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        ("He said, “", "” and left.", True),
        ('"', '"\n', True),
        ("He left. “", "”", True),
        ("He left.\n\n“", "” he said", True),
        ("The so-called “", "” left.", False),
        ("the word, “", "”, is old", False),
        ("He said, ", " and left.", False),
        ("He said, “so”", "” and left.", False),
    ],
)
def test_what_is_a_whole_saying(before: str, after: str, whole: bool) -> None:
    assert is_saying(before, after) is whole
