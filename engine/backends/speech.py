"""Text in and out of a model's back end, whose folder may have brought no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from engine.backends.chat import Chat
from engine.backends.folder import LoadError
from engine.backends.hub_tokenizer import HubTokenizer
from engine.tokenizer import Tokenizer


class Speech:
    """The half of a Denoiser that is about text. Without a tokenizer the network can still be asked about ids."""

    name: str
    tokenizer: Tokenizer | HubTokenizer | None
    chat: Chat | None = None
    """The frame of a model that was trained to answer people."""

    @property
    def answers(self) -> bool:
        """Whether it can be told how to fill a draft."""
        return self.chat is not None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens; LoadError when there is no tokenizer."""
        return self.reader().encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; ids beyond the tokenizer are empty, bytes that make no character become U+FFFD."""
        reader = self.reader()
        return reader.decode([i for i in ids if i < reader.vocab_size])

    def unwritten(self, rows: int) -> set[int]:
        """Of so many ids, those that spell nothing: control tokens, gaps in the numbering, ids beyond the tokenizer."""
        if self.tokenizer is None:
            return set()
        return {*(i for i in self.tokenizer.without_text if i < rows), *range(self.tokenizer.vocab_size, rows)}

    def reader(self) -> Tokenizer | HubTokenizer:
        """The tokenizer; LoadError with a sentence when there is none."""
        if self.tokenizer is None:
            raise LoadError(f"{self.name} has no tokenizer, so it cannot read text; put its tokenizer's files in the model's folder.")
        return self.tokenizer
