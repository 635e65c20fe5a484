"""Published tokenizers: real vocabularies, losslessness, special tokens that texts merely spell, and damaged files."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from engine.backends.folder import Folder, LoadError
from engine.backends.hub_tokenizer import HubTokenizer
from engine.backends.toy import TEXT
from tests.checkpoints import CODE, byte_level, save_tokenizer

GOLDEN = Path(__file__).parent / "golden/tokenizers"
ODD = [
    "",
    " ",
    "  x",
    "x  ",
    "\n",
    "\r\n\t",
    "🙂",
    "e\u0301",
    "\u2581",
    "a\u2581 b",
    "\0",
    "\ufffd",
    "“é”—…",
    "سلام",
    "門🙂\u200d🙂",
    "\U0010ffff",
]
anything = st.one_of(st.text(), st.text(alphabet="a▁ \n🙂é<|>[]"), st.sampled_from(ODD))


def unpacked(name: str, home: Path, **config) -> Folder:
    """A golden tokenizer's folder as it is published."""
    folder = home / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for path in (GOLDEN / name).iterdir():
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (folder / path.name.removesuffix(".gz")).write_bytes(data)
    return Folder(folder)


def read(folder: Folder) -> HubTokenizer:
    found = HubTokenizer.of(folder)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="module")
def gpt2(home) -> HubTokenizer:
    return read(unpacked("gpt2", home))


@pytest.fixture(scope="module")
def bert(home) -> HubTokenizer:
    return read(unpacked("bert-base-uncased", home, model_type="bert"))


def trained(home: Path, name: str, tokenizer: Tokenizer, **settings) -> HubTokenizer:
    (home / name).mkdir()
    (home / name / "config.json").write_text("{}")
    tokenizer.save(str(home / name / "tokenizer.json"))
    (home / name / "tokenizer_config.json").write_text(json.dumps(settings))
    return read(Folder(home / name))


@pytest.fixture(scope="module")
def metaspace(home) -> HubTokenizer:
    """As Llama's: SentencePiece's BPE with byte fallback in a tokenizer.json, with a space put in front."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator([TEXT, CODE], trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    data = json.loads(made.to_str())
    data["added_tokens"] = data["added_tokens"][:3]  # bytes are pieces, no special tokens
    return trained(home, "metaspace", Tokenizer.from_str(json.dumps(data)), bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def unigram(home) -> HubTokenizer:
    """As XLM-R's: a unigram model behind WhitespaceSplit and Metaspace, with the mask among its pieces."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator([TEXT, CODE], trainer)
    return trained(home, "unigram", made, mask_token="<mask>")


def spm(home: Path, name: str, file: str, config: dict, **options) -> HubTokenizer:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((TEXT + CODE).splitlines()), model_writer=model, minloglevel=2, num_threads=1, **options
    )
    (home / name).mkdir()
    (home / name / "config.json").write_text(json.dumps(config))
    (home / name / file).write_bytes(model.getvalue())
    return read(Folder(home / name))


@pytest.fixture(scope="module")
def pieces(home) -> HubTokenizer:
    """SentencePiece with byte fallback, nothing normalised but for what Lacuna turns off."""
    return spm(
        home, "pieces", "tokenizer.model", {}, vocab_size=420, model_type="bpe", byte_fallback=True, normalization_rule_name="identity"
    )


def test_gpt2_cuts_as_published(gpt2):
    text = "Hello world, naïve café 123\n  foo"
    assert gpt2.encode(text) == [15496, 995, 11, 41492, 40304, 17031, 198, 220, 22944]
    assert gpt2.vocab_size == 50257 and gpt2.decode([41492]) == " naïve"
    assert gpt2.without_text == [50256] == [gpt2.special("eos")] == [gpt2.special("<|endoftext|>")]
    assert gpt2.special("mask") is None


def test_bert_cuts_as_published(bert):
    assert bert.encode("Hello world, naïve café") == [7592, 2088, 1010, 15743, 7668]
    assert bert.encode("123") == [13138]
    assert [bert.special(role) for role in ("mask", "cls", "sep", "pad", "unk")] == [103, 101, 102, 0, 100]
    assert bert.encode("\U00012345") == [100]  # what has no piece is the unknown one
    assert bert.vocab_size == 30522 and 1 in bert.without_text and 7592 not in bert.without_text  # 1 is [unused0]


