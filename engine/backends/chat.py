"""The chat frame of instruct models: what a model that answers people is told, so that it fills gaps.

A user turn asks for the missing parts, and the draft is the assistant's answer, its gaps masked. So the given text is what the model
has "written" so far, which is how these models were trained to see an answer that is half done.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cached_property
from pathlib import Path

from engine.backends.folder import Folder, LoadError
from engine.backends.hub_tokenizer import HubTokenizer

REQUEST = (
    "Some parts of a text are missing. Write the whole text with the missing parts filled in, so that they fit what stands before and "
    "after them in meaning, language and style. Answer with the text alone."
)
_PLACE = "\N{SYMBOL FOR RECORD SEPARATOR}"
"""Stands for an instruction while a template is rendered."""
MOST = 20_000
"""Characters that a rendered frame may have."""
SECONDS = 2
"""Of a processor; where a system can't count them, PATIENCE ends the process."""
PATIENCE = 10
MEMORY = 1 << 30
_INSTRUCT = re.compile(r"instruct|chat|llada-1\.5|diffusion-mdlm|[-_]it\b", re.IGNORECASE)
_PROGRAM = Path(__file__).with_name("chat_template.py")


class Chat:
    """What an instruct model reads before every canvas, as the template of its folder has it."""

    def __init__(self, template: str, tokenizer: HubTokenizer, name: str) -> None:
        """LoadError when the template can't be used."""
        self._template, self._tokenizer, self._name = template, tokenizer, name
        self._around: tuple[list[int], list[int]] | None = None
        """What stands before an instruction, and behind it."""
        self._plain = tokenizer.encode_marked(self._rendered(_asked(REQUEST)))

    def lead(self, instruction: str = "") -> list[int]:
        """Its tokens, with what a writer tells the model besides; LoadError when the template has no place for that."""
        if not instruction:
            return self._plain
        if self._around is None:
            before, *behind = self._rendered(_asked(f"{REQUEST}\n\n{_PLACE}")).split(_PLACE)
            if len(behind) != 1:
                raise LoadError(f"The chat template of {self._name} has no place for an instruction; leave it out.")
            self._around = self._tokenizer.encode_marked(before), self._tokenizer.encode_marked(behind[0])
        before_it, behind_it = self._around
        return [*before_it, *self._tokenizer.encode(instruction), *behind_it]  # a writer's words are never read as special tokens

    @cached_property
    def close(self) -> list[int]:
        """The tokens behind an answer; none where the template doesn't tell."""
        try:
            rendered = self._rendered([*_asked(REQUEST), {"role": "assistant", "content": _PLACE}], more=False)
        except LoadError:
            return []
        return self._tokenizer.encode_marked(rendered.rpartition(_PLACE)[2]) if _PLACE in rendered else []

    def _rendered(self, turns: list[dict[str, str]], *, more: bool = True) -> str:
        tokens = {f"{role}_token": self._tokenizer.literal(role) for role in ("bos", "eos", "pad", "unk", "mask")}
        return render(self._template, turns, tokens, self._name, more=more)


def chat_of(folder: Folder, tokenizer: HubTokenizer | None) -> Chat | None:
    """The chat frame of an instruct model; None for a base model.

    Base models are published with the same template, so the model's name decides. LoadError when the template can't be used.
    """
    names = f"{folder.name} {folder.config.get('_name_or_path', '')}"
    if tokenizer is None or not _INSTRUCT.search(names) or (template := _template(folder)) is None:
        return None
    return Chat(template, tokenizer, folder.name)


def _template(folder: Folder) -> str | None:
    """The chat template among a folder's files: in a file of its own, or a field of tokenizer_config.json."""
    if (text := folder.text("chat_template.jinja")) is not None:
        return text
    found = (folder.json("tokenizer_config.json") or {}).get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((one.get("template") for one in found if isinstance(one, dict) and one.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _asked(request: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": request}]


def render(template: str, turns: list[dict[str, str]], tokens: dict[str, str], name: str, *, more: bool) -> str:
    """The turns of a talk as a chat template writes them, with `more` up to where the next answer begins.

    The template is run in a process of its own, with limits on time, memory and output. LoadError when it fails or reaches one.
    """
    # Without `enable_thinking` Qwen3's template would have the answer begin with thoughts.
    values = {"messages": turns, "add_generation_prompt": more, "enable_thinking": False, **tokens}
    job = {"template": template, "values": values, "most": MOST, "memory": MEMORY, "seconds": SECONDS}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", str(_PROGRAM)]
    try:
        done = subprocess.run(command, input=json.dumps(job).encode(), capture_output=True, timeout=PATIENCE, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"The chat template of {name} does not come to an end; get the model's folder again.") from error
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] if done.returncode == 1 else []
        raise LoadError(
            f"The chat template of {name} can't be used ({reason[0] if reason else 'it takes too much'}); get the model's folder again."
        )
    return done.stdout.decode("utf-8")
