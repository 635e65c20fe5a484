"""How a fill is to be done: one frozen value, checked once, understood by page, command line and API alike. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

Choice = Literal["deterministic", "stochastic", "hybrid"]
Rounding = Literal["every_step", "nearest", "up", "down"]
Scores = Literal["model", "tempered"]
Words = Literal["known", "any"]


LARGE = 500_000_000
"""Numbers of a model from which on a CPU mostly waits for its memory, so that half as many bytes pay whatever its products take."""
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8", "int4")
"""What a model's numbers can be kept in; `auto` leaves it to the machine."""
MOST_BANS = 500
LONGEST_BAN = 100
"""How many words a list of banned words may hold, and how many characters each."""
LONGEST_INSTRUCTION = 1000
LONGEST_BLOCK = 65_536
"""Characters of an instruction."""


class SettingsError(ValueError):
    """A setting is out of its range; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one fill."""

    sampler: str = "confidence"
    """Which masked tokens to reveal next: a name of `engine.SAMPLERS`."""
    schedule: str = "loglinear"
    """The noise schedule alpha(t) that says how many are due: a name of `engine.SCHEDULES`."""
    steps: int = 16
    """Steps in which a window is first written, at most; `revise` and `candidates` add theirs."""
    temperature: float = 0.7
    """Divides the logits before a token is drawn; 0 is greedy."""
    top_p: float = 0.9
    """Draw from the smallest set of tokens with this probability (nucleus)."""
    top_k: int = 0
    """Draw from the k likeliest tokens; 0 is all."""
    choice: Choice = "stochastic"
    """How a token is chosen: `deterministic` (the likeliest), `stochastic` (drawn), `hybrid` (drawn early, likeliest late)."""
    scores: Scores = "model"
    """What the order is judged by: the `model`'s own probabilities, or the `tempered` ones that tokens are drawn from (Dream)."""
    rounding: Rounding = "every_step"
    """How the schedule's share becomes a whole number of tokens: `every_step` (the nearest, one at least), `nearest` (steps
    without any are left out; dllm), `up` (the larger steps first; LLaDA), `down` (the last step takes the rest; Dream)."""
    block_length: int = 0
    """Semi-autoregressive blocks of this many masked tokens, from left to right, with an equal share of the steps each; 0 is none."""
    guidance: float = 0.0
    """Classifier-free guidance: how far to go beyond what would be written without the given text; 0 is off, and costs half."""
    repetition: float = 3.0
    """Nats taken from a token that would say again what stands nearby (a pair of tokens within 32, a token within two) when tokens are
    chosen; the order is judged without. 0 is off. After the penalty of CTRL (arXiv 1909.05858)."""
    presence: float = 0.0
    """Nats taken from a rare word that the fill says already within 32 tokens of the same window, keywords among it; less from a word that
    isn't so rare (engine.rarity). What is read over counts it too. 0 is off. After OpenAI's presence penalty, which knows no rarity."""
    words: Words = "known"
    """`known`: no words but those that the model's own texts or the draft hold, nor signs like `$` that the draft lacks, by models that
    bring a list of words (engine.spelling); `any`: pieces may add up to what no text holds."""
    refresh: int = 4
    """Steps between two readings of the whole canvas: in between, the masked places are computed beside what was made of the others
    (Fast-dLLM, dKV-Cache), by networks that can do so. 1 is a whole reading at every step, which is exact."""
    revise: int = 0
    """Rounds in which what was written is read over: what fits least, each token judged without itself, is masked and written anew
    (after Mask-Predict, arXiv 1904.09324)."""
    candidates: int = 1
    """Fills that are written side by side: at each place the one that reads best is kept, each token of it and of the given text beside
    it judged without itself, and the others can be had instead; passages of many tokens have fewer. After Mask-Predict (1904.09324)."""
    window: int = 512
    """Tokens of the draft that the model reads at once, if it can read so many: a long draft is filled in windows, whose cost grows with
    them."""
    remasking: float = 0.0
    """The chance, at most, that a written token is masked again in a step, to be written anew; 0 is never (ReMDM's cap)."""
    threshold: float = 0.9
    """`threshold` sampler: reveal whatever is at least this probable (Fast-dLLM)."""
    factor: float = 1.0
    """`factor` sampler: the n surest together where (n + 1)(1 - p) of the least sure of them stays below this (Fast-dLLM)."""
    entropy_bound: float = 0.5
    """`entropy_bound` sampler: the joint-error budget gamma, in nats (EB-Sampler)."""
    seed: int = 0
    bans: tuple[str, ...] = ()
    """Words and phrases that are never written, in any gap, beside those of a gap's own mark. A list will do for the tuple."""
    instruction: str = ""
    """What a model that was trained to answer people is told besides, before it fills the draft: how to write, who speaks, what must
    happen. Other models take none."""

    def __post_init__(self) -> None:
        """Raise SettingsError with one sentence when a value is out of range."""
        checks = [
            (1 <= self.steps <= 4096, "steps must be between 1 and 4096"),
            (0 <= self.temperature <= 10, "temperature must be between 0 and 10"),
            (0 < self.top_p <= 1, "top_p must be above 0 and at most 1"),
            (self.top_k >= 0, "top_k must be 0 (all tokens) or more"),
            *(
                (getattr(self, name) in get_args(kind), f"{name} must be one of {', '.join(get_args(kind))}")
                for name, kind in (("choice", Choice), ("scores", Scores), ("rounding", Rounding), ("words", Words))
            ),
            (0 <= self.block_length <= LONGEST_BLOCK, f"block_length must be between 0 (no blocks) and {LONGEST_BLOCK}"),
            (0 <= self.guidance <= 100, "guidance must be between 0 (off) and 100"),
            (0 <= self.repetition <= 100, "repetition must be between 0 (off) and 100"),
            (0 <= self.presence <= 100, "presence must be between 0 (off) and 100"),
            (1 <= self.refresh <= 4096, "refresh must be between 1 (exact) and 4096"),
            (0 <= self.revise <= 100, "revise must be between 0 (never) and 100"),
            (1 <= self.candidates <= 64, "candidates must be between 1 and 64"),
            (64 <= self.window <= 65536, "window must be between 64 and 65536"),
            (0 <= self.remasking <= 1, "remasking must be between 0 (never) and 1"),
            (0 < self.threshold <= 1, "threshold must be above 0 and at most 1"),
            (0 < self.factor <= 100, "factor must be above 0 and at most 100"),
            (self.entropy_bound >= 0, "entropy_bound must be 0 or more"),
            (0 <= self.seed < 2**63, "seed must be between 0 and 2^63 - 1"),
            (len(self.instruction) <= LONGEST_INSTRUCTION, f"an instruction can be {LONGEST_INSTRUCTION} characters long at most"),
        ]
        for holds, sentence in checks:
            if not holds:
                raise SettingsError(f"{sentence}.".capitalize())
        object.__setattr__(self, "bans", _phrases(self.bans))
        object.__setattr__(self, "instruction", self.instruction.strip())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from plain values (JSON); an unknown name or a wrong type is a SettingsError, never ignored."""
        kinds: dict[str, type] = {f.name: type(f.default) for f in fields(cls)}
        for name, value in values.items():
            if name not in kinds:
                raise SettingsError(f"There is no setting called {name!r}; there are {', '.join(kinds)}.")
            if kinds[name] is tuple:
                continue  # what it must hold is checked below
            accepted = (int, float) if kinds[name] is float else kinds[name]
            if not isinstance(value, accepted) or isinstance(value, bool):
                usual = {str: "a name", int: "a whole number"}.get(kinds[name], "a number")
                raise SettingsError(f"{name} must be {_KINDS.get(name, usual)}, not {value!r}.")
        return cls(**values)


def recommended(model: object, given: Mapping[str, Any] = MappingProxyType({})) -> Settings:
    """The settings given, the others as they were measured to be best for this model (its `recommended`) or else as they usually are.

    Raises SettingsError as `Settings.of` does.
    """
    return Settings.of({**getattr(model, "recommended", {}), **given})


def _phrases(bans: object) -> tuple[str, ...]:
    """The list of banned words, checked, without the space at their edges."""
    if not isinstance(bans, list | tuple):
        raise SettingsError(f"Bans must be a list of words, not {str(bans)[:LONGEST_BAN]!r}.")
    if len(bans) > MOST_BANS:
        raise SettingsError(f"Bans can be {MOST_BANS} words at most, not {len(bans)}.")
    for ban in bans:
        if not isinstance(ban, str) or not ban.strip():
            raise SettingsError(f"Bans must be words, not {str(ban)[:LONGEST_BAN]!r}.")
        if len(ban) > LONGEST_BAN:
            raise SettingsError(f"A banned word can be {LONGEST_BAN} characters long at most, which “{ban[:30]}…” is not.")
    return tuple(ban.strip() for ban in bans)


HELP = {
    "sampler": "which masked tokens are revealed next",
    "schedule": "the noise schedule that says how many are due",
    "steps": "steps in which gaps are first written, at most; revising and choosing add theirs",
    "temperature": "0 is greedy; higher is more surprising",
    "top_p": "draw from the smallest set of tokens with this probability",
    "top_k": "draw from the k likeliest tokens; 0 is all",
    "choice": "deterministic, stochastic, or hybrid (drawn early, likeliest late)",
    "scores": "the order is judged by the model's own probabilities, or by the tempered ones that tokens are drawn from",
    "rounding": "the schedule's share in whole tokens: every_step (one at least), nearest, up or down",
    "block_length": "tokens in a semi-autoregressive block; 0 is no blocks",
    "guidance": "classifier-free guidance by the given text; 0 is off",
    "repetition": "nats taken from a token that would say again what stands nearby; 0 is off",
    "presence": "nats taken from a rare word that the fill says already; 0 is off",
    "words": "known: only words of the model's texts or the draft, and no signs like $ that the draft lacks; any: all",
    "refresh": "the whole text is read anew every so many steps; 1 is exact and slower",
    "revise": "rounds in which what fits least is taken back and written anew; 0 is none",
    "candidates": "fills written side by side; the one that reads best is kept, the others can be had instead",
    "window": "tokens of the draft that the model reads at once, if it can; more is slower",
    "remasking": "the chance, at most, that a written token is masked again in a step; 0 is never",
    "threshold": "threshold sampler: reveal what is at least this probable",
    "factor": "factor sampler: the larger, the more tokens are revealed at once",
    "entropy_bound": "entropy_bound sampler: the joint-error budget in nats",
    "seed": "the same seed gives the same fill",
    "bans": "words and phrases that are never written",
    "instruction": "what a model that answers people is told besides: how to write, who speaks, what must happen",
}
"""A line of help for each setting."""

_KINDS = {"instruction": "a text"}
"""What a setting holds whose type doesn't say it."""
ONLY_FOR = {"threshold": ("threshold",), "factor": ("factor",), "entropy_bound": ("entropy_bound",)}
"""Settings that mean something to certain samplers only."""

