"""Marks and lengths as they are typed, input methods, small screens and colours that the system chooses; in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from app.editor import NO_START
from tests.page import (
    SlowToy,
    desk,
    draft,
    finished,
    gaps,
    masked,
    open_draft,
    press,
    put_caret,
    said,
    select,
    serving,
    text,
    visit,
    write,
)

HINT = "() => getComputedStyle(document.querySelector('.draft'), '::before').content"
LONG_GAP = "The light was [[12: the old brass lamp, an unlit candle, three broken windows; suddenly]]. So it was."


@pytest.fixture(scope="module")
def page(browser, url) -> Iterator[Page]:
    with desk(browser, url) as page:
        yield page


@pytest.fixture(scope="module")
def slow_url() -> Iterator[str]:
    with serving(lambda: SlowToy(0.2)) as (url, _):
        yield url


def saved(page: Page) -> str:
    """The draft with its marks, as it is saved."""
    with page.expect_download() as download:
        press(page, "Save draft")
    return download.value.path().read_text()


@pytest.mark.parametrize(
    "mark", ["[[~ dark and very {{quiet}}]]", "[[~so]]", "[[~ {{so, so}} and {{don’t}}, yes ]]", "[[~ \tdark; {{very}}\t]]"]
)
def test_a_passage_typed_by_hand_is_one_with_its_last_bracket(page: Page, mark: str):
    write(page, "Below, the sea was ")
    page.keyboard.type(mark + " that night.")
    expect(page.locator(".draft .rewrite")).to_have_count(1)
    made = saved(page)
    open_draft(page, f"Below, the sea was {mark} that night.")
    assert made == saved(page), "as the draft format reads it"
    write(page, "Below, ")
    page.keyboard.type(mark)
    page.keyboard.press("Control+z")
    assert text(page) == f"Below, {mark}"


def test_brackets_of_programs_stay_and_a_passage_with_escapes_is_offered(page: Page):
    write(page, "x")
    page.keyboard.type("[[~ a]] \\[[~ b]] [[~ ]] [[~ c {{d]] [[~ q{{so}}]]")
    assert page.locator(".draft .island").count() == 0
    write(page, "So ")
    page.keyboard.type(r"[[~ one \] two]]")
    said(page, "A mark is written here as plain text.")
    press(page, "Make a passage of it")
    expect(page.locator(".draft .rewrite")).to_have_text("one ] two")


def test_a_length_out_of_range_is_said_and_not_shown(page: Page):
    open_draft(page, "It was [[5-7]] so.")
    gaps(page).click()
    least, most = page.get_by_role("spinbutton", name="Number"), page.get_by_role("spinbutton", name="At most")
    for field, value in ((least, "3000"), (least, "0"), (least, "-4"), (least, ""), (most, "2001")):
        page.evaluate("document.querySelector('.say').textContent = ''")
        field.fill(value)
        field.press("Tab")
        said(page, "A gap has 1 to 2000 words or tokens.")
        expect(least).to_have_value("5")
        expect(most).to_have_value("7")
        assert text(page) == "It was [[5-7]] so."
    most.fill("9000")
    most.press("Enter")
    expect(most).to_be_visible()
    expect(most).to_have_value("7")
    most.fill("9")
    most.press("Enter")
    expect(most).to_be_hidden()
    assert text(page) == "It was [[5-9]] so."
    gaps(page).click()
    held = page.get_by_label("Must hold")
    held.fill("lamp, -")
    held.press("Enter")
    said(page, "What a gap must hold needs a letter or a digit, on both sides of | too.")
    expect(held).to_have_value("")
    held.fill("lamp")
    held.press("Enter")
    assert text(page) == "It was [[5-9: lamp]] so."
    press(page, "Undo")
    assert text(page) == "It was [[5-9]] so."


def test_a_setting_out_of_range_is_said_and_what_is_the_same_as_a_dial_says_so(page: Page):
    page.get_by_text("Advanced").click()
    field = page.get_by_role("spinbutton", name="Candidates")
    before = field.input_value()
    for value in ("65", ""):
        page.evaluate("document.querySelector('.say').textContent = ''")
        field.fill(value)
        field.press("Enter")
        said(page, "Candidates goes from 1 to 64.")
        expect(field).to_have_value(before)
    expect(page.locator(".advanced")).to_contain_text("the same as Care above")
    expect(page.locator(".advanced")).to_contain_text("the same as Variety above")
    page.get_by_text("Advanced").click()


def test_what_is_shortened_is_not_cut_in_an_emoji(page: Page):
    write(page, "🙂" * 70)
    page.keyboard.press("Control+a")
    press(page, "Gap")
    gaps(page).click()
    expect(page.get_by_role("dialog", name="Gap").locator("q")).to_have_text("🙂" * 60 + "…")
    press(page, "Put back")
    press(page, "Drafts")
    page.get_by_role("menuitem", name="An empty page").click()
    press(page, "Drafts")
    expect(page.locator("[role=menuitem]:not([aria-label])", has_text="🙂")).to_contain_text("🙂" * 60 + "…")
    page.keyboard.press("Escape")


def test_a_second_ctrl_m_opens_the_new_gaps_window(page: Page):
    open_draft(page, "First [[2]] gap. Now some words here and [[3]] the last.")
    select(page, "some")
    page.keyboard.press("Control+m")
    said(page, "press Ctrl+M again")
    page.keyboard.press("Control+m")
    expect(page.get_by_role("dialog", name="Gap")).to_contain_text("Was: some")
    expect(page.get_by_role("radio", name="auto")).to_be_focused()
    page.keyboard.press("Escape")
    put_caret(page, "and ")
    page.keyboard.press("Control+m")  # the caret stands before that one
    expect(page.get_by_role("spinbutton", name="Number")).to_have_value("3")
    assert text(page) == "First [[2]] gap. Now [[]] words here and [[3]] the last."


def test_an_input_method_takes_the_hint_away_and_undo_goes_back_to_where_it_wrote(page: Page):
    write(page, "")
    keyboard = page.context.new_cdp_session(page)

    def compose(letters: str) -> None:
        keyboard.send("Input.imeSetComposition", {"text": letters, "selectionStart": len(letters), "selectionEnd": len(letters)})

    assert "Write or paste" in page.evaluate(HINT)
    compose("hel")
    assert "Write or paste" not in page.evaluate(HINT)
    compose("")
    assert "Write or paste" in page.evaluate(HINT)
    keyboard.send("Input.insertText", {"text": "alpha beta gamma"})
    put_caret(page, "alpha ")
    compose("x")
    keyboard.send("Input.insertText", {"text": "XX"})
    assert text(page) == "alpha XXbeta gamma"
    press(page, "Undo")
    page.keyboard.type("^")
    assert text(page) == "alpha ^beta gamma"


def test_a_page_that_a_browser_can_not_run_says_so(browser, url):
    page = browser.new_page()
    page.route("**/lacuna/static/run.js", lambda route: route.fulfill(body="class {", content_type="text/javascript"))
    page.goto(url)
    expect(page.locator(".lacuna")).to_have_text(NO_START)
    page.close()


@pytest.mark.parametrize(("width", "dark"), [(320, False), (390, True)])
def test_a_gap_with_long_keywords_fits_a_phone(new_page, slow_url, width: int, dark: bool):
    page = new_page(width=width, height=800, dark=dark)
    visit(page, slow_url)
    page.get_by_role("button", name="More").click()
    open_draft(page, LONG_GAP)
    fits = "(card) => card.scrollWidth <= card.clientWidth"
    assert page.locator(".card").evaluate(fits)
    chip = gaps(page)
    assert chip.get_attribute("aria-label") == "Length: 12 words · the old brass lamp, an unlit candle, three broken windows · 1 banned"
    assert chip.get_attribute("data-label") == "12 words · the old brass lamp, an u… · 1 banned"
    edge = page.locator(".draft").evaluate("(draft) => draft.getBoundingClientRect().right")
    assert all(box["right"] <= edge for box in chip.evaluate("(chip) => [...chip.getClientRects()].map(({ right }) => ({ right }))"))
    chip.click()
    expect(page.get_by_role("dialog", name="Gap")).to_be_visible()
    assert page.locator(".card").evaluate("(card) => card.scrollLeft") == 0
    page.keyboard.press("Escape")
    press(page, "Fill")
    said(page, "to go")
    press(page, "Stop")
    finished(page)
    assert page.locator(".card").evaluate(fits)


def test_what_is_open_chosen_or_picked_shows_in_the_systems_colours(new_page, slow_url):
    page = new_page()
    page.emulate_media(forced_colors="active")
    visit(page, slow_url)
    open_draft(page, "It was [[5]] so.")
    gaps(page).click()
    look = "(node, part) => { const { color, backgroundColor } = getComputedStyle(node, part); return [color, backgroundColor]; }"
    chosen, other = (page.locator(".segmented label", has_text=name).locator("span").evaluate(look) for name in ("words", "tokens"))
    assert chosen[0] != other[0] and chosen[1] != other[1]
    press(page, "Fill")
    said(page, "to go")
    assert masked(page).first.evaluate(look, "::before")[0] == "rgba(0, 0, 0, 0)", "what holds the room of a word is not to be read"
    assert masked(page).first.evaluate("(cell) => getComputedStyle(cell).outlineStyle") == "dashed"
    finished(page)
    page.locator(".cell").first.dblclick()
    plain, picked = (page.locator(f".cell{name}").first.evaluate(look)[1] for name in (":not(.picked)", ".picked"))
    assert plain != picked


def test_a_draft_whose_text_is_all_replaced_is_another_draft_and_undo_gives_the_name_back(page: Page):
    open_draft(page, "The lamp was low.")
    title = page.locator(".title")
    name = title.inner_text()
    assert name.startswith("draft ")
    draft(page).click()
    page.keyboard.press("End")
    page.keyboard.insert_text(" So it was.")
    expect(title).to_have_text(name)
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("Another")
    expect(title).to_have_text("Untitled")
    page.keyboard.press("Control+z")
    expect(title).to_have_text(name)
    page.keyboard.press("Control+Shift+z")
    expect(title).to_have_text("Untitled")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+a")
    press(page, "Rewrite")  # the same text, marked
    expect(title).to_have_text(name)
