"""What a writer tells an instruct model besides: before every canvas, as text, and never in the draft's room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from torch import Tensor

import engine
from app.service import Service
from engine import cli
from engine.backends import LoadError
from engine.backends.chat import REQUEST
from engine.canvas import Canvas
from engine.denoiser import Answers
from engine.draft import Draft
from engine.settings import LONGEST_INSTRUCTION, Settings, SettingsError
from tests.adapted import THINKS, make_a2d
from tests.checkpoints import CHAT, make_llada
from tests.page import desk, fill_sending, load_by_path, open_draft, serving

DRAFT = "It was [[6 tokens]] when the door opened."
TOLD = "A letter to a child <|eot|> 🙂 نعم; warm, and a little funny."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llada(tmp_path_factory.mktemp("told") / "LLaDA-tiny-Instruct", chat=CHAT, max_sequence_length=4096)


@pytest.fixture(scope="module")
def model(folder: Path) -> Answers:
    found = engine.load(folder, device="cpu", dtype="float32")
    assert isinstance(found, Answers) and found.answers
    return found


def filled(model: Answers, instruction: str = "") -> str:
    return list(engine.fill(model, DRAFT, Settings(steps=3, seed=4, instruction=instruction)))[-1].text


def test_it_stands_behind_the_request_and_is_read_as_text(model: Answers) -> None:
    ids, lead = model.frame([5, 6], starts=True, ends=True, instruction=TOLD)
    assert ids[lead:] == [5, 6] and model.decode(ids[:lead]) == f"user\n{REQUEST}\n\n{TOLD}assistant\n"
    plain, at = model.frame([5, 6], starts=True, ends=True)
    assert model.decode(plain[:at]) == f"user\n{REQUEST}assistant\n"
    special = set(ids) & set(model.suppressed)
    assert [ids.count(i) for i in sorted(special)] == [plain.count(i) for i in sorted(special)]


def test_it_changes_what_is_written_and_nothing_else(model: Answers) -> None:
    texts = {filled(model), filled(model, "Be brief."), filled(model, "Write about the sea, as a sailor would.")}
    assert len(texts) == 3 and all(text.startswith("It was ") and text.endswith(" when the door opened.") for text in texts)
    assert filled(model, "  Be brief.\n") == filled(model, "Be brief.")


def test_a_run_that_goes_on_from_another_is_told_it_too(model: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    frame = type(model).frame

    def heard(self: Answers, ids: list[int], *, starts: bool, ends: bool, instruction: str = "") -> tuple[list[int], int]:
        told.append(instruction)
        return frame(self, ids, starts=starts, ends=ends, instruction=instruction)

    first = next(iter(engine.fill(model, DRAFT, Settings(steps=3))))
    monkeypatch.setattr(type(model), "frame", heard)
    *_, last = engine.fill(model, DRAFT, Settings(steps=3, instruction="Be brief."), start=first.cells)
    assert last.text.startswith("It was ") and told[-1] == "Be brief."


def test_lengths_are_guessed_by_a_model_that_was_told(model: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands around the gap is cut off; what the model is told isn't."""
    seen: list[list[int]] = []
    logits = type(model).logits

    def heard(self: Answers, ids: Tensor, positions: Tensor, **more: Any) -> Tensor:
        seen.extend(ids.tolist())
        return logits(self, ids, positions, **more)

    monkeypatch.setattr(type(model), "logits", heard)
    draft = (
        "The lamp was lit again and the keeper slept. " * 40 + "It was [[]] when the door opened. " + "He had heard nothing of it. " * 40
    )
    next(iter(engine.fill(model, draft, Settings(instruction="Be brief."))))
    lead, _ = model.frame([], starts=False, ends=False, instruction="Be brief.")
    assert len(seen) > 1 and all(row[: len(lead)] == lead for row in seen)
    assert all(len(row) - len(lead) < 256 for row in seen)