def test_texts_of_all_kinds_are_cut_as_the_published_libraries_do(gpt2, bert, home):
    """200 texts cut by transformers 5.23 as GPT-2, as BERT, and as Qwen2 with GPT-2's vocabulary."""
    qwen = home / "as-qwen"
    shutil.copytree(home / "gpt2", qwen)
    (qwen / "config.json").write_text('{"model_type": "Dream"}')
    dream = read(Folder(qwen))
    for text, *wanted in json.loads((GOLDEN / "cuts.json").read_text(encoding="utf-8")):
        assert [gpt2.encode(text), bert.encode(text), dream.encode(text)] == wanted, text


@given(anything)
def test_byte_level_vocabularies_spell_every_text(gpt2, text):
    assert gpt2.decode(gpt2.encode(text)) == text


@given(anything)
def test_llamas_kind_spells_every_text(metaspace, text):
    assert metaspace.decode(metaspace.encode(text)) == text


@given(anything)
def test_sentencepiece_with_bytes_spells_every_text(pieces, text):
    assert pieces.decode(pieces.encode(text)) == text


@given(st.lists(st.integers(0, 50256), max_size=8))
def test_any_ids_decode(gpt2, ids):
    text = gpt2.decode(ids)
    assert text == gpt2.decode([i for i in ids if i != 50256])
    text.encode("utf-8")


def test_half_surrogates_are_read_as_what_text_files_hold_instead(gpt2, bert):
    assert gpt2.decode(gpt2.encode("a\ud83db")) == "a\ufffdb"
    assert bert.decode(bert.encode("a \ud83d b")) == "a b"


def test_a_text_that_spells_a_special_token_is_text(gpt2, bert, metaspace, unigram, pieces, tmp_path):
    ours = tmp_path / "ours"
    save_tokenizer(ours, byte_level())
    (ours / "config.json").write_text("{}")
    for tokenizer in (gpt2, metaspace, pieces, unigram, bert, read(Folder(ours))):
        specials = ("<|endoftext|>", "[MASK]", "[UNK]", "<s>", "</s>", "<mask>", "<unk>", "<pad>", "<|mdm_mask|>", "<|eot|>", "[unused0]")
        for text in (*specials, *(f"a {text} b" for text in specials)):
            ids = tokenizer.encode(text)
            unknown = tokenizer.special("unk")
            assert not {*tokenizer.without_text} & {i for i in ids if i != unknown}, text
            assert unknown in ids or "".join(tokenizer.decode(ids).split()) == "".join(
                text.lower().split() if tokenizer is bert else text.split()
            )


def test_marked_texts_mean_their_special_tokens(tmp_path):
    save_tokenizer(tmp_path, byte_level())
    (tmp_path / "config.json").write_text("{}")
    tokenizer = read(Folder(tmp_path))
    ids = tokenizer.encode_marked("<|start|>user<|end|>the lamp<|eot|>")
    special = tokenizer.special
    assert ids[0] == special("<|start|>") and ids[-1] == special("<|eot|>") and special("<|end|>") in ids
    assert tokenizer.decode(ids) == "userthe lamp"


def test_a_cut_text_is_spelled_as_it_stands(metaspace, unigram, pieces, gpt2):
    """No space is put in front of a part of a text, and none is lost."""
    for tokenizer in (metaspace, unigram, pieces, gpt2):
        assert tokenizer.decode(tokenizer.encode("lamp")) == "lamp"
        assert tokenizer.decode(tokenizer.encode(" lamp")) == " lamp"
        assert tokenizer.decode(tokenizer.encode(" the lamp ") + tokenizer.encode("was")) == " the lamp was"


def test_white_space_is_one_space_where_the_vocabulary_knows_no_other(unigram):
    assert unigram.decode(unigram.encode("the  lamp\n was")) == "the lamp was"
    assert unigram.special("mask") == 4 and unigram.special("eos") == 2


