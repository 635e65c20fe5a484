// How the marked places look: a gap's chip, a passage to rewrite with its pins, and the cells of a fill.
import { cellsText, isOpen } from "./document.js";
import { el } from "./dom.js";
import { gapMark, lengthLabel, shorten } from "./segments.js";

const READ = 120; // characters of a fill that are read aloud
const TINTS = [0.1, 0.3, 0.6]; // probabilities at which the tint goes one step from sand to blue: where many words fit, a good one has 30 %
const tint = (probability) => 1 + TINTS.filter((limit) => probability >= limit).length;

/** Draw an island into its span; `writing` says whether a run is just writing there. */
export function drawIsland(span, island, writing = false) {
  const { fill } = island;
  const look = fill ? "fill" : island.kind;
  if (span.dataset.look !== look) {
    span.replaceChildren();
    span.removeAttribute("aria-activedescendant");
  }
  span.dataset.look = look;
  span.dataset.island = island.id;
  span.className = `island ${look}`;
  if (fill) drawFill(span, island, writing);
  else if (island.kind === "gap") drawGap(span, island);
  else drawRewrite(span, island);
}

function name(span, role, label, description) {
  span.setAttribute("role", role);
  span.setAttribute("aria-label", label);
  span.setAttribute("aria-roledescription", description);
  span.tabIndex = 0;
}

function drawGap(span, island) {
  name(span, "button", `Length: ${lengthLabel(island, true)}`, "gap");
  span.setAttribute("aria-haspopup", "dialog");
  span.dataset.label = lengthLabel(island);
  span.replaceChildren(el("span", { class: "source", dir: "ltr" }, gapMark(island)));
}

/** Words (anything between spaces) and the spaces between them, each with whether it is pinned. */
export function passageParts(pieces) {
  return pieces.flatMap(({ text, pin }) => (text.match(/\s+|\S+/g) ?? []).map((part) => ({ text: part, pin, word: /\S/.test(part) })));
}

function drawRewrite(span, island) {
  name(span, "group", "Passage to be rewritten; its words may be kept", "rewrite");
  span.removeAttribute("aria-haspopup");
  const parts = passageParts(island.pieces).map((part, index) => (!part.word
    ? el("span", { class: part.pin ? "pinned" : null }, part.text)
    : el("span", { class: part.pin ? "word pinned" : "word", role: "button", tabindex: -1, "aria-pressed": `${part.pin}`, "data-part": index }, part.text)));
  span.replaceChildren(...parts);
}

// ---- the cells of a fill -------------------------------------------------------------------------------------------

const split = (text) => text.match(/^(\s*)([\s\S]*?)(\s*)$/).slice(1);

function drawFill(span, island, writing) {
  const { fill } = island;
  const cells = fill.shown ?? fill.cells;
  const stopped = !writing && fill.cells.some(isOpen);
  const state = stopped ? "Stopped half way" : cells.some(isOpen) ? "Being written" : `Written by the model: ${shorten(cellsText(cells).trim(), READ)}`;
  name(span, "group", state, island.kind);
  span.removeAttribute("aria-haspopup");
  span.classList.toggle("waiting", cells.length === 0);
  if (!cells.length) {
    span.dataset.label = island.kind === "gap" ? lengthLabel(island) : "…";
    span.replaceChildren(el("span", { class: "source", dir: "ltr" }, island.kind === "gap" ? gapMark(island) : ""));
    return;
  }
  const nodes = placeCells(span, cells, fill.near);
  const finals = new Map(fill.done ? fill.cells.map((cell) => [cell.id, cell.text]) : []);
  const coming = (cell) => (fill.guessing && cell.alternatives[0]?.[0]) || finals.get(cell.id) || fill.guesses.get(cell.id);
  const room = cells.map((cell) => held(cell, coming(cell)));
  const starts = cells.map((_, index) => index === 0 || /^\s/.test(room[index]) || /\s$/.test(room[index - 1]));
  cells.forEach((cell, index) => drawCell(nodes[index], cell, fill, { text: room[index], starts: starts[index], ends: starts[index + 1] ?? true }));
}

/** A node for each cell, in their order: those that live on keep theirs; others come and go, calmly where `near` says that a step was taken. */
function placeCells(span, cells, near) {
  const old = new Map();
  for (const node of [...span.childNodes]) {
    if (node.classList?.contains("cell")) old.set(node.dataset.id, node);
    else if (!node.classList?.contains("ghost")) node.remove();
  }
  const calm = near && old.size > 0 && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const nodes = cells.map((cell, index) => {
    const node = old.get(`${cell.id}`) ?? el("span", { class: "cell", "data-id": cell.id });
    if (calm && !old.delete(`${cell.id}`)) node.animate(SMALL, { duration: MOTION_MS, easing: "ease-out", direction: "reverse" });
    else old.delete(`${cell.id}`);
    node.dataset.cell = index;
    return node;
  });
  for (const node of old.values()) {
    if (calm) leave(node);
    else node.remove();
  }
  let at = span.firstChild;
  for (const node of nodes) {
    while (at?.classList.contains("ghost")) at = at.nextSibling;
    if (node === at) at = at.nextSibling;
    else span.insertBefore(node, at);
  }
  return nodes;
}

const MOTION_MS = 220;
const SMALL = [{}, { fontSize: 0, opacity: 0 }]; // inline text shrinks by its size, and what follows closes up
/** A cell that is no more closes up; meanwhile it is only a picture, without a text. */
function leave(node) {
  const ink = node.querySelector(".ink");
  const room = ink?.dataset.hold ?? ink?.textContent ?? "n";
  node.className = "ghost";
  node.replaceChildren(el("span", { class: "ink going starts ends", "data-hold": room }));
  node.animate(SMALL, { duration: MOTION_MS, easing: "ease-in", fill: "forwards" }).finished.then(() => node.remove(), () => {});
}

/** The text whose room a cell takes up: its own; while masked, what will stand there or a guess of the model's. */
function held(cell, coming) {
  if (!isOpen(cell)) return cell.text;
  return coming || (cell.index ? " " : "") + "nnnnnn".slice(0, 2 + ((cell.id * 7) % 5));
}

function drawCell(node, cell, fill, { text, starts, ends }) {
  const fresh = cell.step > 0 && cell.step === fill.step && cell.state === "revealed";
  const [lead, body, trail] = split(text);
  const guess = fill.guessing && isOpen(cell) && cell.alternatives.length > 0 && body !== ""; // a space has no ink
  const key = `${cell.state}|${text}|${fresh}|${starts}|${ends}|${tint(cell.probability)}|${guess && cell.probability.toFixed(2)}`;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  const look = { masked: "masked", retaken: "masked retaken", pinned: "pinned", revealed: `c${tint(cell.probability)}` }[cell.state];
  const ink = el("span", {
    class: `ink ${look}${fresh ? " fresh" : ""}${starts ? " starts" : ""}${ends ? " ends" : ""}${guess ? " guess" : ""}`,
    style: guess ? `--sure: ${cell.probability.toFixed(2)}` : null,
    "data-hold": isOpen(cell) ? body || "n" : null,
    "data-step": fresh ? cell.step : null,
  });
  ink.append(isOpen(cell) ? el("span", { class: "source", "aria-hidden": "true" }, "░") : body);
  if (body) node.replaceChildren(lead, ink, trail);
  else if (isOpen(cell)) node.replaceChildren(ink);
  else node.replaceChildren(text); // a space of its own
}
