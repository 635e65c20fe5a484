// The draft as data: lines of strings and islands. No DOM here.
//
// A line is {items, eol}; an item is a string or an island; a position is {line, offset}, where an island counts 1.
// Lines and islands are never changed in place, so an undo step is just the lines that it replaced:
// its cost is that of the edit, not of the novel.
//
// An island is a marked place, and the caret can't enter it:
//   {id, kind: "gap", length: null | {low, high, unit}, keywords, bans, was: fragment | null, fill: Fill | null}
//   {id, kind: "rewrite", pieces: [{text, pin}], fill: Fill | null, asked?: island}
// `was` are the words (and marks) that a gap replaced; `fill` is what a run wrote there (see run.js); `asked` is what a passage was
// before words of a fill were pinned in it.

const COALESCE_MS = 900;
const UNDO_STEPS = 500;

let nextId = 1;
export const newId = () => nextId++;
export const makeGap = (fields = {}) => ({ kind: "gap", length: null, keywords: [], bans: [], was: null, fill: null, ...fields, id: newId() });
/** What a run writes into a gap or passage; its shape is told in run.js. */
export const makeFill = (fields = {}) => ({ cells: [], shown: null, guesses: new Map(), guessing: false, step: 0, near: false, done: false, versions: [], earlier: [], had: [], former: null, ...fields });
export const makeRewrite = (pieces) => ({ kind: "rewrite", pieces, fill: null, id: newId() });

export const isText = (item) => typeof item === "string";
/** Places of the line that an item takes. */
export const sizeOf = (item) => (isText(item) ? item.length : 1);
export const lineLength = (line) => line.items.reduce((sum, item) => sum + sizeOf(item), 0);
/** The place behind the island that stands at a place. */
export const behind = ({ line, offset }) => ({ line, offset: offset + 1 });
export const same = (a, b) => a.line === b.line && a.offset === b.offset;

/** Where a place is after an island at `at` was replaced by what ends at `after`. */
export function moved(place, at, after) {
  if (place.line < at.line || (place.line === at.line && place.offset <= at.offset)) return place;
  return { line: place.line + after.line - at.line, offset: place.offset + (place.line === at.line ? after.offset - at.offset - 1 : 0) };
}

/** Plain text as a fragment: a list of lines of which the last has no line end. */
export function fragmentOf(text) {
  const lines = [];
  const pattern = /\r\n|\n|\r/g;
  let start = 0;
  for (let match; (match = pattern.exec(text)); start = pattern.lastIndex) {
    lines.push({ items: start < match.index ? [text.slice(start, match.index)] : [], eol: match[0] });
  }
  lines.push({ items: start < text.length ? [text.slice(start)] : [], eol: "" });
  return lines;
}

/** Fragments one after the other, as one. */
export function concat(fragments) {
  const lines = fragmentOf("");
  for (const [first, ...rest] of fragments) {
    const { items } = lines.pop();
    lines.push({ items: [...items, ...first.items], eol: first.eol });
    for (const line of rest) lines.push(line);
  }
  return lines;
}

/** Items with neighbouring strings joined and empty ones left out. */
export function tidy(items) {
  const out = [];
  for (const item of items) {
    if (item === "") continue;
    if (isText(item) && out.length && isText(out[out.length - 1])) out[out.length - 1] += item;
    else out.push(item);
  }
  return out;
}

function cut(items, from, to) {
  const out = [];
  let at = 0;
  for (const item of items) {
    const end = at + sizeOf(item);
    if (isText(item)) {
      if (end > from && at < to) out.push(item.slice(Math.max(0, from - at), to - at));
    } else if (at >= from && end <= to) out.push(item);
    at = end;
  }
  return tidy(out);
}

/** What cells read as, in the order in which they stand. */
export const cellsText = (cells) => cells.map((cell) => cell.text).join("");

/** What an island reads as: what a run wrote there, else the words of the passage, else nothing. */
export function islandText(island) {
  if (island.fill) return cellsText(island.fill.cells);
  return island.kind === "rewrite" ? island.pieces.map((piece) => piece.text).join("") : "";
}

/** A cell without a text: never revealed yet, or taken back. */
export const isOpen = (cell) => cell.state === "masked" || cell.state === "retaken";
/** A run wrote every cell of it. */
export const isFilled = (island) => Boolean(island.fill) && island.fill.cells.length > 0 && !island.fill.cells.some(isOpen);

export class Draft extends EventTarget {
  lines = fragmentOf("");
  title = "";
  #undo = [];
  #redo = [];
  #open = null;