@pytest.mark.parametrize(
    ("read_as", "written"),
    [
        ("the old house , and he said .", "the old house, and he said."),
        ("don ' t", "don't"),
        ("the boys ' house", "the boys' house"),
        ("it was o ' clock", "it was o'clock"),
        ("she ' ll say it ' s o ' brien", "she'll say it's o'brien"),
        ('" yes , " he said , " no . "', '"yes," he said, "no."'),
        ("he said ( so ) [ 3 ]", "he said (so) [3]"),
        ("well - known and / or", "well-known and/or"),
        ("3 . 5 and 1 , 000 of 20", "3.5 and 1,000 of 20"),
        ("in 1990 , 20 men . 3 boys", "in 1990, 20 men. 3 boys"),
        ("costs $ 5 or # 3", "costs $5 or #3"),
        ("what ? ! no …", "what?! no…"),
    ],
)
def test_words_and_signs_are_joined_as_a_writer_would(bert, read_as, written):
    ids = bert.encode(read_as)
    assert bert.decode(ids) == written
    assert bert.encode(written) == ids
    for end in range(len(ids)):  # one more token never changes what stands
        assert bert.decode(ids).startswith(bert.decode(ids[:end]))


def test_parts_of_words_are_joined(bert):
    assert len(bert.encode("embeddings")) > 1
    assert (
        bert.decode(bert.encode("the embeddings were unbelievably gooseflesh-like")) == "the embeddings were unbelievably gooseflesh-like"
    )


