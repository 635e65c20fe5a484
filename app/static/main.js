// The page: builds the parts, gives them each other, and owns what they share: the commands and the messages.
import { behind, Draft, fragmentOf, isFilled, islandText, moved } from "./document.js";
import { button, el } from "./dom.js";
import { buildFiles } from "./files.js";
import { buildHelp } from "./help.js";
import { composes, installKeys } from "./keys.js";
import { marks } from "./marks.js";
import { ModelWatch } from "./model.js";
import { buildPanel } from "./panel.js";
import { makeRoomForKeyboard } from "./phone.js";
import { buildPicker } from "./picker.js";
import { installPicks } from "./picks.js";
import { installPopovers } from "./popover.js";
import { Runs } from "./run.js";
import { fromSegments, toPlainText } from "./segments.js";
import { openStore, packed, unpacked } from "./store.js";
import { buildTimeline } from "./timeline.js";
import { buildTools } from "./tools.js";
import { installTyping } from "./typing.js";
import { View } from "./view.js";
import { writtenMarks } from "./written.js";

export async function mount(element, facts) {
  const root = element.querySelector(".lacuna");
  const draft = new Draft();
  const page = { root, draft, commands: {} };
  const saved = el("span", { class: "saved" });
  const titleShown = button("Name", () => nameDraft(), { label: "", class: "title", hint: "Give the draft another name" });
  page.title = () => draft.title;
  const store = await openStore(() => ({ title: draft.title, lines: packed(draft.lines) }), (state, problem = "") => {
    saved.textContent = saved.dataset.state = state;
    if (problem) page.fail(problem);
  });

  // ---- messages
  /** Say something; with `act`, a button after it that does what `label` says. */
  const offered = (label, act) => (act ? [" ", button(label, act, { class: "quiet" })] : []);
  page.say = (text, label = "", act = null) => {
    page.timeline.speak();
    page.timeline.say.replaceChildren(text, ...offered(label, act));
  };
  page.fail = (text, place = null, label = "", act = null) => {
    const at = page.view?.islandElement(place?.id);
    const here = place?.line && !at ? ` (line ${place.line}, column ${place.column})` : "";
    page.timeline.speak("failed");
    const told = text.replace(/\.?$/, `${here}.`).replace(/\?\.$/, "?");
    page.timeline.say.replaceChildren(told, ...offered(label, act));
    if (at?.isConnected) {
      at.classList.add("mistaken"); // until it is drawn anew
      at.scrollIntoView({ block: "nearest" });
    } else if (place?.line) page.view.row(Math.min(place.line, draft.lines.length) - 1)?.scrollIntoView({ block: "nearest" });
  };

  // ---- the parts
  const editor = el("div", { class: "draft", role: "textbox", "aria-label": "Draft", "aria-multiline": "true", tabindex: 0, spellcheck: "true", translate: "no",
    "data-empty": "Write or paste here. Select words and press Gap, or type ___, where Lacuna shall write." });
  editor.contentEditable = "true";
  try { editor.contentEditable = "plaintext-only"; } catch { /* an older browser keeps "true"; every edit is ours anyway */ }
  page.view = new View(draft, editor);
  page.runs = new Runs(page);
  page.view.isWriting = (fill) => page.runs.isWriting(fill);
  page.panel = buildPanel(page, facts);
  const picker = buildPicker(page);
  const model = new ModelWatch(page, picker.open);
  picker.follow(model);
  page.reasonNotToFill = () => model.reason() || (page.runs.live ? "A run is going on" : "");
  page.modelName = () => model.model?.name ?? "";
  /** The panel as a sheet over the rest, which can't be reached meanwhile. */
  const setSheet = (open) => {
    root.classList.toggle("sheet", open);
    for (const part of [header, paper, page.dock]) part.inert = open;
    (open ? page.panel.root.querySelector(".sheet-closer") : page.panelButton).focus({ preventScroll: true });
  };
  page.panelButton = button("How", () => setSheet(true), { label: "", shape: "dials", hint: "How to fill", class: "sheet-opener" });
  page.closeSheet = () => setSheet(false);
  addEventListener("resize", () => { if (root.classList.contains("sheet") && !page.panelButton.offsetParent) page.closeSheet(); }); // it has room now
  page.timeline = buildTimeline(page);
  page.dock = page.timeline.root;
  page.card = el("section", { class: "card", "aria-label": "Page" }, editor);
  const legend = el("div", { class: "legend", "aria-hidden": "true", hidden: true }, "less sure", ...[1, 2, 3, 4].map((step) => el("i", { class: `c${step}` })), "surer");
  /** The focus goes to the draft, but where that would bring up a keyboard on the screen. */
  page.toDraft = () => { if (!matchMedia("(pointer: coarse)").matches) editor.focus({ preventScroll: true }); };
  page.selection = () => page.view.selection() ?? page.lastSelection ?? null;
  Object.assign(page.commands, marks(page), {
    fill: () => { if (!page.reasonNotToFill()) page.runs.start(); },
    undo: () => travel("undo"),
    redo: () => travel("redo"),
    reopen(id) {
      const island = draft.find(id)?.island;
      if (!island) return;
      const former = island.fill ? island.fill.asked ?? { ...island, fill: null } : island.asked;
      if (former) draft.swap(id, { ...former, id });
    },
    /** Show another candidate. */
    exchange(id, cells) {
      const { island } = draft.find(id);
      const { fill } = island;
      const versions = fill.versions.length || fill.earlier.every((other) => other !== cells) ? fill.versions : [fill.cells]; // it stays there to go back to
      draft.swap(id, { ...island, fill: { ...fill, cells, versions, shown: null, step: 0, near: false } });
    },
    keepAll() {
      const start = { line: 0, offset: 0 };
      let { from, to } = page.selection() ?? { from: start, to: start };
      draft.group(() => {
        for (const { island } of draft.islands().reverse()) {
          if (!isFilled(island)) continue;
          const { at } = draft.find(island.id);
          const after = draft.replace(at, behind(at), fragmentOf(islandText(island)));
          [from, to] = [from, to].map((place) => moved(place, at, after));
        }
      });
      page.view.caret(to, from); // the button that had the focus is gone
      page.say("Kept: the words are yours now, as plain text.");
    },
  });
  page.written = writtenMarks(page);
  function travel(way) {
    page.popover.close(); // its fields would show what was undone
    if (draft.crosses(way)) store.leave(ofOnesOwn());
    const caret = draft[way]();
    if (!caret) return page.say(way === "undo" ? "Nothing to undo." : "Nothing to redo.");
    page.view.caret(caret);
  }
  const tools = (page.tools = buildTools(page, buildFiles(page, facts.examples)));
  installTyping(page);
  page.popover = installPopovers(page);
  installPicks(page);
  installKeys(page);
  makeRoomForKeyboard(page);

  /** For a talk: the draft in large type and the dock alone. */
  page.present = (on) => {
    root.classList.toggle("present", on);
    presents.lastChild.textContent = on ? "Leave" : "Present";
    presents.setAttribute("aria-pressed", `${on}`);
    page.popover.close();
  };
  const presents = button("Present", () => page.present(!root.classList.contains("present")), { class: "presents", hint: "The draft in large type and the run, for a talk (Esc ends it)", "aria-pressed": "false" });
  const help = buildHelp();
  const header = el("header", { class: "top" }, el("span", { class: "mark", role: "img", "aria-label": "Lacuna" }, "L", el("b"), "cuna"),
    el("div", { class: "about" }, titleShown, saved), model.chip, presents, button("Help", help.open, { label: "?", class: "helper", hint: "What is what, and what keys do" }));
  const paper = el("div", { class: "sheet-of-paper" }, tools.bar, page.card, legend);
  root.replaceChildren(header,
    el("div", { class: "desk" }, paper, el("div", { class: "scrim", onclick: page.closeSheet }), el("aside", {}, page.panel.root)),
    page.dock, page.popover.root, tools.floating, picker.root, help.root);

  // ---- the document's life
  /** Something is in hand that can't be had again by choosing an example. */
  const ofOnesOwn = () => {
    const here = JSON.stringify(packed(draft.lines));
    return toPlainText(draft.lines).trim() !== "" && facts.examples.every(({ segments }) => JSON.stringify(packed(fromSegments(segments))) !== here);
  };
  const AFTER = { kept: " What was here is kept: see Drafts.", lost: " What was here can't be kept in the browser: Undo brings it back." };
  /** Another draft takes the place of this one; `opened` says so, with a button where it has a `label`; `key` is that of a kept one. */
  page.load = (lines, name, opened, { key, label = "", act = null } = {}) => {
    page.popover.close();
    page.runs.forget();
    const own = ofOnesOwn();
    const left = own || key ? store.leave(own, key) : "";
    draft.load(lines, name);
    getSelection().removeAllRanges(); // else all of it would be selected if all of the other was
    page.card.scrollTop = 0;
    page.say(opened + (AFTER[left] ?? ""), label, act);
  };
  const drawTitle = () => {
    titleShown.textContent = draft.title || "Untitled";
    titleShown.setAttribute("aria-label", `Name: ${titleShown.textContent}`);
    document.title = draft.title ? `${draft.title} · Lacuna` : "Lacuna";
  };
  /** The name becomes a field until it is left; Escape leaves it as it was. */
  function nameDraft() {
    const field = el("input", { type: "text", class: "title", "aria-label": "Name of the draft", value: draft.title, maxlength: 120,
      onblur: () => {
        field.replaceWith(titleShown);
        if (field.value.trim() !== draft.title) draft.rename(field.value.trim());
      },
      onkeydown: (event) => {
        if (composes(event) || !["Enter", "Escape"].includes(event.key)) return;
        event.preventDefault();
        event.stopPropagation();
        if (event.key === "Escape") field.value = draft.title;
        field.blur();
        titleShown.focus({ preventScroll: true });
      } });
    titleShown.replaceWith(field);
    field.focus({ preventScroll: true });
    field.select();
  }
  page.otherDrafts = store.others;
  page.removeDraft = store.remove;
  /** Another text is about to take the place of all of this one. */
  page.setAside = () => {
    const left = store.leave(ofOnesOwn());
    if (left === "kept") page.say(AFTER.kept.trim());
  };
  const drawMarks = () => {
    tools.draw();
    legend.hidden = !draft.islands().some(({ island }) => island.fill); // nothing is tinted
  };
  page.changed = () => { store.touch(); drawMarks(); };
  const begun = store.found;
  const [example] = facts.examples;
  if (begun) draft.begin(unpacked(begun.lines), begun.title);
  else draft.begin(fromSegments(example?.segments ?? []), example?.title ?? "");
  drawTitle();
  draft.addEventListener("splice", page.changed);
  draft.addEventListener("history", () => { page.changed(); drawTitle(); });
  page.runs.addEventListener("state", drawMarks);
  drawMarks();
  const follow = () => {
    page.timeline.drawState();
    if (model.model?.state !== "ready") return;
    page.panel.recommend(model.model.recommended);
    page.panel.answers = model.model.answers;
  };
  model.addEventListener("change", follow);
  follow();
  if (store.problem) page.fail(store.problem);
  else page.say(store.isCopy ? "This draft is open in another tab: here is a copy of it." : begun ? "Your draft is as you left it." : "Press Fill, and the model writes the gaps. To make one of your own, select words and press Gap.");
  root.dataset.ready = "true";
}