@pytest.mark.parametrize("window", [64, 128, 512])
def test_a_window_is_for_the_draft_alone(model: Answers, window: int) -> None:
    for instruction in ("", "Be brief."):
        settings = Settings(window=window, instruction=instruction, steps=2)
        canvas = Canvas(model, Draft.parse(DRAFT), settings=settings)
        assert canvas.room == window
        *_, last = engine.fill(model, f"{'The old lamp. ' * 90}[[4: silver]] and then [[2]] so.", settings)
        assert " silver" in last.text and last.text.endswith(" so.")


def test_the_draft_keeps_its_room_as_long_as_the_model_can_read_more(model: Answers, folder: Path, tmp_path: Path) -> None:
    draft = Draft.parse(DRAFT)
    assert Canvas(model, draft, settings=Settings(instruction="Be brief. " * 20)).room == Canvas(model, draft).room
    small = engine.load(make_llada(tmp_path / "small-Instruct", chat=CHAT, max_sequence_length=300), device="cpu", dtype="float32")
    usual = Canvas(small, draft).room
    assert usual > Canvas(small, draft, settings=Settings(instruction="Be brief. " * 4)).room > usual - 80
    with pytest.raises(SettingsError, match="leaves small-Instruct no room for the draft; make it shorter"):
        list(engine.fill(small, DRAFT, Settings(instruction="Be brief. " * 90)))


@pytest.mark.parametrize("value", [5, None, ["Be brief."], True])
def test_it_is_a_text(value: object) -> None:
    with pytest.raises(SettingsError, match="instruction must be a text"):
        Settings.of({"instruction": value})


def test_it_is_no_novel() -> None:
    with pytest.raises(SettingsError, match=f"{LONGEST_INSTRUCTION} characters long at most"):
        Settings(instruction="x" * (LONGEST_INSTRUCTION + 1))


def test_a_template_that_leaves_it_out_is_said_so(tmp_path: Path) -> None:
    brief = make_llada(tmp_path / "brief-Instruct", chat="{{ messages[0].content[:4] }}")
    model = engine.load(brief, device="cpu", dtype="float32")
    with pytest.raises(LoadError, match="chat template of brief-Instruct has no place for an instruction"):
        list(engine.fill(model, DRAFT, Settings(instruction="Be brief.")))


def test_a_model_that_only_reads_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--model", "toy", "--instruction", "Be brief.", "It was [[2]] here."]) == cli.WRONG
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "takes no instruction" in said


def test_the_command_line_tells_it(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    options = ["--model", str(folder), "--device", "cpu", "--dtype", "float32", "--steps", "3", "--seed", "4", "--instruction", "Be brief."]
    assert cli.main([*options, DRAFT]) == 0
    model = engine.load(folder, device="cpu", dtype="float32")
    *_, last = engine.fill(model, DRAFT, Settings(steps=3, seed=4, instruction="Be brief."))
    assert capfdbinary.readouterr().out.decode() == last.text + "\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Service(engine.load, "toy")) as (address, _):
        yield address


def test_the_page_asks_for_it_where_a_model_answers(browser, url: str, tmp_path: Path) -> None:
    folder = make_a2d(tmp_path / "tiny-diffusion-mdlm", chat=THINKS, max_position_embeddings=2048)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "a2d-qwen3"
    with desk(browser, url) as page:
        open_draft(page, "It was [[2]] here.")
        field = page.get_by_label("Tell the model")
        expect(field).to_be_hidden()
        load_by_path(page, str(folder))
        page.keyboard.press("Escape")
        expect(field).to_be_visible()
        field.fill("Be brief, ${alert(1)} 🙂.")
        method = page.get_by_label("Method").input_value()
        assert fill_sending(page)["instruction"] == "Be brief, ${alert(1)} 🙂."
        page.reload()
        expect(field).to_have_value("Be brief, ${alert(1)} 🙂.")
        assert page.get_by_label("Method").input_value() == method
        load_by_path(page, "toy")
        page.keyboard.press("Escape")
        expect(field).to_be_hidden()
        assert fill_sending(page)["instruction"] == ""
