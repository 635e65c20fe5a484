"""Text to token ids and back, byte for byte: a SentencePiece BPE model with byte fallback behind a lossless wrapper.

SentencePiece writes a space as U+2581, so a real U+2581 in a text would come back as a space. The wrapper cuts the
text at that character and spells it with its three byte pieces; decoding joins the bytes of the pieces, so that
`decode(encode(text)) == text` for every string that UTF-8 can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import sentencepiece

from engine.signs import Plain

MASK = "[MASK]"
DOCUMENT = "<|doc|>"
"""Stands where a document begins and where it ends: the embedded model's only special end."""

_SPACE_SIGN = "\u2581"


class TokenizerError(ValueError):
    """A tokenizer file cannot be used; the message is one sentence."""


class Tokenizer:
    """A SentencePiece model with `mask_id`, `document_id` and lossless `encode`/`decode`."""

    def __init__(self, proto: bytes) -> None:
        """Read a serialised SentencePiece model; TokenizerError when it is damaged or lacks our control pieces."""
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(proto)
        except RuntimeError as error:
            raise TokenizerError("The tokenizer file is damaged or is no SentencePiece model; copy the model folder again.") from error
        self.proto = proto
        self.vocab_size = int(self._processor.vocab_size())
        self._bytes = [self._piece_bytes(i) for i in range(self.vocab_size)]
        byte_ids = {piece[0]: i for i, piece in enumerate(self._bytes) if self._processor.is_byte(i)}
        if len(byte_ids) != 256:
            raise TokenizerError("The tokenizer has no byte fallback, so some texts could not be spelled; train it with ours.")
        self.byte_ids = sorted(i for byte, i in byte_ids.items() if byte >= 0x80)
        """Ids of the bytes that only together spell a character."""
        self._space_sign_ids = [byte_ids[b] for b in _SPACE_SIGN.encode()]
        self.mask_id, self.document_id = self._control(MASK), self._control(DOCUMENT)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """The tokenizer in a file; TokenizerError when it is missing or damaged."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise TokenizerError(f"The tokenizer file {path.name} cannot be read; copy the model folder again.") from error

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        first, *rest = self._processor.encode(text.split(_SPACE_SIGN))
        for ids in rest:
            first += self._space_sign_ids + ids
        return list(first)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; control tokens are empty, bytes that make no character become U+FFFD."""
        return b"".join(self._bytes[i] for i in ids).decode("utf-8", "replace")

    def pieces(self, text: str) -> list[str]:
        """The pieces of a text as SentencePiece writes them, with U+2581 for a space."""
        return [self.piece(i) for i in self.encode(text)]

    def piece(self, i: int) -> str:
        """A piece as SentencePiece writes it."""
        return str(self._processor.id_to_piece(i))

    def score(self, i: int) -> float:
        """How early a piece is merged: of those that fit, the highest first."""
        return float(self._processor.get_score(i))

    @cached_property
    def plain(self) -> Plain:
        """How texts are read whose signs have no pieces."""
        return Plain([self.decode([i]) for i in range(self.vocab_size)])

    @property
    def without_text(self) -> list[int]:
        """Ids that spell no whole character by themselves, or one that has no piece of its own: control tokens and single bytes."""
        return [i for i in range(self.vocab_size) if self._processor.is_byte(i) or not self._bytes[i]]

    def _piece_bytes(self, i: int) -> bytes:
        if self._processor.is_control(i) or self._processor.is_unknown(i):
            return b""
        piece = self.piece(i)
        if self._processor.is_byte(i):
            return bytes([int(piece[1:-1], 16)])
        return piece.replace(_SPACE_SIGN, " ").encode()

    def _control(self, piece: str) -> int:
        i = int(self._processor.piece_to_id(piece))
        if not self._processor.is_control(i):
            raise TokenizerError(f"The tokenizer has no control piece {piece}; it was not made for this model.")
        return i
