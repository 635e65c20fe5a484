// The draft on the screen: one element a line, kept in step with the document, and positions both ways.
//
// Child k of a line's element is item k of the line: a text node for a string, a span for an island.
import { isText, lineLength, sizeOf, tidy } from "./document.js";
import { el } from "./dom.js";
import { drawIsland } from "./islands.js";

const LONG = 300; // lines from which on those out of sight are not laid out
const SETTLING = 12; // frames in which lines that were out of sight take their places
const EDGE = 8; // pixels that are left between the caret and the page's edge

export class View {
  #rows = [];
  #islands = new Map();
  isWriting = () => false; // whether a run is just writing this fill; whoever knows the runs says so

  constructor(draft, root) {
    this.draft = draft;
    this.root = root;
    // Drawing a row anew would throw the caret out of it. Where no line comes or goes, it stays where it was.
    // A selection that is set in the draft takes the focus along, which may be on a button or in a field; a mark that is drawn anew loses it.
    let held = null;
    let focused = null;
    draft.addEventListener("before", () => {
      held = this.selection();
      focused = document.activeElement === root ? null : document.activeElement;
    });
    draft.addEventListener("splice", ({ detail }) => {
      this.#splice(detail);
      if (held && detail.removed === detail.inserted.length && held.to.line < draft.lines.length) {
        this.select(held.from, held.to);
      }
      if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    });
    this.#splice({ at: 0, removed: 0, inserted: draft.lines });
  }

