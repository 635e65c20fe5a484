// The buttons over the draft, and the small bar that comes up beside a selection.
import { isFilled } from "./document.js";
import { button, el, keys } from "./dom.js";

const APART = 6; // pixels between the small bar and what is selected

export function buildTools(page, files) {
  const { commands, draft, view, runs } = page;
  const make = (name, act, hint, more = {}) => button(name, act, { hint: keys(hint), shape: name.toLowerCase(), ...more });
  const undo = make("Undo", () => travel(undo, redo, commands.undo), "Undo (Ctrl+Z)", { label: "" });
  const redo = make("Redo", () => travel(redo, undo, commands.redo), "Redo (Ctrl+Shift+Z)", { label: "" });
  /** The draft takes the focus; a button that had it gets it back, or its neighbour: else the next Enter would be typed. */
  function travel(own, other, act) {
    const had = document.activeElement === own;
    act();
    if (had) (own.disabled ? other : own).focus({ preventScroll: true });
  }
  const keep = button("Keep all", () => commands.keepAll(), { hint: "Make all the words that Lacuna wrote plain text", class: "keep" });
  const more = button("More", () => setMore(!isMore()),
    { label: "", shape: "more", hint: "Open, examples, copy, save", class: "more", "aria-expanded": "false" });
  const bar = el("div", { class: "tools", role: "toolbar", "aria-label": "Marks" },
    make("Gap", () => commands.gap(), "Make a gap of the selection, or at the caret (Ctrl+M)"),
    make("Rewrite", () => commands.rewrite(), "Mark the selection to be written anew (Ctrl+J)"),
    make("Pin", () => commands.pin(), "Keep the selected words of a passage (Ctrl+K)"),
    el("span", { class: "rule", "aria-hidden": "true" }), undo, redo, el("span", { class: "space" }), more, files);
  files.prepend(keep);
  /** On a phone what else there is to do comes up under More. */
  const isMore = () => bar.classList.contains("opened");
  function setMore(open) {
    const inside = isMore() && files.contains(document.activeElement);
    bar.classList.toggle("opened", open);
    more.setAttribute("aria-expanded", `${open}`);
    if (inside && !open) more.focus({ preventScroll: true });
  }
  document.addEventListener("pointerdown", (event) => { if (!bar.contains(event.target)) setMore(false); });
  files.addEventListener("click", (event) => { if (!event.target.closest("[aria-haspopup]")) setMore(false); });

  // The floating bar only repeats buttons of the toolbar for the mouse, so assistive technology is spared it.
  const quick = (name, act) => button(name, () => { act(); hide(); }, { shape: name.toLowerCase(), tabindex: -1 });
  const pinning = quick("Pin", commands.pin);
  const floating = el("div", { class: "floating", "aria-hidden": "true", hidden: true },
    quick("Gap", commands.gap), quick("Rewrite", commands.rewrite), pinning);
  const hide = () => { floating.hidden = true; };

  /** Show the bar beside what lies between the first and the last of these boxes, within the draft's part of the page. */
  function showBeside(rects, withPin) {
    if (!rects.length) return hide();
    pinning.hidden = !withPin;
    floating.hidden = false;
    const frame = page.root.getBoundingClientRect();
    const card = page.card.getBoundingClientRect();
    const above = rects[0].top - floating.offsetHeight - APART;
    const top = above > card.top ? above : rects[rects.length - 1].bottom + APART;
    const lowest = card.bottom - floating.offsetHeight - APART; // what is selected may go on below the page
    floating.style.top = `${Math.max(card.top + APART, Math.min(top, lowest)) - frame.top + page.root.scrollTop}px`;
    floating.style.left = `${Math.max(8, Math.min(rects[0].left - frame.left, frame.width - floating.offsetWidth - 8))}px`;
  }
  function follow() {
    const range = view.selection();
    if (range) page.lastSelection = range;
    if (page.pick) return;
    if (!range || getSelection().isCollapsed || page.popover?.isOpen) return hide();
    const { startContainer, startOffset, endContainer, endOffset } = getSelection().getRangeAt(0);
    const ends = [view.boxAt(startContainer, startOffset), view.boxAt(endContainer, endOffset)]; // all that lies between would be many boxes
    showBeside(ends.filter(Boolean), false);
  }
  let pressed = false;
  view.root.addEventListener("pointerdown", () => { pressed = true; });
  for (const over of ["pointerup", "pointercancel"]) document.addEventListener(over, () => { pressed = false; setTimeout(follow); });
  document.addEventListener("selectionchange", () => {
    const range = view.selection();
    if (range) page.lastSelection = range;
    if (!pressed) follow();
  });
  // What was selected still holds where a command or a field is pressed, which may take the selection away.
  document.addEventListener("pointerdown", ({ target }) => { if (!target.closest?.(".draft, .tools, .floating, .pop, aside")) page.lastSelection = null; });
  page.card.addEventListener("scroll", hide);
  draft.addEventListener("splice", () => { page.lastSelection = null; });

  return {
    bar,
    floating,
    showBeside,
    hide,
    /** Close what More opened; whether it was open. */
    closeMore() {
      const open = isMore();
      if (open) setMore(false);
      return open;
    },
    draw() {
      undo.disabled = !draft.canUndo;
      redo.disabled = !draft.canRedo;
      keep.hidden = runs.live || !draft.islands().some(({ island }) => isFilled(island));
    },
  };
}