def test_cased_vocabularies_keep_their_case(home):
    for name, settings, wanted in (("cased", {"do_lower_case": False}, ["House", "é"]), ("uncased", {}, ["house", "e"])):
        (home / name).mkdir()
        (home / name / "config.json").write_text("{}")
        (home / name / "tokenizer_config.json").write_text(json.dumps(settings))
        (home / name / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nHouse\nhouse\né\ne\n", encoding="utf-8")
        tokenizer = read(Folder(home / name))
        assert [tokenizer.decode([i]) for i in tokenizer.encode("House é")] == wanted


def test_dream_and_qwen_files_are_cut_where_theirs_are(home):
    """Digits stand alone, and line ends go with the sign before them; in GPT-2's way neither does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate([*alphabet, "12", ".Ċ"])}
    for name, settings, config, cut in (
        ("dream", {"tokenizer_class": "DreamTokenizer"}, {}, 3),
        ("qwen", {}, {"model_type": "Dream"}, 3),
        ("plain", {}, {}, 3),
    ):
        (home / name).mkdir()
        (home / name / "config.json").write_text(json.dumps(config))
        (home / name / "tokenizer_config.json").write_text(json.dumps(settings))
        (home / name / "vocab.json").write_text(json.dumps(vocab))
        (home / name / "merges.txt").write_text("#version: 0.2\n1 2\n. Ċ\n", encoding="utf-8")
        (home / name / "added_tokens.json").write_text(json.dumps({"<|mask|>": 300, "<|expand|>": 301}))
        tokenizer = read(Folder(home / name))
        assert len(tokenizer.encode("12.\n")) == cut
        assert (tokenizer.encode("12")[0] == vocab["12"]) == (name == "plain")
        assert tokenizer.special("mask") == 300 and tokenizer.special("<|expand|>") == 301 and tokenizer.vocab_size == 302
        assert set(range(258, 302)) <= set(tokenizer.without_text)


def test_xlm_r_moves_its_ids(home):
    tokenizer = spm(home, "xlmr", "sentencepiece.bpe.model", {"model_type": "xlm-roberta"}, vocab_size=150, model_type="unigram")
    assert [tokenizer.special(text) for text in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")] == [0, 1, 2, 3, 151]
    assert tokenizer.vocab_size == 152 and tokenizer.decode(tokenizer.encode("the lamp")) == "the lamp"
    assert tokenizer.encode("門") == [3]


def test_albert_reads_small_letters_without_accents(home):
    tokenizer = spm(
        home, "albert", "spiece.model", {"model_type": "albert"}, vocab_size=150, user_defined_symbols=["[CLS]", "[SEP]", "[MASK]"]
    )
    assert tokenizer.decode(tokenizer.encode("The Lámp")) == "the lamp"
    assert tokenizer.special("mask") == tokenizer.special("[MASK]") is not None
    assert tokenizer.special("mask") not in tokenizer.encode("[MASK]")


def test_added_words_are_text_and_added_signs_are_not(home):
    made = byte_level()
    made.add_tokens(["        ", "COVID-19", "<tool_call>"])
    tokenizer = trained(home, "added", made)
    for text in ("        ", "COVID-19"):
        (i,) = tokenizer.encode(text)
        assert tokenizer.decode([i]) == text and i not in tokenizer.without_text
        assert i in tokenizer.encode(f"the{text}lamp")
    assert tokenizer.special("<tool_call>") in tokenizer.without_text
    assert len(tokenizer.encode("<tool_call>")) > 1


def test_bytes_may_be_spelled_by_a_normalizer(home):
    data = json.loads(byte_level().to_str())
    data["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "[^Ġ]+|Ġ"}, "behavior": "Isolated", "invert": False}
    data["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "ByteLevel"}]}
    tokenizer = trained(home, "normalizing", Tokenizer.from_str(json.dumps(data)))
    for text in ("the lamp", "e\u0301 🙂", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_long_texts_are_not_cut_off(home):
    made = byte_level()
    made.enable_truncation(8)
    made.enable_padding(length=8)
    tokenizer = trained(home, "truncating", made)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.decode(tokenizer.encode("a")) == "a"


def test_no_files_no_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert HubTokenizer.of(Folder(tmp_path)) is None


GROWS = {
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"},
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
}
"""Forty times in a row every letter a becomes two."""


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": "{"},
        {"tokenizer.json": "[]"},
        {"tokenizer.json": "{}"},
        {"tokenizer.json": '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}, "decoder": {"type": "ByteLevel"}}'},
        {"tokenizer.json": '{"model": {"type": "BPE", "vocab": {"a": "x"}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}'},
        {"tokenizer.json": '{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'},
        {"tokenizer.json": '{"model": {"type": "Unigram", "vocab": [["a"]]}, "pre_tokenizer": {"type": "Metaspace"}}'},
        {"tokenizer.json": '{"model": {"type": "WordPiece", "vocab": {"a": 0}}, "added_tokens": [{"id": -5, "content": "x"}]}'},
        {"tokenizer.json": '{"model": {"type": "WordPiece", "vocab": {"a": 4000000000}}}'},
        {"tokenizer.json": b"\xff\xfe{}"},
        {"vocab.json": "{}", "merges.txt": b"\xff"},
        {"vocab.json": '{"a": -1}', "merges.txt": "a b"},
        {"vocab.txt": b"[UNK]\n\xff"},
        {"vocab.txt": "a\nb\n"},
        {"vocab.txt": ""},
        {"tokenizer.model": b"\x00\x01nothing"},
        {"spiece.model": b""},
        {"vocab.txt": "[UNK]\n", "tokenizer_config.json": '{"added_tokens_decoder": {"99999999999": {"content": "<x>"}}}'},
        {"vocab.txt": "[UNK]\n", "added_tokens.json": '{"<x>": 1000000000000}'},
        {"tokenizer.json": '{"model": {"type": "WordPiece", "unk_token": "a", "vocab": {"a": 0, "b": 2000000000}}}'},
        {"tokenizer.model": b"\0" * (64 * 2**20 + 1)},
        {"tokenizer.json": json.dumps(GROWS)},
        {"tokenizer.json": json.dumps({"model": {"type": "a\n" * 1000, "vocab": {}}})},
        {"vocab.txt": "a", "special_tokens_map.json": json.dumps({"unk_token": "b\n" * 1000})},
        {"vocab.txt": "[UNK]\n", "added_tokens.json": '{"<x>": "seven"}'},
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path, files):
    (tmp_path / "config.json").write_text("{}")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(LoadError) as refusal:
        HubTokenizer.of(Folder(tmp_path, "poor"))
    said = str(refusal.value)
    assert "\n" not in said and said.endswith(".") and "poor" in said and len(said) < 250


def test_a_pattern_that_gives_up_is_a_sentence(tmp_path):
    """Oniguruma stops a match that would take for ever, and the library panics."""
    read = byte_level()
    read.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("(a+)+$"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    (tmp_path / "config.json").write_text("{}")
    read.save(str(tmp_path / "tokenizer.json"))
    reader = HubTokenizer.of(Folder(tmp_path, "slow"))
    assert reader is not None and reader.decode(reader.encode("The lamp")) == "The lamp"
    with pytest.raises(LoadError, match=r"^The tokenizer of slow gave up on the text; .*\.$"):
        reader.encode("a" * 60 + "!")