  #splice({ at, removed, inserted }) {
    const kept = Math.min(removed, inserted.length);
    for (let k = 0; k < kept; k++) this.#draw(this.#rows[at + k], inserted[k]);
    for (const row of this.#rows.splice(at + kept, removed - kept)) row.remove();
    if (inserted.length > kept) {
      const rows = inserted.slice(kept).map((line) => this.#draw(el("div", { class: "line", dir: "auto" }), line));
      const next = this.#rows[at + kept] ?? null;
      const fragment = document.createDocumentFragment();
      for (const row of rows) fragment.append(row);
      this.root.insertBefore(fragment, next);
      this.#rows = [...this.#rows.slice(0, at + kept), ...rows, ...this.#rows.slice(at + kept)];
    }
    this.root.classList.toggle("long", this.#rows.length > LONG);
    this.#hint();
  }
  /** The hint on what to do stands on an empty page. */
  #hint() { this.root.classList.toggle("empty", this.#rows.length === 1 && lineLength(this.draft.lines[0]) === 0); }

  #draw(row, line) {
    const old = row.firstChild;
    if (line.items.length === 1 && isText(line.items[0]) && row.childNodes.length === 1 && old.nodeType === Node.TEXT_NODE) {
      if (old.data !== line.items[0]) old.data = line.items[0];
      return row;
    }
    const nodes = line.items.map((item) => (isText(item) ? document.createTextNode(item) : this.#island(item)));
    // A line that is empty, or ends with an island, needs something for the caret to stand on.
    if (!nodes.length) nodes.push(el("br"));
    else if (nodes[nodes.length - 1].nodeType !== Node.TEXT_NODE) nodes.push(el("wbr"));
    row.replaceChildren(...nodes);
    row.classList.toggle("blank", line.items.length === 0);
    return row;
  }

  #island(island) {
    const span = this.#islands.get(island.id) ?? el("span", { contenteditable: "false" });
    this.#islands.set(island.id, span);
    drawIsland(span, island, this.isWriting(island.fill));
    return span;
  }

  /** Draw an island anew where it stands: its fill has changed. */
  refresh(island) {
    const span = this.#islands.get(island.id);
    if (span?.isConnected) drawIsland(span, island, this.isWriting(island.fill));
  }
  islandElement(id) { return this.#islands.get(id); }
  /** The id of the island that holds a node. */
  islandAt(node) { return Number((node?.nodeType === Node.TEXT_NODE ? node.parentElement : node)?.closest?.("[data-island]")?.dataset.island ?? 0); }
  row(line) { return this.#rows[line]; }

  /** The position of a DOM point. A point inside an island is the one before it, or with `after` the one after it. */
  position(node, offset, after = false) {
    if (node === this.root) {
      if (offset >= this.#rows.length) return this.draft.end;
      return { line: offset, offset: 0 };
    }
    const row = (node.nodeType === Node.TEXT_NODE ? node.parentElement : node).closest(".line");
    const line = row ? this.#rows.indexOf(row) : -1;
    if (line < 0) return null;
    let child = node;
    while (child !== row && child.parentNode !== row) child = child.parentNode;
    const stop = child === row ? offset : [...row.childNodes].indexOf(child);
    const items = this.draft.lines[line].items;
    let at = 0;
    for (const item of items.slice(0, stop)) at += sizeOf(item);
    if (child !== row && stop < items.length) {
      if (isText(items[stop])) at += Math.min(offset, items[stop].length);
      else if (after) at += 1;
    }
    return { line, offset: at };
  }

  /** [node, offset] of a position. */
  point({ line, offset }) {
    const row = this.#rows[line];
    const items = this.draft.lines[line].items;
    let left = offset;
    for (let k = 0; k < items.length; k++) {
      const size = sizeOf(items[k]);
      if (isText(items[k]) && left <= size) return [row.childNodes[k], left];
      if (left < size) return [row, k];
      left -= size;
    }
    return [row, items.length];
  }

  /** The selection as {from, to, collapsed}, or null when it is elsewhere. */
  selection() {
    const selection = getSelection();
    if (!selection.rangeCount || !this.root.contains(selection.anchorNode)) return null;
    return this.range(selection.getRangeAt(0));
  }
  range({ startContainer, startOffset, endContainer, endOffset, collapsed }) {
    const from = this.position(startContainer, startOffset);
    const to = this.position(endContainer, endOffset, true);
    return from && to && { from, to: collapsed ? from : to, collapsed };
  }
  select(from, to = from) {
    const [startNode, start] = this.point(from);
    const [endNode, end] = this.point(to);
    getSelection().setBaseAndExtent(startNode, start, endNode, end);
  }
  /** Put the caret, or select what lies between, and bring it into sight. Who presses a button on a phone wants no keyboard: there only a
   * draft that has the focus keeps it. */
  caret(at, from = at) {
    if (!at) return;
    if (document.activeElement !== this.root && matchMedia("(pointer: coarse)").matches) return this.#rows[at.line].scrollIntoView({ block: "nearest" });
    this.root.focus({ preventScroll: true });
    this.select(from, at);
    const card = this.root.parentElement;
    const box = card.getBoundingClientRect();
    const row = this.#rows[at.line];
    const caretBox = () => {
      const { startContainer, startOffset } = getSelection().getRangeAt(0);
      return this.boxAt(startContainer, startOffset);
    };
    const shown = caretBox() ?? row.getBoundingClientRect();
    if (shown.bottom <= box.bottom && shown.top >= box.top) return;
    row.scrollIntoView({ block: "nearest" });
    const { top, bottom } = caretBox() ?? box; // the row may be taller than the page
    if (bottom > box.bottom) card.scrollTop += bottom - box.bottom + EDGE;
    else if (top < box.top) card.scrollTop -= box.top - top + EDGE;
  }
  /** Scroll to the first of these islands, where none of them is to be seen. Lines that come near are laid out only then, and may move it
   * away again: so it is looked at for some `frames` more. */
  bringIntoSight(ids, frames = SETTLING) {
    const card = this.root.parentElement.getBoundingClientRect();
    const spans = ids.map((id) => this.islandElement(id)).filter(Boolean);
    const isSeen = ({ top, bottom }) => bottom > card.top && top < card.bottom;
    if (spans.some((span) => isSeen(span.getBoundingClientRect()))) {
      if (frames === SETTLING) return;
    } else spans[0]?.scrollIntoView({ block: "center" });
    if (frames) requestAnimationFrame(() => this.bringIntoSight(ids, frames - 1));
  }
  /** Where a DOM point is on the screen. Beside an island it has no box of its own, and that of the island tells; in an empty row nothing does. */
  boxAt(container, offset) {
    const range = document.createRange();
    range.setStart(container, offset);
    const own = range.getBoundingClientRect();
    if (own.height) return own;
    const boxes = (node) => (node instanceof Element ? [...node.getClientRects()] : []).filter(({ height }) => height);
    return boxes(container.childNodes[offset - 1]).pop() ?? boxes(container.childNodes[offset])[0] ?? null;
  }

  /** What the browser itself wrote into a row (an input method does), as items. */
  readRow(line) {
    const items = [];
    for (const node of this.#rows[line].childNodes) {
      const id = this.islandAt(node);
      const island = id && this.draft.lines[line].items.find((item) => item.id === id);
      if (island) items.push(island);
      else if (!["BR", "WBR"].includes(node.nodeName)) items.push(node.textContent);
    }
    return tidy(items);
  }
  /** Draw a row again from the document, whatever the browser left in it. */
  redraw(line) {
    this.#rows[line].replaceChildren();
    this.#draw(this.#rows[line], this.draft.lines[line]);
    this.#hint();
  }
}
