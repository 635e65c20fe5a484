"""The tokenizer files of published models, read without trust: how each kind cuts a text, and what each of its ids spells."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from engine.backends.folder import Folder, LoadError

Cut = Callable[[str], list[int]]
"""A text -> token ids, without special tokens."""


@dataclass(frozen=True)
class Spelling:
    """What every id of a vocabulary spells."""

    texts: list[bytes]
    """UTF-8, or a part of a character; empty for ids without a text."""
    controls: Mapping[str, int]
    """The special tokens by their published spelling."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """mask, bos, eos, cls, sep, pad, unk -> the spelling of the token that has the role."""
    glued: frozenset[int] | None = None
    """Where tokens bring no spaces: the ids that go on with the word before. None: every token spells its own spaces."""


Found = tuple[Cut, Spelling]

SPACE = "\u2581"
"""How SentencePiece writes a space."""
_ROLES = ("mask", "bos", "eos", "cls", "sep", "pad", "unk")
_USUAL = {
    "mask": ("[MASK]", "<mask>", "<|mask|>", "<|MASK|>", "<[MASK]>", "<|mdm_mask|>"),
    "bos": ("<s>", "<|startoftext|>", "<|endoftext|>"),
    "eos": ("</s>", "<|endoftext|>"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "pad": ("[PAD]", "<pad>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>", "<|endoftext|>"),
}
"""Spellings that mean a role where no file of the folder names one."""
_SIGN = re.compile(r"<.+>|\[[A-Za-z].*\]|\|\|\|.+\|\|\|", re.DOTALL)
"""How tokens that are no text are written. An added token that looks like this is one, whether or not it is marked `special`."""
MOST_GROWTH = 2**12
"""How many times as long a text may become by what is replaced in it; published tokenizers replace a few signs by one each."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Where Qwen2's vocabulary, and so Dream's, is never joined; a fact of the published tokenizer."""


def read(folder: Folder) -> Found | None:
    """How the folder's tokenizer cuts texts and what its ids spell; None when there is none.

    Raises LoadError with a sentence, or what the libraries raise.
    """
    named = _named(folder)
    if (published := folder.json("tokenizer.json")) is not None:
        return _published(published, named)
    if (vocab := folder.json("vocab.json")) is not None and (merges := folder.text("merges.txt")) is not None:
        pairs = [line for line in merges.replace("\r\n", "\n").split("\n") if line.strip() and not line.startswith("#version")]
        qwen = (
            str(_settings(folder).get("tokenizer_class", "")).startswith(("Qwen2", "Dream")) or folder.config.get("model_type") == "Dream"
        )
        split = {"type": "Split", "pattern": {"Regex": _QWEN}, "behavior": "Isolated", "invert": False}
        bytes_alone = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": not qwen}
        steps = {"type": "Sequence", "pretokenizers": [split, bytes_alone]} if qwen else bytes_alone
        model = {"type": "BPE", "vocab": vocab, "merges": pairs}
        return _published({"model": model, "pre_tokenizer": steps}, named)
    if (lines := folder.text("vocab.txt")) is not None:
        return _word_list(lines, _settings(folder), named)
    for name in ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"):
        if (proto := folder.data(name)) is not None:
            return _sentencepiece(proto, folder, named)
    return None


# What the files beside the vocabulary say


@dataclass(frozen=True)
class _Named:
    model: str
    """What the model is called."""
    roles: dict[str, str]
    added: dict[int, tuple[str, bool]]
    """Added tokens: id -> (spelling, whether it is marked special)."""


def _settings(folder: Folder) -> dict[str, Any]:
    return folder.json("tokenizer_config.json") or {}


def _named(folder: Folder) -> _Named:
    """Roles and added tokens from tokenizer_config.json, special_tokens_map.json and added_tokens.json."""
    roles: dict[str, str] = {}
    settings = _settings(folder)
    for source in (folder.json("special_tokens_map.json") or {}, settings):
        for role in _ROLES:
            token = source.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and token:
                roles[role] = token
    added = {int(i): (str(spelling), True) for spelling, i in (folder.json("added_tokens.json") or {}).items()}
    for i, token in (settings.get("added_tokens_decoder") or {}).items():
        added[int(i)] = (str(token["content"]), bool(token.get("special")))
    return _Named(folder.name, roles, added)