_GREEDY: dict[str, str | int | float] = {"choice": "deterministic"}
_WHOLE: dict[str, str | int | float] = {"choice": "stochastic", "temperature": 1.0, "top_p": 1.0}
_AS_NEEDED = 4096
"""Steps of a method that has no number of steps: one token at least is revealed in each."""

_METHODS: dict[str, dict[str, str | int | float]] = {
    "MDLM ancestral": {"sampler": "ancestral", "steps": 1000, **_WHOLE},
    "ReMDM cap": {"sampler": "ancestral", "remasking": 0.02, "steps": 1000, **_WHOLE},
    "LLaDA low-confidence remasking": {"sampler": "confidence", "rounding": "up", **_GREEDY},
    "LLaDA in blocks of 32": {"sampler": "confidence", "rounding": "up", "block_length": 32, **_GREEDY},
    "LLaDA random remasking": {"sampler": "random", "rounding": "up", **_GREEDY},
    "LLaDA with guidance": {"sampler": "confidence", "rounding": "up", "guidance": 1.5, **_GREEDY},
    "Fast-dLLM threshold": {"sampler": "threshold", "threshold": 0.9, "block_length": 32, "steps": _AS_NEEDED, **_GREEDY},
    "Fast-dLLM factor": {"sampler": "factor", "factor": 1.0, "block_length": 32, "steps": _AS_NEEDED, **_GREEDY},
    "Dream origin": {"sampler": "ancestral", "schedule": "linear_floor", **_WHOLE},
    "Dream maskgit_plus": {"sampler": "confidence", "schedule": "linear_floor", "rounding": "down", "scores": "tempered"},
    "Dream topk_margin": {"sampler": "margin", "schedule": "linear_floor", "rounding": "down", "scores": "tempered"},
    "Dream entropy": {"sampler": "entropy", "schedule": "linear_floor", "rounding": "down", "scores": "tempered"},
    "DreamOn": {"sampler": "entropy", "steps": 512, "scores": "tempered"},
    "dllm infill, linear": {"sampler": "confidence", "schedule": "linear", "rounding": "nearest", **_GREEDY},
    "dllm infill, cosine": {"sampler": "confidence", "schedule": "maskgit_cosine", "rounding": "nearest", **_GREEDY},
    "EB-Sampler": {"sampler": "entropy_bound", "entropy_bound": 0.5, "steps": _AS_NEEDED, **_WHOLE},
}
_UNPUBLISHED = {"repetition": 0.0, "presence": 0.0, "words": "any", "refresh": 1, "revise": 0, "candidates": 1}
"""What no published method does."""
PUBLISHED = {name: {**values, "guidance": values.get("guidance", 0.0), **_UNPUBLISHED} for name, values in _METHODS.items()}
"""Published methods, each as the settings that give it; what a method doesn't name is the default, or the writer's choice."""
