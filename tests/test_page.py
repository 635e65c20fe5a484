"""Writing on the page: typing, pasting, marks, undo, opening and keeping a draft; in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest
from playwright.sync_api import Page, expect

import engine
from app.banned import NEVER_WRITTEN
from tests.page import (
    choose_file,
    desk,
    draft,
    fill,
    fill_sending,
    gaps,
    open_draft,
    paste,
    press,
    put_caret,
    said,
    select,
    text,
    undo_to,
    visit,
    write,
)

HOSTILE = '<img src=x onerror="window.hit=1"> ${window.hit=2} {{window.hit}} {{#if}} [[3]] [[~ a {{b}}]] ___ <script>window.hit=3</script>'


@pytest.fixture(scope="module")
def page(browser, url) -> Iterator[Page]:
    with desk(browser, url) as page:
        yield page


def test_first_visit_shows_an_example_with_gaps(new_page, url):
    page = new_page()
    visit(page, url)
    assert gaps(page).count() >= 3
    assert page.locator(".draft .island.rewrite").count() == 1
    expect(page.get_by_role("status", name="Model")).to_contain_text("toy")
    for name in ("Fill", "Stop", "Gap", "Rewrite", "Pin", "Undo", "Redo", "Play"):
        assert page.get_by_role("button", name=name).count() == 1, name
    assert page.get_by_role("slider", name="Step").count() == 1


def test_words_selected_with_the_mouse_become_a_gap_and_come_back(page):
    write(page, "The old house was very quiet at night.")
    select(page, "house was very")
    page.locator(".floating").get_by_text("Gap").click()
    assert text(page) == "The old [[]] quiet at night."
    gaps(page).click()
    page.get_by_role("radio", name="words").check()
    assert text(page) == "The old [[3]] quiet at night."
    page.get_by_role("spinbutton", name="Number").fill("12")
    page.get_by_role("radio", name="tokens").check()
    assert text(page) == "The old [[12 tokens]] quiet at night."
    press(page, "Put back")
    assert text(page) == "The old house was very quiet at night."


def test_a_gap_of_between_n_and_m_words_or_tokens(page):
    open_draft(page, "The old [[2-4]] was quiet.")
    gaps(page).click()
    low, high = page.get_by_role("spinbutton", name="Number"), page.get_by_role("spinbutton", name="At most")
    expect(low).to_have_value("2")
    expect(high).to_have_value("4")
    high.fill("12")
    page.get_by_role("radio", name="tokens").check()
    assert text(page) == "The old [[2-12 tokens]] was quiet."
    low.fill("20")
    low.press("Tab")
    assert text(page) == "The old [[12-20 tokens]] was quiet."
    high.fill("")
    high.press("Tab")
    assert text(page) == "The old [[12 tokens]] was quiet."
    low.fill("3000")
    low.press("Enter")
    assert text(page) == "The old [[12 tokens]] was quiet.", "more than a gap may have"
    gaps(page).click()
    page.get_by_role("radio", name="auto").check()
    expect(high).to_be_disabled()
    assert text(page) == "The old [[]] was quiet."
    undo_to(page, "The old [[2-4]] was quiet.")


def test_a_published_method_is_its_settings_and_only_what_matters_is_shown(page):
    write(page, "The old ")
    page.keyboard.type("___ ")
    page.get_by_text("Advanced", exact=True).click()
    panel, method = page.get_by_role("region", name="How to fill"), page.get_by_label("Method")
    expect(panel.get_by_label("Threshold")).to_be_hidden()
    expect(panel.get_by_label("Top-p")).to_be_visible()
    assert method.locator("option").all_inner_texts()[1:-1] == list(engine.PUBLISHED)
    for name in ("LLaDA in blocks of 32", "Fast-dLLM factor", "Dream entropy"):
        values = engine.PUBLISHED[name]
        method.select_option(name)
        sent = fill_sending(page)
        assert sent == {**asdict(engine.Settings()), **values, "seed": sent["seed"], "bans": list(NEVER_WRITTEN)}, name
        assert page.locator(".say.failed").count() == 0, name
    method.select_option("Fast-dLLM threshold")
    for setting, shown in (("Threshold", True), ("Factor", False), ("Entropy bound", False), ("Top-p", False), ("Block length", True)):
        expect(panel.get_by_label(setting, exact=True)).to_be_visible(visible=shown)
    expect(panel.get_by_label("Sampler")).to_have_accessible_description(
        "Everything that is likely enough at once, and always at least what is due."
    )
    panel.get_by_label("Block length").fill("16")
    panel.get_by_label("Block length").press("Tab")
    expect(method).to_have_value("your own mix")
    page.reload()
    visit(page, page.url)
    expect(method).to_have_value("your own mix")
    page.get_by_text("Advanced", exact=True).click()
    press(page, "Reset to defaults")
    expect(method).to_have_value("Lacuna’s own")


FUNCTION = """\
def area(width, grid=[[1, 2], [3, 4]]):
    \"\"\"Say how much there is; ___ is not a gap here.\"\"\"
    if width > 0:
    \tcells = {"a": [width * grid[0][1], (3, "x")]}  # tab and spaces

        return cells["a"][0]
    return None
