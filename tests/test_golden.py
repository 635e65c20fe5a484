"""The published networks' logits through the front door alone: `engine.load(folder)`, `model.logits`, nothing chosen.

The folders lie as their makers left them: config.json and model.safetensors, no tokenizer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import engine

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = ["bd3lm", "dream", "hf_albert", "hf_modernbert", "hf_roberta", "llada", "mdlm_dit", "mdlm_dit_timecond", "sedd"]
OUTPUT = {"bd3lm": ("sample_ids_", "sample_logits_"), "dream": ("ids_", "logits_shifted_"), "sedd": ("ids_", "log_score_")}
"""How the files call what went in and, in the sense of "this row predicts this position", what came out."""


@pytest.mark.parametrize("name", FOLDERS)
def test_logits_of_a_folder_as_it_lies(name: str, tmp_path: Path) -> None:
    for source in (GOLDEN / "mdlm_dit", GOLDEN / name) if name == "mdlm_dit_timecond" else (GOLDEN / name,):
        for file in ("config.json", "model.safetensors"):  # the two MDLMs have their weights in common
            if (source / file).exists():
                shutil.copy(source / file, tmp_path / file)
    model = engine.load(tmp_path, device="cpu")
    io = load_file(GOLDEN / name / "io.safetensors")
    given, expected = OUTPUT.get(name, ("ids_", "logits_"))
    cases = [key.removeprefix(given) for key in io if key.startswith(given)]
    assert len(cases) > 1
    for case in cases:
        ids = io[given + case]
        attend = io[f"attention_mask_{case}"].bool() if f"attention_mask_{case}" in io else torch.ones_like(ids, dtype=torch.bool)
        t = io.get(f"t_{case}")
        if f"sigma_{case}" in io and t is None:
            t = -torch.expm1(-io[f"sigma_{case}"].double()) / (1 - 1e-3)  # the inverse of sigma = -log(1 - (1 - 1e-3) t)
        ours = model.logits(ids, attend, t=t, attend=None if attend.all() else attend)
        torch.testing.assert_close(ours, io[expected + case][attend], rtol=0, atol=1e-4)
