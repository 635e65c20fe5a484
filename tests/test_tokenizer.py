"""The tokenizer gives back every string, and refuses files that are not ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tokenizer import Tokenizer, TokenizerError
from engine.training.tokenizer import train_tokenizer

PROSE = "The boat lay still under the bridge. She said nothing, and nobody asked her why; it was late, after all. " * 40


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(iter([PROSE, PROSE.upper(), "One.\n\nTwo — three… 1234567890"]), 400)


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
