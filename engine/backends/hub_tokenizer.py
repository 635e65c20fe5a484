"""Published tokenizers behind one lossless face: tokenizer.json, vocab.json with merges.txt, vocab.txt, or a SentencePiece model."""

from __future__ import annotations

from collections.abc import Sequence

from engine.backends.folder import Folder


class HubTokenizer:
    """Text to ids and back for a published model. Special tokens are never added and never read out of a text."""

    vocab_size: int
    without_text: Sequence[int]
    """Ids that spell no text of their own: control tokens, added special tokens, gaps in the numbering."""

    @classmethod
    def of(cls, folder: Folder) -> HubTokenizer | None:
        """The folder's tokenizer; None when it has no tokenizer file, LoadError when one is damaged."""
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        raise NotImplementedError

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; control tokens are empty, bytes that make no character become U+FFFD."""
        raise NotImplementedError

    def special(self, name: str) -> int | None:
        """The id of a special token by its role (`mask`, `bos`, `eos`, `cls`, `sep`, `pad`) or by its literal text; None when there is none."""
        raise NotImplementedError
