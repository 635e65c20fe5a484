"""What the draft format refuses, where it says so, and what it advises; long and hostile drafts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from engine import Draft, DraftError, Pin, Rewrite


def one(text: str) -> Any:
    """The only part of a draft."""
    (part,) = Draft.parse(text).parts
    return part


def refusal(text: str) -> DraftError:
    with pytest.raises(DraftError) as raised:
        Draft.parse(text)
    return raised.value


@pytest.mark.parametrize(
    ("text", "column", "advice"),
    [
        ("[[0]]", 3, "1 to 2000"),
        ("[[2001]]", 3, "1 to 2000"),
        ("[[5-2001]]", 3, "1 to 2000"),
        ("[[" + "9" * 5000 + "]]", 3, "1 to 2000"),
        ("[[2024-01-05]]", 3, r"write `\[[`"),
        ("[[7-5]]", 3, "smaller number"),
        ("[[5-]]", 5, "number after `-`"),
        ("[[5-12", 7, "` tokens`, `:`, `;` or `]]`"),
        ("[[5 wards]]", 4, "` tokens`"),
        ("[[5\n]]", 4, "`]]`"),
        ("[[]", 3, "`]]`"),
        ("[[:alpha:]]", 1, r"write `\[[`"),
        ("grep '[[:upper:]]*' it", 7, r"write `\[[`"),
        ("[[5]][[6]]", 6, "given text between"),
        ("[[5]]___", 6, "given text between"),
        ("[[~ a]][[]]", 8, "given text between"),
        ("[[:]]", 4, "a keyword before `]]`"),
        ("[[5: a,, b]]", 8, "a keyword before `,`"),
        ("[[5: ; b]]", 6, "a keyword before `;`"),
        ("[[;]]", 4, "a banned word before `]]`"),
        ("[[; a; b]]", 6, "`,` or `]]`"),
        ("[[5: a\nb]]", 7, "one line"),
        ("[[5: a\r]]", 7, "one line"),
        ("[[5: {{a}}]]", 6, "passage"),
        ("[[5: a}}]]", 7, "passage"),
        ("[[: !?]]", 7, "letter or digit"),
        ("[[: a", 1, "expected `]]`"),
        (r"[[: a\]]", 1, "expected `]]`"),
        ("[[: a [[5]]]]", 7, "inside another mark"),
        ("[[: a ___ b]]", 7, r"`\___`"),
        ("[[~]]", 4, "a passage"),
        ("[[~ \t ]]", 7, "a passage"),
        ("[[~ a", 1, "expected `]]`"),
        ("[[~ a [[~ b]]]]", 7, "inside another mark"),
        ("[[~ a {{b]]", 7, "expected `}}`"),
        ("[[~ a}} b]]", 6, "expected `{{`"),
        ("[[~ {{a {{b}}}}]]", 9, "expected `}}`"),
        ("[[~ {{}} a]]", 7, "a word to pin"),
        ("[[~ {{un}}happy]]", 9, "splits a word"),
        ("[[~ un{{happy}}]]", 7, "splits a word"),
        ("[[~ {{well}}-kept]]", 11, "splits a word"),
        ("[[~ {{3}}.5]]", 8, "splits a word"),
        ("[[~ a{{.}}b]]", 6, "splits a word"),
        ("[[~ {{a}}{{b}}]]", 8, "splits a word"),
        ("[[~ {{e}}\u0301]]", 8, "splits a word"),
        ("[[5: garden gate; Gate]]", 1, "take one of them out"),
        ("[[: don't; Don’t]]", 1, "take one of them out"),
        ("[[: wow!; !]]", 1, "take one of them out"),
        ("[[5: silver moon’s; silver moon]]", 1, "take one of them out"),
        ("\0", 1, "NUL"),
        ("\ud83d", 1, "U+D83D"),
    ],
)
def test_a_malformed_draft_is_refused_with_its_place_and_what_was_expected(text: str, column: int, advice: str) -> None:
    for lead, line, before in [("", 1, 0), ("One.\nTwo.\r\nThree.\r\té “", 4, 4), ("x\n\n\r\n\r\r", 6, 0)]:
        error = refusal(lead + text)
        assert (error.line, error.column) == (line, before + column)
        assert advice in error.message
        assert str(error) == f"Line {line}, column {before + column}: {error.message}"
        assert error.message.endswith(".") and "\n" not in error.message
        str(error).encode()


@pytest.mark.parametrize("text", ["[[~ {{old}}, worn]]", "[[~ “{{Hello}}”]]", "[[~ {{yes}}—no {{1}}/2]]", "[[~ {{a}}\n{{b}}]]"])
def test_a_pin_may_leave_punctuation_out(text: str) -> None:
    assert str(Draft(Draft.parse(text).parts)) == text


@pytest.mark.parametrize("text", ["[[: gate; garden gate]]", "[[: gates; gate]]", "[[: very; every]]", "[[: cat, dog; cat dog]]"])
def test_a_ban_that_a_keyword_can_live_with_is_accepted(text: str) -> None:
    assert str(Draft.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "今天天气[[5]]很好。",
        "私は[[5-12]]です。",
        "カタカナ [[5]]",
        "สวัสดี [[3]]",
        "ສະບາຍດີ [[3]]",
        "សួស្តី [[3]]",
        "မင်္ဂလာပါ [[3]]",
        "བཀྲ་ཤིས་[[3]]",
        "[[3: 你]]你好",
        "我用 Python [[3]]",
        "[[~ 你好]]。[[3]]",
    ],
)
def test_word_counts_are_refused_in_scripts_without_spaces(text: str) -> None:
    error = refusal(text)
    assert "tokens]]`" in error.message
    assert error.column == text.rindex("[[") + 1 if not text.startswith("[[3:") else error.column == 1
    tokens = text.replace("[[3", "[[3 tokens").replace("[[5]]", "[[5 tokens]]").replace("[[5-12", "[[5-12 tokens")
    assert str(Draft.parse(tokens)) == tokens


@pytest.mark.parametrize(
    "text",
    [
        "[[5]]",
        "안녕하세요 [[5]] 여러분",
        "The sign said 出口 [[3]] in red.",
        "مرحبا [[3]]",
        "नमस्ते [[3]]",
        "你好。" * 50 + "He said so. " * 20 + "[[3]]",
    ],
)
def test_word_counts_are_accepted_where_words_are_spaced(text: str) -> None:
    assert str(Draft.parse(text)) == text


def test_a_pin_may_stand_between_letters_of_a_script_without_spaces() -> None:
    assert one("[[~ 今天{{天气}}很好]]") == Rewrite(("今天", Pin("天气"), "很好"))


# Long and hostile drafts


@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        ("", "[", ""), ("", "\\", ""), ("", "_", ""), ("", "{", ""), ("", "\\_", ""), ("", "[[ ", ""), ("", " ", "x"),
        ("", " \n", ""), ("", "___ ", ""), ("", "\\[[", ""), ("", "a [[5 tokens]] ", ""), ("漢", " [[5]] a", ""),
        ("[[~ ", "a", ""), ("[[~ ", "\\\\", "]]"), ("[[~ ", "{{.}}", "]]"), ("[[~", "!", "{{a}}]]"), ("[[~ ", "\n", "]]"),
        ("[[: ", "!", "a]]"), ("[[", "1", "]]"),
    ],
)  # fmt: skip
def test_time_grows_in_step_with_the_length(before: str, unit: str, after: str) -> None:
    def cost(size: int) -> float:
        text = before + unit * (size // len(unit)) + after
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            try:
                assert str(Draft.parse(text)) == text
                Draft((text,))
            except DraftError:
                pass
            best = min(best, time.process_time() - start)
        return best

    # Quadratic work would cost 256 times as much for 16 times the length.
    assert cost(80_000) < 64 * cost(5_000) + 0.05
