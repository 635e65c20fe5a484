// The small windows beside a mark: a gap's length, a passage's way back, what the model thought of a word.
import { behind, cellsText, isFilled, isOpen, makeFill } from "./document.js";
import { button, el } from "./dom.js";
import { composes } from "./keys.js";
import { passageParts } from "./islands.js";
import { COMMA, LONGEST, WORD, isKeyword, isWord } from "./marks.js";
import { shorten, toPlainText } from "./segments.js";

const LONG_VERSION = 140; // characters of a fill that are shown in the list,
const LONG_WAS = 60; // and of the words that a gap took the place of
const KEEPS = [["none", 0], ["a third", 1 / 3], ["half", 1 / 2], ["most", 3 / 4]]; // of a passage's words
const SHARED = 60; // characters that all of them may begin with before these are left out

export function installPopovers(page) {
  const { draft, view } = page;
  const root = el("div", { class: "pop", hidden: true });
  let anchor = null; // the element it belongs to
  let owner = 0; // and its island
  let fill = null; // with what was written there when it opened

  /** What was written there; undefined where the place is gone. */
  const written = (id) => draft.find(id)?.island.fill;
  function open(element, id, label, role, ...children) {
    anchor = element;
    owner = id;
    fill = written(id);
    root.replaceChildren(...children.filter(Boolean));
    root.setAttribute("role", role);
    root.setAttribute("aria-label", label);
    root.hidden = false;
    place();
  }
  /** Under its anchor, within the page; above it where there is no room below. */
  function place() {
    if (!anchor?.isConnected) return close();
    const rects = anchor.getClientRects();
    const rect = rects[0] ?? anchor.getBoundingClientRect();
    const frame = page.root.getBoundingClientRect();
    const width = root.offsetWidth;
    root.style.left = `${Math.max(8, Math.min(rect.left - frame.left - 6, frame.width - width - 8))}px`;
    const bottom = (rects[rects.length - 1] ?? rect).bottom;
    const dock = page.dock.getBoundingClientRect().top;
    const below = bottom + 5 + root.offsetHeight <= dock;
    root.style.top = `${(below ? bottom + 5 : Math.max(8, rect.top - root.offsetHeight - 5)) - frame.top + page.root.scrollTop}px`;
  }
  function close(refocus = false) {
    if (root.hidden) return;
    const focused = root.contains(document.activeElement);
    root.hidden = true;
    if (focused || refocus) (anchor?.isConnected ? anchor.closest(".island") : view.root).focus({ preventScroll: true });
    anchor = null;
  }

  /** Enter in a field: what it says is taken, and the window closes; it stays where `take` says no. */
  const onEnter = (take) => (event) => {
    if (event.key !== "Enter" || composes(event)) return;
    event.preventDefault();
    if (take() !== false) close(true);
  };

  // ---- a gap
  function openGap(element, island) {
    const { length } = island;
    const unit = length?.unit ?? "auto";
    const words = island.was && toPlainText(island.was).trim();
    const number = (label, value, more) => el("input", {
      type: "number", min: 1, max: LONGEST, step: 1, "aria-label": label, disabled: !length, value, ...more,
      onchange: () => apply(),
      onkeydown: onEnter(() => apply()),
    });
    const count = number("Number", length?.low ?? Math.min(LONGEST, words ? words.split(/\s+/).length : 5));
    const most = number("At most", length && length.high !== length.low ? length.high : "", { placeholder: "–", title: "At most; empty for exactly so many" });
    const radios = ["auto", "words", "tokens"].map((value) => {
      let pressed = false; // arrows go from one to the next
      const input = el("input", { type: "radio", name: `length-${island.id}`, value, checked: value === unit, onclick: ({ detail }) => { pressed = detail > 0; }, onchange: () => {
        count.disabled = most.disabled = value === "auto";
        apply();
        if (pressed && value !== "auto") { count.focus(); count.select(); }
      } });
      return el("label", {}, input, el("span", {}, value));
    });
    const apply = () => {
      const unit = radios.map((label) => label.firstChild).find((input) => input.checked).value;
      const [low, high] = [count.value, most.value || count.value].map((text) => Math.round(Number(text))).sort((a, b) => a - b);
      const now = draft.find(island.id)?.island;
      if (!now) return close();
      const fits = low >= 1 && high <= LONGEST;
      const length = unit === "auto" ? null : fits ? { low, high, unit } : now.length;
      if (length) [count.value, most.value] = [length.low, length.low === length.high ? "" : length.high]; // no field shows what isn't so
      if (unit !== "auto" && !fits) {
        page.say(`A gap has 1 to ${LONGEST} words or tokens.`);
        return false;
      }
      if (JSON.stringify(length) === JSON.stringify(now.length)) return;
      draft.swap(island.id, { ...now, length });
      anchor = view.islandElement(island.id);
      place();
    };
    /** A field for the gap's keywords or bans. */
    const phrases = (label, name) => {
      const input = el("input", {
        type: "text", value: island[name].join(", "), placeholder: name === "keywords" ? "lamp, walk|walked" : "words, with commas between", autocapitalize: "off", spellcheck: "false",
        onchange: () => take(),
        onkeydown: onEnter(() => take()),
      });
      const take = () => {
        const now = draft.find(island.id)?.island;
        if (!now) return close();
        const given = input.value.split(COMMA).map((phrase) => phrase.trim()).filter(Boolean);
        if (name === "keywords" && !given.every(isKeyword)) {
          input.value = now[name].join(", ");
          page.say("What a gap must hold needs a letter or a digit, on both sides of | too.");
          return false;
        }
        if (given.join() === now[name].join()) return;
        draft.swap(island.id, { ...now, [name]: given });
        anchor = view.islandElement(island.id);
        place();
      };
      return el("label", {}, el("span", {}, label), input);
    };
    const remove = button(words ? "Put back" : "Remove", () => { close(); page.commands.unmark(island.id); },
      { class: "quiet", hint: words ? "No gap here: put its words back" : "No gap here" });
    open(element, island.id, "Gap", "dialog",
      el("div", { class: "lengths" }, el("div", { class: "segmented", role: "radiogroup", "aria-label": "Length" }, ...radios),
        el("div", { class: "range" }, count, el("span", {}, "to"), most), !words && remove),
      el("div", { class: "phrases" }, phrases("Must hold", "keywords"), phrases("Banned", "bans")),
      el("div", { class: "choices" }, el("p", { class: "was" }, ...(words ? ["Was: ", el("q", {}, shorten(words, LONG_WAS))] : [])), words && remove, fillThis(island)));
    radios.map((label) => label.firstChild).find((input) => input.checked).focus({ preventScroll: true });
  }

  // ---- a passage to rewrite
  function openRewrite(element, island) {
    const keep = ([label, share]) => button(label, () => {
      if (!page.commands.keepSome(island.id, share)) return;
      anchor = view.islandElement(island.id);
      place();
    }, { class: "quiet", hint: share ? "Pin some words by lot, others each time" : "Pin no word" });
    const many = passageParts(island.pieces).filter(isWord).length > 1;
    open(element, island.id, "Passage", "dialog",
      el("p", {}, many ? "Click the words that must stay, or keep by lot:" : "Click the words that must stay."),
      many && el("div", { class: "keeping", role: "group", "aria-label": "Keep" }, ...KEEPS.map(keep)),
      el("div", { class: "choices" }, button("Back to text", () => { close(); page.commands.unmark(island.id); }, { class: "quiet" }),
        island.asked && button("Reopen", () => { close(); page.commands.reopen(island.id); }, { class: "quiet", hint: "Make it again what it was before words were pinned" }),
        fillThis(island)));
  }
  const fillThis = (island) => !page.reasonNotToFill() && button("Fill this", () => {
    close();
    page.runs.start([island.id]);
  }, { class: "quiet", hint: "Write this place alone" });

  // ---- what a run wrote
  function openCell(element, island, index) {
    const cell = (island.fill.shown ?? island.fill.cells)[index];
    if (!cell) return;
    const idle = !page.runs.live;
    const filled = idle && isFilled(island); // else a run was stopped there
    const free = filled && !island.fill.shown && cell.state === "revealed" && standsAlone(island.fill.cells, index);
    // Where words begin with a space, a token without one is the end of the word before.
    const spaces = index > 0 && cell.alternatives.some(([text]) => text.startsWith(" "));
    const beginsWord = (text) => WORD.test(text) && (!spaces || text.startsWith(" "));
    const options = cell.alternatives.slice(0, 5).map(([text, probability]) => {
      const here = text === cell.text;
      const what = [el("span", {}, text.trim() || (text === "" ? "nothing" : "space")), el("small", {}, percent(probability))];
      const choice = free && !here && beginsWord(text) && el("button", { type: "button", title: "Put this word here",
        onclick: () => put(island.id, index, spaced(island.fill.cells, index, text)) }, ...what);
      return el("li", { class: here ? "chosen" : null, style: `--p:${Math.round(probability * 100)}%` }, ...(choice ? [choice] : what));
    });
    const settled = cell.state === "pinned" ? "Pinned: yours."
      : isOpen(cell) ? "Still open" : `${cell.step ? `Step ${cell.step} · ` : ""}${percent(cell.probability)} sure`;
    const here = cellsText(island.fill.cells).trim();
    const { versions, earlier } = filled ? island.fill : makeFill();
    const read = (cells) => cellsText(cells).trim();
    const before = earlier.filter((cells) => versions.every((version) => read(version) !== read(cells)) && (versions.length || read(cells) !== here));
    const from = whereTheyDiffer([...versions, ...before].map(read));
    const listed = (title, all) => (all.length ? [el("p", {}, title), el("ol", { class: "versions", "aria-label": title.split(",")[0] }, ...all.map((cells) => {
      const stands = read(cells) === here;
      return el("li", {}, button(shortened(read(cells), from), () => exchange(island.id, cells, here),
        { class: "version", dir: "auto", "aria-current": stands ? "true" : null, hint: stands ? "This is what stands here" : "Put this here instead" }));
    }))] : []);
    open(element, island.id, `Alternatives to “${cell.text.trim()}”`, "dialog",
      options.length ? el("ol", { class: "options", "aria-label": "What the model thought of" }, ...options) : null,
      ...listed("Candidates, the best first", versions), ...listed("Earlier", before),
      el("div", { class: "choices" }, el("p", {}, settled),
        free && WORD.test(cell.text) && button("Pin", () => put(island.id, index, cell.text), { class: "quiet", hint: "This word stays; Again writes the others anew" }),
        filled && button("Keep", () => { close(); page.commands.unmark(island.id); }, { class: "quiet", hint: "Make it plain text" }),
        idle && button("Again", () => { close(); page.runs.start([island.id]); }, { class: "quiet", hint: "Write only this place anew" }),
        idle && button("Reopen", () => { close(); page.commands.reopen(island.id); },
          { class: "quiet", hint: filled ? "Take these words out again" : "Make it again what it was before the run" })));
  }

  /** Another fill takes the place of the one that stands `here`; the window stays, so that one can go from one to the next. */
  function exchange(id, cells, here) {
    if (cellsText(cells).trim() === here) return;
    page.commands.exchange(id, cells);
    activate(view.islandElement(id).querySelector(".cell"));
    root.querySelector(".version[aria-current]")?.focus({ preventScroll: true });
  }

  /** A word of the writer's choice takes the place of one. */
  function put(id, index, text) {
    page.commands.choose(id, index, text);
    activate(view.islandElement(id).querySelector(`[data-cell="${index}"]`));
    root.querySelector("button")?.focus({ preventScroll: true });
  }

  function activate(target) {
    const span = target.closest?.(".island");
    const found = span && draft.find(Number(span.dataset.island));
    if (!found) return false;
    const { island } = found;
    if (island.fill) {
      const cell = target.closest(".cell") ?? span.querySelector(".cell.current") ?? span.querySelector(".cell");
      if (!cell) return false;
      setCurrent(span, cell);
      openCell(cell.querySelector(".ink") ?? cell, island, Number(cell.dataset.cell));
    } else if (island.kind === "gap") {
      openGap(span, island);
    } else {
      const word = target.closest(".word");
      if (word) page.commands.pinParts(island.id, [Number(word.dataset.part)], word.getAttribute("aria-pressed") !== "true");
      openRewrite(view.islandElement(island.id), draft.find(island.id).island);
    }
    return true;
  }
  function setCurrent(span, cell) {
    span.querySelector(".current")?.classList.remove("current");
    cell.classList.add("current");
    cell.setAttribute("role", "button");
    span.setAttribute("aria-activedescendant", (cell.id = `cell-${span.dataset.island}-${cell.dataset.id}`));
  }

  /** Go to the next or the last word or cell of an island; the window goes along. */
  function walk(span, by) {
    const stops = [...span.querySelectorAll(".word, .cell")];
    const here = stops.findIndex((stop) => stop === document.activeElement || stop.classList.contains("current"));
    if (root.hidden && (here + by === stops.length || (here === 0 && by < 0))) return leaveMark(span, by > 0);
    const next = stops[Math.max(0, Math.min(stops.length - 1, here + by))];
    if (next.classList.contains("word")) return next.focus();
    const pressed = root.contains(document.activeElement) && document.activeElement.textContent;
    setCurrent(span, next);
    if (!root.hidden) activate(next);
    if (pressed === false) return;
    const choices = [...root.querySelectorAll(".choices button")];
    (choices.find((choice) => choice.textContent === pressed) ?? choices[0])?.focus({ preventScroll: true });
  }
  const direction = ({ key, target }, where = target) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
    return by && getComputedStyle(where).direction === "rtl" ? -by : by;
  };
  /** The caret goes from a mark into the text before it, or behind it. */
  function leaveMark(span, forth) {
    const found = draft.find(Number(span.dataset.island));
    close();
    if (found) view.caret(forth ? behind(found.at) : found.at);
  }
  page.leaveMark = () => {
    const span = document.activeElement?.closest?.(".island");
    if (span) leaveMark(span, true);
    return Boolean(span);
  };
  root.addEventListener("keydown", (event) => {
    const span = draft.find(owner)?.island.fill && view.islandElement(owner);
    const by = span && direction(event, span);
    if (!by) return;
    event.preventDefault();
    if (event.shiftKey && !page.runs.live) page.growPick(span, by);
    else walk(span, by);
  });

  view.root.addEventListener("click", (event) => {
    if (page.pick || event.detail > 1) return; // the end of a drag over words, or the second half of a double click
    if (!activate(event.target)) close();
  });
  view.root.addEventListener("keydown", (event) => {
    const deletes = event.key === "Backspace" || event.key === "Delete";
    if (deletes && page.pick) { // the focus may be on the mark or in the text beside it
      event.preventDefault();
      return page.commands.takeOut();
    }
    const span = event.target.closest?.(".island");
    if (!span) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      const current = span.querySelector(".word:focus, .cell.current") ?? event.target;
      activate(current);
      if (!current.dataset.part) (root.querySelector(".version[aria-current]") ?? root.querySelector(".choices button, input:checked"))?.focus({ preventScroll: true });
    } else if (direction(event)) {
      event.preventDefault();
      if (!span.querySelector(".word, .cell")) return leaveMark(span, direction(event) > 0);
      if (event.shiftKey && span.querySelector(".cell") && !page.runs.live) return page.growPick(span, direction(event));
      page.clearPick();
      walk(span, direction(event));
    } else if (deletes) {
      event.preventDefault();
      page.commands.unmark(Number(span.dataset.island));
    } else if ([...event.key].length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) {
      leaveMark(span, true); // what is typed at a mark goes behind it
    }
  });
  document.addEventListener("pointerdown", (event) => {
    if (!root.contains(event.target) && !event.target.closest?.(".island")) close();
  });
  page.card.addEventListener("scroll", () => place());
  addEventListener("resize", () => place());
  // What it tells of is gone: the place, or what was written there.
  draft.addEventListener("splice", () => { if (!root.hidden && written(owner) !== fill) close(); });
  page.runs.addEventListener("begin", () => close());
  return { root, close, show: (id) => activate(view.islandElement(id)), get isOpen() { return !root.hidden; } };
}