def _is_text(spelling: str, special: bool) -> bool:
    """Whether an added token stands for its own letters: a run of white space or a word of somebody's field."""
    return bool(spelling) and not special and not _SIGN.fullmatch(spelling)


def _spelling(pieces: Mapping[int, bytes], controls: dict[str, int], named: _Named, glued: frozenset[int] | None = None) -> Spelling:
    """Put together what each id spells; controls spell nothing."""
    for i, (text, special) in named.added.items():
        if not _is_text(text, special):
            controls[text] = i
    silent = set(controls.values())
    top = max((*pieces, *silent, *named.added), default=-1)
    if top > 1 << 24 or min((*pieces, *silent, *named.added), default=0) < 0:
        raise LoadError(f"The tokenizer of {named.model} numbers a token beyond any vocabulary; get the model's folder again.")
    texts = [b"" if i in silent else pieces.get(i, b"") for i in range(top + 1)]
    for i, (text, special) in named.added.items():
        if _is_text(text, special):
            texts[i] = text.encode()
    usual = {role: next((s for s in spellings if s in controls), None) for role, spellings in _USUAL.items()}
    roles = {role: spelling for role, spelling in usual.items() if spelling} | named.roles
    return Spelling(texts, controls, roles, glued)


# tokenizer.json, and what is turned into one


def _published(data: dict[str, Any], named: _Named) -> Found:
    """A `tokenizers` file. Its special tokens are taken out of it, so that no text can be read as one.

    So are all added tokens: the library would number those that are left anew.
    """
    model = data["model"]
    added = {int(t["id"]): (str(t["content"]), bool(t.get("special"))) for t in data.get("added_tokens") or []} | named.added
    named = _Named(named.model, named.roles, added)
    kind, before = model.get("type") or _guess(model), _steps(data.get("normalizer"))
    parts = [*before, *_steps(data.get("pre_tokenizer")), *_steps(data.get("decoder"))]
    if math.prod(1 + len(step["content"]) for step in before if step["type"] == "Replace") > MOST_GROWTH:
        raise LoadError(f"The tokenizer of {named.model} would make texts too long to hold; get the model's folder again.")
    by_id = dict(enumerate(p[0] for p in model["vocab"])) if kind == "Unigram" else {int(i): str(p) for p, i in model["vocab"].items()}
    controls = {text: i for i, (text, special) in added.items() if not _is_text(text, special)}
    data = {
        **data,
        "version": data.get("version", "1.0"),
        "added_tokens": [],
        "truncation": None,
        "padding": None,
        "post_processor": None,
        "decoder": None,
    }
    if kind == "BPE" and any(part["type"] == "ByteLevel" for part in parts):
        pieces = {i: _of_alphabet(piece) for i, piece in by_id.items()}
        if not model.get("ignore_merges"):
            controls |= {by_id[i]: i for i in _unreachable(by_id, model.get("merges") or []) - set(added)}
        # Composed letters are what such a vocabulary was made from, but a text must come back as it was.
        data["normalizer"] = _sequence([step for step in before if step["type"] == "ByteLevel"], "normalizers")
        data["pre_tokenizer"] = _without_prefix(data.get("pre_tokenizer"))
        return _around(_cutter(data, by_id, controls), named), _spelling(pieces, controls, named)
    if kind == "WordPiece":
        mark = model.get("continuing_subword_prefix", "##")
        return _around(_cutter(data, by_id, controls), named), _words(by_id, mark, controls, named)
    if kind in ("Unigram", "BPE") and any(part["type"] in ("Metaspace", "Prepend", "ByteFallback") for part in parts):
        blanks = any(part["type"] in ("WhitespaceSplit", "Whitespace") for part in parts)
        data["normalizer"] = _sequence([step for step in before if step["type"] not in ("Prepend", "Strip")], "normalizers")
        data["pre_tokenizer"] = _without_prefix(data.get("pre_tokenizer"))
        cut = _cutter(data, by_id, controls)
        if unknown := model.get("unk_token") or (model.get("unk_id") is not None and by_id.get(model["unk_id"])):
            controls.setdefault(str(unknown), next(i for i, piece in by_id.items() if piece == unknown))
        pieces = {i: _of_sentencepiece(piece, byte=bool(model.get("byte_fallback"))) for i, piece in by_id.items()}
        return _around(_one_space(cut) if blanks else _with_space_sign(cut, pieces), named), _spelling(pieces, controls, named)
    raise LoadError(
        f"The tokenizer of {named.model} is of a kind, {str(kind)[:40]!r}, that can't be read; byte-level BPE, WordPiece "
        "and SentencePiece can."
    )