  get end() {
    const line = this.lines.length - 1;
    return { line, offset: lineLength(this.lines[line]) };
  }
  get canUndo() { return this.#undo.length > 0; }
  get canRedo() { return this.#redo.length > 0; }
  get eol() { return this.lines[0].eol || "\n"; }

  /** Every island in reading order, with its position. */
  islands() {
    const found = [];
    this.lines.forEach(({ items }, line) => {
      let offset = 0;
      for (const item of items) {
        if (!isText(item)) found.push({ island: item, at: { line, offset } });
        offset += sizeOf(item);
      }
    });
    return found;
  }
  find(id) { return this.islands().find(({ island }) => island.id === id) ?? null; }
  /** The item that starts (or, with `back`, ends) at a position; null at the line's edge. Inside a string: the string. */
  itemAt(at, back = false) {
    let offset = 0;
    for (const item of this.lines[at.line].items) {
      const end = offset + sizeOf(item);
      if (back ? at.offset > offset && at.offset <= end : at.offset >= offset && at.offset < end) return { item, start: offset, end };
      offset = end;
    }
    return null;
  }

  slice(from, to) {
    if (from.line === to.line) return [{ items: cut(this.lines[from.line].items, from.offset, to.offset), eol: "" }];
    const first = this.lines[from.line];
    return [
      { items: cut(first.items, from.offset, Infinity), eol: first.eol },
      ...this.lines.slice(from.line + 1, to.line),
      { items: cut(this.lines[to.line].items, 0, to.offset), eol: "" },
    ];
  }

  /** Replace from..to by a fragment; returns the position after it. `kind` edits that follow quickly share one undo step; `title` is what
   * the draft is called from then on. */
  replace(from, to, fragment, { kind = "", caret, title } = {}) {
    const head = cut(this.lines[from.line].items, 0, from.offset);
    const tail = cut(this.lines[to.line].items, to.offset, Infinity);
    const inserted = fragment.map((line) => ({ ...line }));
    const last = inserted.length - 1;
    inserted[0] = { ...inserted[0], items: tidy([...head, ...inserted[0].items]) };
    const after = { line: from.line + last, offset: lineLength(inserted[last]) };
    inserted[last] = { items: tidy([...inserted[last].items, ...tail]), eol: this.lines[to.line].eol };
    this.#record({ at: from.line, removed: this.lines.slice(from.line, to.line + 1), inserted }, kind, caret ?? to, after, title);
    return after;
  }

  /** Put another island in the place of one. */
  swap(id, island) {
    const { at } = this.find(id);
    this.replace(at, behind(at), [{ items: [island], eol: "" }], { caret: at });
  }

  /** All edits made in `act` are one undo step; where it returns false they are taken back, and there is none. */
  group(act) {
    this.#open = { patches: [], kind: "", time: 0, caret: null, after: null };
    let done = true;
    try {
      done = act();
    } finally {
      const step = this.#open;
      this.#open = null;
      if (done === false) this.#revert(step);
      else if (step.patches.length) this.#push(step);
    }
  }

  undo() { return this.#travel(this.#undo, this.#redo, true); }
  redo() { return this.#travel(this.#redo, this.#undo, false); }
  /** The next edit starts a new undo step. */
  breakUndo() { if (this.#undo.length) this.#undo[this.#undo.length - 1].kind = ""; }

  /** Begin with these lines; there is nothing before them to go back to. */
  begin(lines, title) {
    this.title = title;
    this.#apply({ at: 0, removed: this.lines, inserted: lines });
  }
  /** Another draft in the place of this one; undo brings this one back. */
  load(lines, title) {
    const titles = { before: this.title, after: title };
    this.title = title;
    const patch = { at: 0, removed: this.lines, inserted: lines };
    this.#apply(patch);
    const start = { line: 0, offset: 0 };
    this.#push({ patches: [patch], kind: "", time: 0, caret: start, after: start, titles, load: true });
  }
  /** Another name for the same draft; undo changes the text alone. */
  rename(title) {
    this.title = title;
    this.dispatchEvent(new Event("history"));
  }
  /** Whether undo, or redo, goes to another draft. */
  crosses(way) { return Boolean((way === "undo" ? this.#undo : this.#redo).at(-1)?.load); }

  #record(patch, kind, caret, after, title = this.title) {
    const titles = title === this.title ? null : { before: this.title, after: title };
    this.title = title;
    this.#apply(patch);
    if (this.#open) {
      this.#open.titles ??= titles;
      this.#open.patches.push(patch);
      this.#open.caret ??= caret;
      this.#open.after = after;
      return;
    }
    const now = performance.now();
    const last = this.#undo[this.#undo.length - 1];
    if (kind && last?.kind === kind && now - last.time < COALESCE_MS && same(last.after, caret)) {
      last.patches.push(patch);
      last.time = now;
      last.after = after;
      last.titles ??= titles;
      this.#redo = [];
      if (titles) this.dispatchEvent(new Event("history"));
    } else this.#push({ patches: [patch], kind, time: now, caret, after, titles });
  }
  #push(step) {
    this.#undo.push(step);
    if (this.#undo.length > UNDO_STEPS) this.#undo.shift();
    this.#redo = [];
    this.dispatchEvent(new Event("history"));
  }
  #travel(from, to, back) {
    const step = from.pop();
    if (!step) return null;
    if (back) this.#revert(step);
    else {
      for (const patch of step.patches) this.#apply(patch);
      if (step.titles) this.title = step.titles.after;
    }
    step.kind = "";
    to.push(step);
    this.dispatchEvent(new Event("history"));
    return back ? step.caret : step.after;
  }
  #revert({ patches, titles }) {
    for (const { at, removed, inserted } of patches.toReversed()) this.#apply({ at, removed: inserted, inserted: removed });
    if (titles) this.title = titles.before;
  }
  #apply({ at, removed, inserted }) {
    this.dispatchEvent(new Event("before"));
    if (at === 0 && removed.length === this.lines.length) this.lines = inserted.slice();
    else if (inserted.length < 10000) this.lines.splice(at, removed.length, ...inserted);
    else this.lines = [...this.lines.slice(0, at), ...inserted, ...this.lines.slice(at + removed.length)];
    this.dispatchEvent(new CustomEvent("splice", { detail: { at, removed: removed.length, inserted } }));
  }
}
