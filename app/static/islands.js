// How the marked places look: a gap's chip, a passage to rewrite with its pins, and the cells of a fill.
import { isOpen } from "./document.js";
import { el } from "./dom.js";
import { gapMark, lengthLabel } from "./segments.js";

const TINTS = [0.1, 0.3, 0.6]; // probabilities at which the tint goes one step from sand to blue: where many words fit, a good one has 30 %
const tint = (probability) => 1 + TINTS.filter((limit) => probability >= limit).length;

/** Draw an island into its span. */
export function drawIsland(span, island) {
  const { fill } = island;
  const look = fill ? "fill" : island.kind;
  if (span.dataset.look !== look) span.replaceChildren();
  span.dataset.look = look;
  span.dataset.island = island.id;
  span.className = `island ${look}`;
  if (fill) drawFill(span, island);
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
  name(span, "button", `Length: ${lengthLabel(island)}`, "gap");
  span.setAttribute("aria-haspopup", "dialog");
  span.dataset.label = lengthLabel(island);
  span.replaceChildren(el("span", { class: "source" }, gapMark(island)));
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

function drawFill(span, island) {
  const { fill } = island;
  const cells = fill.shown ?? fill.cells;
  const open = cells.some(isOpen);
  name(span, "group", open ? "Being written" : "Written by the model", "gap");
  span.removeAttribute("aria-haspopup");
  span.classList.toggle("waiting", cells.length === 0);
  if (!cells.length) {
    span.dataset.label = island.kind === "gap" ? lengthLabel(island) : "…";
    span.replaceChildren(el("span", { class: "source" }, island.kind === "gap" ? gapMark(island) : ""));
    return;
  }
  if (span.firstChild && !span.firstChild.classList?.contains("cell")) span.replaceChildren();
  while (span.childNodes.length > cells.length) span.lastChild.remove();
  cells.forEach((cell, index) => {
    const node = span.childNodes[index] ?? span.appendChild(el("span", { class: "cell", "data-cell": index }));
    drawCell(node, cell, fill, { starts: startsWord(cells, index, fill), ends: endsWord(cells, index, fill) });
  });
}

/** The text whose room a cell takes up: its own; while masked, what will stand there or the model's first guess. */
function held(cell, index, fill) {
  if (!isOpen(cell)) return cell.text;
  const final = fill.done && fill.cells[index]?.text;
  return final || fill.guesses[index] || (index ? " " : "") + "nnnnnn".slice(0, 2 + ((index * 7) % 5));
}
function startsWord(cells, index, fill) {
  if (index === 0) return true;
  return /^\s/.test(held(cells[index], index, fill)) || /\s$/.test(held(cells[index - 1], index - 1, fill));
}
function endsWord(cells, index, fill) {
  if (index === cells.length - 1) return true;
  return startsWord(cells, index + 1, fill);
}

function drawCell(node, cell, fill, { starts, ends }) {
  const index = Number(node.dataset.cell);
  const fresh = cell.step > 0 && cell.step === fill.step && cell.state === "revealed";
  const text = held(cell, index, fill);
  const key = `${cell.state}|${text}|${fresh}|${starts}|${ends}|${tint(cell.probability)}`;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  const [lead, body, trail] = split(text);
  const look = { masked: "masked", retaken: "masked retaken", pinned: "pinned", revealed: `c${tint(cell.probability)}` }[cell.state];
  const ink = el("span", {
    class: `ink ${look}${fresh ? " fresh" : ""}${starts ? " starts" : ""}${ends ? " ends" : ""}`,
    "data-hold": isOpen(cell) ? body || "n" : null,
    "data-step": fresh ? cell.step : null,
  });
  ink.append(isOpen(cell) ? el("span", { class: "source" }, "░") : body);
  if (body) node.replaceChildren(lead, ink, trail);
  else if (isOpen(cell)) node.replaceChildren(ink);
  else node.replaceChildren(text); // a space of its own
}