def _guess(model: Mapping[str, Any]) -> str:
    return "BPE" if "merges" in model else "Unigram" if isinstance(model["vocab"], list) else "WordPiece"


def _steps(part: Any) -> list[dict[str, Any]]:
    """The members of a sequence of normalizers, pre-tokenizers or decoders, or the one there is."""
    if not part:
        return []
    inner = part.get("pretokenizers") or part.get("normalizers") or part.get("decoders")
    return [step for one in inner for step in _steps(one)] if part["type"] == "Sequence" else [part]


def _sequence(steps: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return {"type": "Sequence", name: steps} if steps else None


def _without_prefix(part: Any) -> dict[str, Any] | None:
    """Pre-tokenizers that add no space in front: a text may be a part of one, cut anywhere."""
    kept = []
    for step in _steps(part):
        if step["type"] == "Metaspace":
            step = {key: value for key, value in step.items() if key not in ("add_prefix_space", "str_rep")} | {"prepend_scheme": "never"}
        elif step["type"] == "ByteLevel":
            step = {**step, "add_prefix_space": False}
        elif step["type"] in ("WhitespaceSplit", "Whitespace"):
            continue
        kept.append(step)
    return _sequence(kept, "pretokenizers")


def _cutter(data: dict[str, Any], by_id: Mapping[int, str], controls: Mapping[str, int]) -> Cut:
    """`tokenizers` at work, with the special tokens spelled as no text can be: none of these kinds has a space inside a piece."""
    model, silent = data["model"], set(controls.values())
    if isinstance(model["vocab"], list):
        vocab: Any = [[f" {i} ", score] if i in silent else [piece, score] for i, (piece, score) in enumerate(model["vocab"])]
    else:
        keep = {model.get("unk_token")}
        vocab = {f" {i} " if i in silent and piece not in keep else piece: i for i, piece in by_id.items()}
    reader = Tokenizer.from_str(json.dumps({**data, "model": {**model, "vocab": vocab}}))
    return lambda text: list(reader.encode(text, add_special_tokens=False).ids)


def _around(cut: Cut, named: _Named) -> Cut:
    """Take the added tokens that are text as one piece each, before anything is cut (runs of spaces, words of somebody's field)."""
    words = {text: i for i, (text, special) in named.added.items() if _is_text(text, special)}
    if not words:
        return cut
    known = re.compile("(" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")")
    return lambda text: [i for part in known.split(text) if part for i in ([words[part]] if part in words else cut(part))]


def _one_space(cut: Cut) -> Cut:
    """For vocabularies that know white space as one space between words."""
    return lambda text: cut(re.sub(r"\s+", " ", text))


def _with_space_sign(cut: Cut, pieces: Mapping[int, bytes]) -> Cut:
    """For SentencePiece with byte fallback: a real U+2581 in a text is spelled byte by byte, or it would come back as a space."""
    spelled = {text[0]: i for i, text in pieces.items() if len(text) == 1}
    if not spelled.keys() >= set(SPACE.encode()):
        return cut
    sign = [spelled[byte] for byte in SPACE.encode()]

    def careful(text: str) -> list[int]:
        first, *rest = (cut(part) for part in text.split(SPACE))
        for ids in rest:
            first += sign + ids
        return first

    return careful


def _alphabet() -> dict[str, int]:
    """The 256 characters that byte-level vocabularies write bytes with: visible Latin-1 as itself, the rest from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


_ALPHABET = _alphabet()


def _of_alphabet(piece: str) -> bytes:
    try:
        return bytes([_ALPHABET[char] for char in piece])
    except KeyError:
        return piece.encode()


def _unreachable(by_id: Mapping[int, str], merges: Iterable[Any]) -> set[int]:
    """Ids of pieces that no text is cut into, because nothing is joined to them: special tokens that no file names."""
    made = {"".join(pair) if isinstance(pair, list) else pair.replace(" ", "", 1) for pair in merges}
    return {i for i, piece in by_id.items() if piece not in made and piece not in _ALPHABET}


# WordPiece


def _word_list(lines: str, settings: Mapping[str, Any], named: _Named) -> Found:
    """BERT's vocab.txt: one piece a line."""
    by_id = dict(enumerate(line.removesuffix("\r") for line in lines.removesuffix("\n").split("\n")))
    vocab = {piece: i for i, piece in by_id.items()}
    unknown = named.roles.get("unk", "[UNK]")
    if unknown not in vocab:
        raise LoadError(f"The vocab.txt of {named.model} has no {unknown[:40]!r}; it is damaged, or of another kind.")
    reader = Tokenizer(models.WordPiece(vocab, unk_token=unknown, max_input_chars_per_word=100))
    reader.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
        lowercase=bool(settings.get("do_lower_case", True)),
    )
    reader.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return lambda text: list(reader.encode(text, add_special_tokens=False).ids), _words(by_id, "##", {}, named)


