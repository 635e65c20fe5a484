"""The draft format: what its rules promise, over examples, over random drafts, and over hostile ones."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Draft, DraftError, Gap, Length, Pin, Rewrite, words
from engine.text import fold

HOSTILE = st.text(alphabet="[]_\\~{}:;,-15 \n\r\ta'é漢😀", max_size=40)
"""Random text that is mostly marks, halves of marks and escapes."""
ANY_TEXT = st.one_of(HOSTILE, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
PHRASE = st.tuples(ANY_TEXT, st.sampled_from(["a", "7", "é", "don't"])).map(
    lambda pair: "".join(pair).replace("\n", " ").replace("\r", " ")
)
LENGTH = st.builds(
    lambda low, more, unit: Length(low, min(low + more, 2000), unit),
    st.integers(1, 2000),
    st.integers(0, 50),
    st.sampled_from(["words", "tokens"]),
)
TOKENS = LENGTH.map(lambda length: Length(length.low, length.high, "tokens"))
GAP = st.builds(Gap, st.none() | TOKENS, st.lists(PHRASE, max_size=3).map(tuple))
BANNING = st.builds(Gap, st.none() | TOKENS, st.just(()), st.lists(PHRASE, max_size=3).map(tuple))
PIN = ANY_TEXT.filter(bool).map(Pin)
PIECE = st.one_of(ANY_TEXT, PIN, st.sampled_from([" ", "\n"]))
# A letter at the start keeps the passage from being empty, spaces keep the pins off their neighbours' words.
REWRITE = st.lists(PIECE, max_size=5).map(lambda pieces: Rewrite(("a", *(part for piece in pieces for part in (" ", piece, " ")))))
MARK = st.one_of(GAP, BANNING, REWRITE)


@st.composite
def parts(draw: st.DrawFn) -> list[Any]:
    """Parts of a valid draft whose texts may hold anything that looks like a mark."""
    found: list[Any] = [draw(ANY_TEXT)]
    for mark in draw(st.lists(MARK, max_size=4)):
        found += [mark, draw(ANY_TEXT.filter(bool))]
    return found[: draw(st.sampled_from([len(found), max(len(found) - 1, 1)]))]


def one(text: str) -> Any:
    """The only part of a draft."""
    (part,) = Draft.parse(text).parts
    return part


# What each mark means


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("[[]]", Gap()),
        ("[[7]]", Gap(Length(7, 7))),
        ("[[007]]", Gap(Length(7, 7))),
        ("[[5-12]]", Gap(Length(5, 12))),
        ("[[1-2000]]", Gap(Length(1, 2000))),
        ("[[12 tokens]]", Gap(Length(12, 12, "tokens"))),
        ("[[8-16 tokens]]", Gap(Length(8, 16, "tokens"))),
        ("[[7 words]]", Gap(Length(7, 7))),
        ("[[1 word]]", Gap(Length(1, 1))),
        ("[[1 token: x]]", Gap(Length(1, 1, "tokens"), ("x",))),
        ("[[5–12 words]]", Gap(Length(5, 12))),
        ("[[5-12: silver, garden gate]]", Gap(Length(5, 12), ("silver", "garden gate"))),
        ("[[5-12: silver; suddenly, very]]", Gap(Length(5, 12), ("silver",), ("suddenly", "very"))),
        ("[[; very]]", Gap(None, (), ("very",))),
        ("[[:x]]", Gap(None, ("x",))),
        ("[[3 tokens;no,nor ]]", Gap(Length(3, 3, "tokens"), (), ("no", "nor"))),
        (r"[[: a\, b\; c, d\]\]e, f\\, {g}, h]i]]", Gap(None, ("a, b; c", "d]]e", "f\\", "{g}", "h]i"))),
        ("[[: 10:30, C:\\x]]", Gap(None, ("10:30", "C:\\x"))),
        ("[[: silver, silver]]", Gap(None, ("silver", "silver"))),
        ("[[: 1,000, x; 2,5,y]]", Gap(None, ("1,000", "x"), ("2,5", "y"))),
        ("[[~ the old house was quiet]]", Rewrite(("the old house was quiet",))),
        ("[[~the old  house ]]", Rewrite(("the old  house",))),
        (
            "[[~ the {{old}} house was {{quite still}}]]",
            Rewrite(("the ", Pin("old"), " house was ", Pin("quite still"))),
        ),
        ("[[~ one\ntwo\r\n\r three]]", Rewrite(("one", Pin("\n"), "two", Pin("\r\n"), Pin("\r"), " three"))),
        ("[[~ {{one\ntwo}}, three]]", Rewrite((Pin("one\ntwo"), ", three"))),
        (r"[[~ a\]\] \{\{b\}\} \\ c\d {e} f]g, h; \[[5 \___ [[i]]", Rewrite((r"a]] {{b}} \ c\d {e} f]g, h; [[5 ___ [[i",))),
    ],
)
def test_every_mark_means_what_the_format_says(text: str, mark: Any) -> None:
    assert one(text) == mark
    assert str(Draft.parse(text)) == text
    assert one(str(Draft((mark,)))) == mark


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "see [[Obsidian link]] and [[nodiscard]] and [[ 5 ]] and [[-3]] and [5] and a[[",
        "]] }} {{ }} {{x}} ${y} <img src=x onerror=alert(1)> \\ \\n C:\\dir\\",
        "__init__ snake___case ___bold___ 5___ ___é e\u0301___ __ a __ b",
        "___",
        "above\n___\nbelow",
        "above\r\n \t____ \r\nbelow",
        "above\r_____\rbelow",
        "[[٣]]",
        "tab\tand\u00a0space, 😀 שלום e\u0301 \ufeff \u2028\n\r\n\r \x85\x0c",
    ],
)
def test_text_that_is_no_mark_is_literal(text: str) -> None:
    assert "".join(Draft.parse(text).parts) == text  # type: ignore[arg-type]
    assert str(Draft.parse(text)) == str(Draft((text,))) == text


@pytest.mark.parametrize("run", ["___", "____", "_" * 40])
def test_underscores_are_a_gap(run: str) -> None:
    for before, after in [("It was ", " late"), ("It was ", "."), ("“", "”"), ("a\n", " b"), ("\\", "\\")]:
        text = before.replace("\\", "\\\\") + run + after
        assert Draft.parse(text).parts == (before, Gap(), after)
        assert str(Draft.parse(text)) == text


@pytest.mark.parametrize("mark", ["[[5 tokens]]", "[[]]", "[[~ a]]", "___"])
@pytest.mark.parametrize("slashes", range(6))
def test_backslashes_before_a_mark_are_halved_and_an_odd_one_escapes(mark: str, slashes: int) -> None:
    found = Draft.parse("x " + "\\" * slashes + mark + " y").parts
    kept = "x " + "\\" * (slashes // 2)
    assert found == ((kept + mark + " y",) if slashes % 2 else (kept, one("[[]]" if mark == "___" else mark), " y"))


def test_backslashes_are_halved_before_brackets_and_underscores_that_are_literal_anyway() -> None:
    assert one(r"\[[link]] \\[[link]] a\___b a\\___b") == r"[[link]] \[[link]] a___b a\___b"


def test_backslashes_elsewhere_are_literal() -> None:
    for text in ["\\", "\\\\", "\\[", "\\]]", "\\__", "\\{{", "\\~", "\\\\server\\share"]:
        assert one(text) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[[[5]]", ("[", Gap(Length(5, 5)))),
        ("[[[[5]]", ("[[", Gap(Length(5, 5)))),
        (r"\[[[5]]", ("[[[5]]",)),
        (r"\[[[[5]]", ("[[", Gap(Length(5, 5)))),
        (r"\\[[[5]]", ("\\[", Gap(Length(5, 5)))),
        ("[[5]]]", (Gap(Length(5, 5)), "]")),
        ("[[]][[x", (Gap(), "[[x")),
        ("[[~ a ]]]", (Rewrite(("a",)), "]")),
        ("[[]]____init__", (Gap(), "____init__")),
    ],
)
def test_brackets_at_the_edges_of_marks(text: str, found: tuple[Any, ...]) -> None:
    assert Draft.parse(text).parts == found


# Words


def test_words() -> None:
    assert words("3.5 well-kept don't don’t") == ["3.5", "well-kept", "don't", "don’t"]
    assert words("One—two–three…four/five\u00a0six\tseven\r\n") == ["One", "two", "three", "four", "five", "six", "seven"]
    assert words("“Hello,” — … !? * a") == ["“Hello,”", "a"]
    assert words("") == words(" -- ' ") == []
    assert fold("Don’t") == fold("don't") and fold("É") == fold("e\u0301")


@given(ANY_TEXT)
def test_words_are_all_the_letters_and_digits(text: str) -> None:
    found = words(text)
    assert [c for c in "".join(found) if c.isalnum()] == [c for c in text if c.isalnum()]
    for word in found:
        assert words(word) == [word]


# There and back again


@given(
    st.one_of(
        HOSTILE, st.lists(st.sampled_from(["[[", "]]", "___", "\\", "[", "~", "5", " ", "a", "{{", "}}", ":", ";", ",", "\n"])).map("".join)
    )
)
def test_a_valid_text_comes_back_byte_for_byte(text: str) -> None:
    try:
        draft = Draft.parse(text)
    except DraftError as error:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        return
    assert str(draft) == text
    rebuilt = Draft(draft.parts)
    assert rebuilt == draft == Draft.parse(str(rebuilt))
    assert Draft.of_segments(draft.segments()) == draft


@given(parts())
def test_parts_come_back_from_what_they_print(found: list[Any]) -> None:
    draft = Draft(tuple(found))
    assert Draft.parse(str(draft)) == draft
    assert Draft.parse(str(draft)).parts == draft.parts
    assert Draft.of_segments(draft.segments()) == draft
    literal = [part for part in found if isinstance(part, str) and part]
    assert [part for part in draft.parts if isinstance(part, str)] == literal


@given(
    st.text(alphabet="[\\_5a \n", max_size=12),
    st.text(alphabet="[\\_5a] \n", min_size=1, max_size=12),
    st.text(alphabet="[\\_5a] \n", max_size=12),
)
def test_texts_keep_their_ends_beside_marks(before: str, between: str, after: str) -> None:
    marks = [Gap(Length(5, 5)), Rewrite(("a\\",))]
    expected: tuple[Any, ...] = tuple(part for part in (before, marks[0], between, marks[1], after) if part)
    assert Draft(expected).parts == Draft.parse(str(Draft(expected))).parts == expected


def test_every_short_mixture_of_signs_survives_in_every_place() -> None:
    gap, rewrite = Gap(Length(5, 5)), Rewrite(("a",))
    for size in (1, 2, 3):
        for signs in product(["[", "\\", "___", "5", "\n", "]", "{{"], repeat=size):
            text = "".join(signs)
            drafts: list[tuple[Any, ...]] = [(text,), (text, gap), (gap, text), (gap, text, rewrite), (Rewrite(("a ", Pin(text), " ")),)]
            if text.strip():
                drafts.append((Rewrite((text,)),))
                drafts += [] if "\n" in text else [(Gap(None, (), (text, text)),)]
            for expected in drafts:
                assert Draft.parse(str(Draft(expected))).parts == Draft(expected).parts == expected


def test_a_built_draft_prints_as_plainly_as_it_can() -> None:
    plain: tuple[Any, ...] = (
        "See [[Obsidian]], __init__ and \\",
        Gap(Length(3, 3)),
        "\n___\n",
        Gap(),
        " [",
        Rewrite(("a, b: ", Pin("c"), "\n", "d")),
        ".",
    )
    assert str(Draft(plain)) == "See [[Obsidian]], __init__ and \\\\[[3]]\n___\n[[]] [[[~ a, b: {{c}}\nd]]."
    assert str(Draft(("Press [[3]] or ___ .",))) == r"Press \[[3]] or \___ ."


def test_equal_parts_make_equal_drafts_whatever_the_spelling() -> None:
    assert Draft.parse("a ___ b") == Draft.parse("a [[]] b") == Draft(("a", " ", Gap(), "", " b"))
    assert hash(Draft.parse("a ___ b")) == hash(Draft.parse("a [[]] b"))
    assert Draft.parse("a ___ b").parts == ("a ", Gap(), " b")


def test_drafts_built_from_parts_obey_the_same_rules() -> None:
    wrong_parts: list[tuple[Any, ...]] = [
        (Gap(), Gap()),
        (Gap(), "", Gap()),
        (Gap(None, ("",)),),
        (Gap(None, ("a\nb",)),),
        (Gap(None, ("a",), ("A",)),),
        (Rewrite(()),),
        (Rewrite((" ", "\t")),),
        (Rewrite((Pin(""),)),),
        (Rewrite((Pin("a"), "b")),),
        ("漢字", Gap(Length(3, 3))),
        ("a\0",),
        (Gap(None, ("\udc00",)),),
    ]
    for wrong in wrong_parts:
        with pytest.raises(DraftError):
            Draft(wrong)
    for low, high, unit in [
        (0, 1, "words"),
        (2, 1, "words"),
        (1, 2001, "words"),
        (-3, -3, "words"),
        (1, 1, "chars"),
        (True, True, "words"),
        (1.0, 1.0, "words"),
    ]:
        with pytest.raises(ValueError, match=r"\.$"):
            Length(low, high, unit)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Draft((5,))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Gap(None, "silver")  # type: ignore[arg-type]


def test_marks_and_their_places() -> None:
    draft = Draft.parse("One ___.\r\n\\\\[[5]] and [[~ b]]")
    assert draft.marks == (Gap(), Gap(Length(5, 5)), Rewrite(("b",)))
    assert [(draft.error(gap, "So.").line, draft.error(gap, "So.").column) for gap in range(3)] == [(1, 5), (2, 3), (2, 13)]
    assert str(draft.error(1, "So.")) == "Line 2, column 3: So."
    built = Draft(("[[1]]\n", Gap()))
    assert (built.error(0, "So.").line, built.error(0, "So.").column) == (2, 1)


# The page's list of segments


def test_segments_have_exactly_these_shapes() -> None:
    draft = Draft.parse("a [[5-12: b; c]] d ___ e [[~ f {{g}}]]")
    assert draft.segments() == [
        {"kind": "text", "text": "a "},
        {"kind": "gap", "length": {"low": 5, "high": 12, "unit": "words"}, "keywords": ["b"], "bans": ["c"]},
        {"kind": "text", "text": " d "},
        {"kind": "gap", "length": None, "keywords": [], "bans": []},
        {"kind": "text", "text": " e "},
        {"kind": "rewrite", "pieces": [{"text": "f ", "pin": False}, {"text": "g", "pin": True}]},
    ]


@pytest.mark.parametrize(
    ("segment", "advice"),
    [
        (5, "kind"),
        ({}, "kind"),
        ({"kind": "image"}, "kind"),
        ({"kind": "text"}, "text"),
        ({"kind": "text", "text": None}, "text"),
        ({"kind": "text", "text": "a", "color": "red"}, "color"),
        ({"kind": "gap", "length": 5}, "length"),
        ({"kind": "gap", "length": {"low": 1}}, "high"),
        ({"kind": "gap", "length": {"low": 0, "high": 3, "unit": "words"}}, "1 to 2000"),
        ({"kind": "gap", "length": {"low": 4, "high": 3, "unit": "words"}}, "between 4 and 3"),
        ({"kind": "gap", "length": {"low": True, "high": 3, "unit": "words"}}, "low"),
        ({"kind": "gap", "length": {"low": 1, "high": 3, "unit": "lines"}}, "lines"),
        ({"kind": "gap", "keywords": "silver"}, "keywords"),
        ({"kind": "gap", "keywords": [1]}, "keywords"),
        ({"kind": "gap", "keywords": [""]}, "keyword"),
        ({"kind": "rewrite", "pieces": []}, "passage"),
        ({"kind": "rewrite", "pieces": ["a"]}, "piece"),
        ({"kind": "rewrite", "pieces": [{"text": "a", "pin": 1}]}, "pin"),
        ({"kind": "rewrite", "pieces": [{"text": "un", "pin": True}, {"text": "do", "pin": False}]}, "splits a word"),
        ({"kind": "text", "text": "\0"}, "NUL"),
    ],
)
def test_what_is_no_segment_is_refused_with_its_place(segment: object, advice: str) -> None:
    with pytest.raises(DraftError) as raised:
        Draft.of_segments([{"kind": "text", "text": "One.\n"}, segment])
    assert raised.value.line == 2
    assert advice in str(raised.value) and str(raised.value).endswith(".")
    with pytest.raises(DraftError, match="list of segments"):
        Draft.of_segments(segment)  # type: ignore[arg-type]