const percent = (probability) => (probability > 0 && probability < 0.01 ? "< 1 %" : `${Math.round(probability * 100)} %`);

const touch = (a, b) => WORD.test(a.slice(-1)) && WORD.test(b.slice(0, 1));
/** Whether a cell is a word of its own: the others would be left with the ends of words that nobody wrote. */
const standsAlone = (cells, index) => !(index && touch(cells[index - 1].text, cells[index].text)) && !(index + 1 < cells.length && touch(cells[index].text, cells[index + 1].text));
/** A token's text in the place of a cell's: with the spaces that were there, or that part it from the words beside it. */
function spaced(cells, index, text) {
  const [lead, trail] = [/^\s*/, /\s*$/].map((edge) => text.match(edge)[0] || cells[index].text.match(edge)[0]);
  const word = text.trim();
  const before = lead || (index && touch(cells[index - 1].text, word) ? " " : "");
  return before + word + (trail || (index + 1 < cells.length && touch(word, cells[index + 1].text) ? " " : ""));
}

/** Where to begin to show texts that go together for long: at a word a little before they part. */
function whereTheyDiffer(texts) {
  const [first = ""] = texts;
  let at = 0;
  while (at < first.length && texts.every((text) => text[at] === first[at])) at++;
  return at < SHARED ? 0 : first.lastIndexOf(" ", at - SHARED / 2) + 1;
}
const shortened = (text, from) => `${from ? "… " : ""}${shorten(text.slice(from), LONG_VERSION)}`;
