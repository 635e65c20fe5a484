"""Published tokenizers behind one lossless face: tokenizer.json, vocab.json with merges.txt, vocab.txt, or a SentencePiece model.

The libraries only cut a text into pieces (`hub_vocabularies`). Which text a piece spells is read from the vocabulary once, as
bytes, so that decoding costs no more than joining them. Special tokens are taken out of what the libraries match: a text that
spells one is text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.backends.folder import Folder, LoadError
from engine.backends.hub_vocabularies import Cut, Spelling, read
from engine.spacing import stands_apart

_SURROGATES = re.compile("[\\ud800-\\udfff]")
_LINE = 1000
"""Characters back that say whether a quote is open, where tokens bring no spaces."""


class HubTokenizer:
    """Text to ids and back for a published model. Special tokens are never added and never read out of a text.

    `decode(encode(text)) == text` for every text where the family allows it: byte-level BPE, and SentencePiece with byte fallback.
    Others normalise what they read (case, accents, runs of white space).
    """

    def __init__(self, cut: Cut, spelling: Spelling) -> None:
        self._cut, self._spelling, self._texts = cut, spelling, spelling.texts
        self.vocab_size = len(spelling.texts)
        """Ids go from 0 to here, those without a text included."""
        self.without_text: Sequence[int] = [i for i, text in enumerate(spelling.texts) if not text]
        """Ids that spell no text of their own: control tokens, added special tokens, gaps in the numbering."""

    @classmethod
    def of(cls, folder: Folder) -> HubTokenizer | None:
        """The folder's tokenizer; None when it has no tokenizer file, LoadError when one is damaged."""
        try:
            found = read(folder)
        except LoadError:
            raise
        except BaseException as error:  # the libraries' own panics are no Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
                raise
            raise LoadError(f"The tokenizer of {folder.name} is damaged or of an unknown kind; get the model's folder again.") from error
        if found is None:
            return None
        cut, spelling = found

        def guarded(text: str) -> list[int]:
            try:
                return cut(text)
            except BaseException as error:  # a pattern of the tokenizer's that gives up, which is a panic
                if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
                    raise
                raise LoadError(f"The tokenizer of {folder.name} gave up on the text; get the model's folder again.") from error

        return cls(guarded, spelling)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens. Half surrogates, which no text file holds, are read as U+FFFD."""
        return self._cut(_SURROGATES.sub("\ufffd", text)) if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; control tokens are empty, bytes that make no character become U+FFFD."""
        glued = self._spelling.glued
        if glued is None:
            return b"".join([self._texts[i] for i in ids]).decode("utf-8", "replace")
        text = ""
        for i in ids:
            piece = self._texts[i].decode("utf-8", "replace")
            text += " " + piece if i not in glued and stands_apart(text[-_LINE:], piece) else piece
        return text

    def encode_marked(self, text: str) -> list[int]:
        """Token ids of a text of our own making, such as a rendered chat template, in which special tokens are meant as such."""
        if not self._spelling.controls:
            return self.encode(text)
        known = sorted(self._spelling.controls, key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, known)) + ")", text)
        ids: list[int] = []
        for at, part in enumerate(parts):
            ids += [self._spelling.controls[part]] if at % 2 else self.encode(part)
        return ids

    def special(self, name: str) -> int | None:
        """The id of a special token by its role (mask, bos, eos, cls, sep, pad, unk) or its published spelling; None when there is none."""
        return self._spelling.controls.get(self._spelling.roles.get(name, name))

    def literal(self, role: str) -> str:
        """The published spelling of the special token with this role, as chat templates name it; empty when there is none."""
        return self._spelling.roles.get(role, "")