def _words(by_id: Mapping[int, str], mark: str, controls: dict[str, int], named: _Named) -> Spelling:
    special = {*named.roles.values(), *(s for spellings in _USUAL.values() for s in spellings)}
    controls |= {piece: i for i, piece in by_id.items() if piece in special or (len(piece) > 2 and _SIGN.fullmatch(piece))}
    glued = frozenset(i for i, piece in by_id.items() if piece.startswith(mark) and piece != mark)
    pieces = {i: piece.removeprefix(mark).encode() if i in glued else piece.encode() for i, piece in by_id.items()}
    return _spelling(pieces, controls, named, glued)


# SentencePiece

_AS_IT_IS = bytes([0x1A, 4, 0x18, 0, 0x20, 0])
"""Appended to a model, this overrides two fields of its normalizer (protobuf merges a message that comes twice): no space is
added in front, and runs of spaces stay."""


def _sentencepiece(proto: bytes, folder: Folder, named: _Named) -> Found:
    """A SentencePiece model, its ids moved as XLM-R moves them, its texts in lower case where ALBERT's are."""
    reader = sentencepiece.SentencePieceProcessor()
    reader.LoadFromSerializedProto(proto + _AS_IT_IS)
    fairseq = folder.config.get("model_type") in ("xlm-roberta", "xlm-roberta-xl")
    moved = 1 if fairseq else 0
    lower = bool(_settings(folder).get("do_lower_case", folder.config.get("model_type") == "albert"))
    accents = bool(_settings(folder).get("keep_accents", not lower))
    pieces: dict[int, bytes] = {}
    controls = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} if fairseq else {}
    for i in range(reader.vocab_size()):
        if fairseq and i < 3:
            continue
        piece = str(reader.id_to_piece(i))
        if reader.is_control(i) or reader.is_unknown(i) or reader.is_unused(i) or (_SIGN.fullmatch(piece) and not reader.is_byte(i)):
            controls[piece] = i + moved
        else:
            pieces[i + moved] = _of_sentencepiece(piece, byte=reader.is_byte(i))
    if fairseq:
        controls["<mask>"] = reader.vocab_size() + 1
    tidy = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()])
    unknown = reader.unk_id()

    def cut(text: str) -> list[int]:
        text = text.lower() if lower else text
        text = text if accents else tidy.normalize_str(text)
        return [3 if fairseq and i == unknown else i + moved for i in reader.encode(text)]

    bytes_too = any(reader.is_byte(i) for i in range(reader.vocab_size()))
    return _with_space_sign(cut, pieces) if bytes_too else _one_space(cut), _spelling(pieces, controls, named)


def _of_sentencepiece(piece: str, *, byte: bool) -> bytes:
    if byte and (found := _BYTE.fullmatch(piece)):
        return bytes([int(found[1], 16)])
    return piece.replace(SPACE, " ").encode()