"""


def test_a_python_function_keeps_its_indentation_and_brackets(new_page, url):
    page = new_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit(page, url)
    write(page, "")
    paste(page, FUNCTION)
    assert text(page) == FUNCTION
    select(page, "width * grid[0][1]")
    press(page, "Gap")
    fill(page)
    press(page, "Copy text")
    said(page, "Copied.")
    before, after = FUNCTION.split("width * grid[0][1]")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(before) and copied.endswith(after)
    assert len(copied) > len(before) + len(after)
    draft(page).click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()") == copied, "by hand or by the button: the same words"
    with page.expect_download() as saved:
        press(page, "Save draft")
    assert saved.value.path().read_bytes().decode() == str(engine.Draft((before, engine.Gap(), after)))


def test_keyboard_marks_and_undo_redo(page):
    write(page, "One two three four.")
    select(page, "two")
    page.keyboard.press("Control+m")
    assert text(page) == "One [[]] three four."
    page.keyboard.press("Control+z")
    assert text(page) == "One two three four."
    press(page, "Redo")
    assert text(page) == "One [[]] three four."
    press(page, "Undo")
    select(page, "three four")
    press(page, "Rewrite")
    page.locator(".rewrite .word", has_text="four").click()
    expect(page.locator(".rewrite .word.pinned")).to_have_text("four")
    select(page, "three")
    press(page, "Pin")
    assert page.locator(".rewrite .pinned").all_inner_texts() == ["three", " ", "four"]


def test_three_underscores_become_a_gap_and_undo_gives_them_back(page):
    write(page, "It was ")
    page.keyboard.type("___")
    assert text(page) == "It was [[]]"
    page.keyboard.type(" when")
    assert text(page) == "It was [[]] when"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert text(page) == "It was ___"
    write(page, "the name snake")
    page.keyboard.type("___case__")
    assert text(page) == "the name snake___case__"


def test_a_length_typed_in_brackets_is_a_gap_and_brackets_of_programs_are_not(page):
    write(page, "It was ")
    page.keyboard.type("[[5-12]] when [[3 tokens]], [[]]")
    assert [mark.text_content() for mark in gaps(page).all()] == ["[[5-12]]", "[[3 tokens]]", "[[]]"]
    write(page, "x")
    page.keyboard.type("[[1]] + [[5-2]] + \\[[2]] + [[1],[2]] + [[3;]] + [[3; a,]] + [[3; a; b]] + [[3:]] + [[3: a, -]]")
    assert gaps(page).count() == 0
    write(page, "It was ")
    page.keyboard.type("[[3-6; very, nice]] and [[; ever so]], [[: old lamp]] and [[4 tokens: I; he]]")
    assert [mark.text_content() for mark in gaps(page).all()] == [
        *("[[3-6; very, nice]]", "[[; ever so]]"),
        *("[[: old lamp]]", "[[4 tokens: I; he]]"),
    ]
    write(page, "It was ")
    page.keyboard.type("[[3 words]] and [[1 token]] and [[2–4]]")
    assert [mark.text_content() for mark in gaps(page).all()] == ["[[3]]", "[[1 tokens]]", "[[2-4]]"]


def test_pasted_marks_are_offered_to_be_made_gaps(page):
    pasted = "It [[2-3]] and\n[[~ some {{words}}]]."
    write(page, "He said: ")
    paste(page, pasted)
    said(page, "2 marks are written here as plain text.")
    press(page, "Fill")  # there is nothing else to fill: the offer stands
    press(page, "Make gaps of them")
    assert text(page) == "He said: It [[2-3]] and\nsome words."
    press(page, "Undo")
    assert text(page) == f"He said: {pasted}"
    write(page, "A line.\n[[3 and no end")
    press(page, "Fill")
    expect(page.locator(".say.failed")).to_contain_text("line 2, column 4")


def test_pasted_text_is_literal(page):
    write(page, "Before ")
    paste(page, HOSTILE + "\nsecond line")
    page.keyboard.type(" after")
    assert text(page) == f"Before {HOSTILE}\nsecond line after"
    assert gaps(page).count() == 0
    page.reload()
    visit(page, page.url)
    assert text(page) == f"Before {HOSTILE}\nsecond line after"
    press(page, "Copy text")
    assert page.locator(".draft img, .draft script, .draft b").count() == 0
    assert page.evaluate("window.hit") is None


def test_a_literal_draft_survives_saving_and_opening(page):
    content = HOSTILE + "\r\n\r\ttab, 👩‍👩‍👧 e\u0301, مرحبا بالعالم\r\n"
    write(page, "x")
    page.keyboard.press("Backspace")
    paste(page, content)
    put_caret(page, "tab,")
    press(page, "Gap")
    with page.expect_download() as saved:
        press(page, "Save draft")
    content = saved.value.path().read_bytes().decode()
    assert "tab,[[]] 👩‍👩‍👧 e\u0301, مرحبا بالعالم\r\n" in content
    before = text(page)
    press(page, "Drafts")
    page.get_by_role("menuitem", name="An empty page").click()
    assert text(page) == ""
    choose_file(page, content, "mine.txt")
    expect(page.locator(".title")).to_have_text("mine")
    assert text(page) == before
    assert gaps(page).count() == 1


def test_a_file_with_a_mistake_is_refused_with_its_place_and_nothing_is_lost(page):
    write(page, "Mine.")
    choose_file(page, "First line.\nThen [[0]] words.", "bad.txt")
    said(page, "bad.txt, line 2, column")
    assert text(page) == "Mine."


def test_typing_deleting_and_line_breaks_around_marks(page):
    open_draft(page, "Start [[]] middle [[2]]")
    put_caret(page, " mid")
    page.keyboard.press("End")
    page.keyboard.type("!")
    assert text(page) == "Start [[]] middle [[2]]!"
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    assert text(page) == "Start [[]] middle "
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.type("New 👩‍👩‍👧é")
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    assert text(page) == "Start [[]] middle \n\nNew "
    page.keyboard.press("Control+Backspace")
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    assert text(page) == "Start [[]] middle "
    page.keyboard.press("Home")
    page.keyboard.press("Delete")
    assert text(page) == "tart [[]] middle "
    page.keyboard.press("Control+a")
    page.keyboard.type("All gone")
    assert text(page) == "All gone"
    undo_to(page, "Start [[]] middle [[2]]")


def test_cut_and_paste_carry_marks_within_lacuna(page):
    open_draft(page, "One [[3]] two.")
    put_caret(page, "One")
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+x")
    assert text(page) == ""
    page.keyboard.press("Control+v")
    assert text(page) == "One [[3]] two."


def test_another_draft_can_be_undone(page):
    write(page, "Nearly lost.")
    press(page, "Drafts")
    page.get_by_role("menuitem").first.click()
    assert gaps(page).count() >= 3
    press(page, "Undo")
    assert text(page) == "Nearly lost."


def test_an_input_method_writes_beside_a_gap(page):
    open_draft(page, "Say [[2]] now")
    put_caret(page, " now")
    keyboard = page.context.new_cdp_session(page)
    for part in ("に", "にほ", "にほん"):
        keyboard.send("Input.imeSetComposition", {"text": part, "selectionStart": len(part), "selectionEnd": len(part)})
    keyboard.send("Input.insertText", {"text": "日本"})
    page.keyboard.type("!")
    assert text(page) == "Say [[2]] now日本!"
    assert gaps(page).count() == 1
    undo_to(page, "Say [[2]] now")


def test_two_tabs_keep_their_own_drafts(new_page, url):
    first = new_page()
    visit(first, url)
    write(first, "Written in the first tab.")
    expect(first.locator(".saved")).to_have_text("saved")
    second = first.context.new_page()
    visit(second, url)
    assert text(second) == "Written in the first tab."
    write(second, "Written in the second.")
    expect(second.locator(".saved")).to_have_text("saved")
    for page, words in ((first, "Written in the first tab."), (second, "Written in the second.")):
        page.bring_to_front()
        page.reload()
        visit(page, url)
        assert text(page) == words


def test_a_novel_can_be_pasted_and_typed_in(page):
    def milliseconds_a_key() -> float:
        times = page.evaluate(
            """async () => {
                const times = [];
                for (const key of "Twenty keys typed at the end of it all.") {
                    const start = performance.now();
                    document.execCommand("insertText", false, key);
                    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                    times.push(performance.now() - start);
                }
                return times.sort((a, b) => a - b);
            }"""
        )
        return times[len(times) // 2]

    novel = "\n\n".join("The river went on under the bridge and nobody counted the boats that night. " * 5 for _ in range(1500))
    assert len(novel.split()) > 100_000
    write(page, "x")
    alone = milliseconds_a_key()
    write(page, "x")
    paste(page, novel)
    put_caret(page, "nobody counted")
    assert milliseconds_a_key() < 6 * alone, "a key in a novel takes not much longer to the next frame than one on an empty page"
    assert page.evaluate("document.querySelector('.draft').textContent.length") > 500_000


@pytest.mark.parametrize("dark", [False, True])
def test_phone_width_has_no_sideways_scroll(new_page, url, dark):
    page = new_page(phone=True, dark=dark)
    visit(page, url)
    page.get_by_role("button", name="Fill").tap()
    expect(page.locator(".draft .ink").first).to_be_visible()
    page.wait_for_function("() => document.querySelector('.dock').dataset.run === 'idle'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("Fill", "Gap", "Rewrite", "Pin", "Undo"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box["height"] >= 40 and box["width"] >= 40, name
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, name
    variety = page.get_by_role("slider", name="Variety")
    for way_out in (lambda: page.touchscreen.tap(195, 120), page.get_by_role("button", name="Close").tap):
        page.get_by_role("button", name="How").tap()
        expect(variety).to_be_visible()
        way_out()
        expect(variety).to_be_hidden()


def test_nothing_is_asked_of_another_machine(new_page, url):
    page = new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, url)
    press(page, "Fill")
    expect(page.locator(".draft .ink").first).to_be_visible()
    elsewhere = [address for address in asked if not address.startswith((url, "data:", "blob:"))]
    assert len(asked) > 10
    assert elsewhere == []
