"""The tokenizer gives back every string, and refuses files that are not ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tokenizer import Tokenizer, TokenizerError
from engine.training.tokenizer import extend_tokenizer, extends, train_tokenizer

PROSE = "The boat lay still under the bridge. She said nothing, and nobody asked her why; it was late, after all. " * 40


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(iter([PROSE, PROSE.upper(), "One.\n\nTwo — three… 1234567890"]), 400)


@pytest.fixture(scope="module")
def longer(tokenizer: Tokenizer) -> Tokenizer:
    return extend_tokenizer(tokenizer, iter([PROSE, LONGER]), 440)


ODD = st.text(st.sampled_from("\u2581 \n\t\r\0<0x41>[MASK]|doc漢é\u0301🙂\u200d\ufeffab"), max_size=40)


@given(text=st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), ODD))
def test_decode_of_encode_is_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.mask_id not in ids and tokenizer.document_id not in ids


def test_control_words_typed_by_a_writer_are_plain_text(tokenizer: Tokenizer) -> None:
    for text in ("[MASK]", "<|doc|>", "<0xE2><0x96><0x81>", "<unk>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert len(tokenizer.encode(text)) > 1


def test_words_carry_their_space_and_line_ends_stand_alone(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the bridge\n\nthe")
    pieces = [tokenizer.decode([i]) for i in ids]
    assert "".join(pieces) == "the bridge\n\nthe"
    assert "\n\n" in pieces


def test_bytes_and_controls_have_no_text_of_their_own(tokenizer: Tokenizer) -> None:
    silent = set(tokenizer.without_text)
    assert {tokenizer.mask_id, tokenizer.document_id} <= silent
    assert all(tokenizer.decode([i]) for i in range(tokenizer.vocab_size) if i not in silent)
    assert len(silent) >= 258


def test_a_damaged_file_is_refused_with_a_sentence(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "tokenizer.model"
    for content in (b"", b"not a model", tokenizer.proto[: len(tokenizer.proto) // 2]):
        path.write_bytes(content)
        with pytest.raises(TokenizerError, match=r"^[A-Z].*\.$"):
            Tokenizer.load(path)
    with pytest.raises(TokenizerError, match="cannot be read"):
        Tokenizer.load(tmp_path / "nowhere.model")


LONGER = "Nobody remembered the lighthouse-keeper's daughter; she didn't mind. Remembering wasn't her way, and she wasn't lonely. " * 20


def test_a_tokenizer_is_given_more_pieces_and_keeps_those_that_it_has(tokenizer: Tokenizer) -> None:
    paragraphs = [PROSE, LONGER, "12345 <0x41> 漢字漢字", "\u2581"]
    larger = extend_tokenizer(tokenizer, iter(paragraphs), 440)
    assert [larger.piece(i) for i in range(400)] == [tokenizer.piece(i) for i in range(400)]
    assert extends(larger, tokenizer) and not extends(tokenizer, larger)
    added = [larger.piece(i) for i in range(400, 440)]
    assert len(set(added)) == 40 and not any(c.isdigit() for piece in added for c in piece)
    for i, piece in enumerate(added, 400):
        assert larger.encode(piece.replace("\u2581", " ")) == [i]
    assert len(larger.encode(LONGER)) < 0.8 * len(tokenizer.encode(LONGER))
    assert extend_tokenizer(tokenizer, iter(reversed(paragraphs)), 440).proto == larger.proto  # the order of the texts says nothing
    with pytest.raises(TokenizerError, match=r"give more text or a smaller --vocab\.$"):
        extend_tokenizer(tokenizer, iter(paragraphs), 4000)


@given(text=st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), ODD))
def test_a_tokenizer_with_more_pieces_gives_back_every_text(longer: Tokenizer, text: str) -> None:
    assert longer.decode(longer.encode(text)) == text
