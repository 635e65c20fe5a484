// The commands on a draft's marks: make a gap, mark a passage, pin words, take a mark away.
import { fragmentOf, isText, islandText, lineLength, makeGap, makeRewrite, same } from "./document.js";
import { toPlainText } from "./segments.js";
import { passageParts } from "./islands.js";

const SPACE = /^\s*$/;
const WORD = /[\p{L}\p{N}]/u;
export const LONGEST = 2000; // words or tokens in a gap
const TOUCHED = /[\p{L}\p{N}_]/u; // what makes underscores and brackets beside it those of a program
const AS_TYPED = /(?<![\p{L}\p{N}_\\[\])])(?:___|\[\[(?:(\d+)(?:-(\d+))?( tokens)?)?(?::([^[\]{}~\\;]+))?(?:;([^[\]{}~\\;]+))?\]\])$/u;

export function marks(page) {
  const { draft, view, say } = page;

  /** The range without the spaces at its ends: a gap takes words, the writer's spaces stay. */
  function trimmed({ from, to }) {
    const text = toPlainText(draft.slice(from, to));
    if (SPACE.test(text)) return { from, to };
    const move = (at, step, edge) => {
      const place = { ...at };
      for (;;) {
        const next = draft.itemAt(place, step < 0);
        if (!next) {
          const line = place.line + step;
          if (same(place, edge) || line < 0 || line >= draft.lines.length) return place;
          place.line = line;
          place.offset = step > 0 ? 0 : lineLength(draft.lines[line]);
        } else if (isText(next.item) && /\s/.test(next.item[place.offset - next.start - (step < 0 ? 1 : 0)])) place.offset += step;
        else return place;
      }
    };
    return { from: move(from, 1, to), to: move(to, -1, from) };
  }

  /** Whether a mark between these positions would stand right beside another: two marks need text between them. */
  function crowded(from, to) {
    const neighbour = (at, back) => {
      const next = draft.itemAt(at, back);
      return next && !isText(next.item) && !next.item.fill;
    };
    if (!neighbour(from, true) && !neighbour(to, false)) return false;
    say("Two gaps need some text between them.");
    return true;
  }

  function put(range, island) {
    if (crowded(range.from, range.to)) return null;
    draft.breakUndo();
    const after = draft.replace(range.from, range.to, [{ items: [island], eol: "" }]);
    view.caret(after);
    return after;
  }

  /** The words picked inside an island, as a range of plain text: the island becomes text for it. */
  function pickedRange({ id, from, to }) {
    const { island, at } = draft.find(id);
    const texts = stopTexts(island);
    const fragment = fragmentOf(texts.join(""));
    draft.replace(at, { line: at.line, offset: at.offset + 1 }, fragment);
    const place = (count) => {
      let [line, left] = [0, count];
      for (; left > lineLength(fragment[line]); line++) left -= lineLength(fragment[line]) + fragment[line].eol.length;
      return { line: at.line + line, offset: Math.max(0, left) + (line === 0 ? at.offset : 0) };
    };
    const length = (count) => texts.slice(0, count).join("").length;
    return { from: place(length(from)), to: place(length(to + 1)), collapsed: false };
  }
  /** Run a command on the picked words if there are any, as one undo step, else on the selection. */
  const onWhatIsChosen = (command) => () => {
    if (!page.pick) return command(page.selection());
    const { pick } = page;
    draft.group(() => command(pickedRange(pick)));
  };

  function gap(selection) {
    if (!selection) return say("Select some words, or put the caret where words are missing.");
    const range = selection.collapsed ? selection : trimmed(selection);
    const was = selection.collapsed ? null : draft.slice(range.from, range.to).map(({ items, eol }) => ({
      items: items.map((item) => (isText(item) ? item : islandText(item))).filter((text) => text !== ""), eol,
    }));
    if (put(range, makeGap({ was }))) say("Gap made. Click it to set its length, or words that it must hold.");
  }

  function rewrite(selection) {
    if (!selection || selection.collapsed) return say("Select the passage that may be written anew.");
    const range = trimmed(selection);
    const text = draft.slice(range.from, range.to).map(({ items, eol }) => items.map((item) => (isText(item) ? item : islandText(item))).join("") + eol).join("");
    if (SPACE.test(text)) return say("Select the passage that may be written anew.");
    if (put(range, makeRewrite([{ text, pin: false }]))) say("Marked for rewriting. Click the words in it that must stay.");
  }

  /** Pin words: those picked in a passage; picked in what a run wrote, they stay and the rest may be written anew. */
  function pin() {
    const focused = document.activeElement?.closest?.(".island.rewrite .word");
    const pick = page.pick ?? (focused && { id: view.islandAt(focused), from: Number(focused.dataset.part), to: Number(focused.dataset.part) });
    if (!pick) return say("Text outside gaps stays as it is. Mark a passage with Rewrite, then pin the words in it that must stay.");
    const { island } = draft.find(pick.id);
    const indices = Array.from({ length: pick.to - pick.from + 1 }, (_, k) => pick.from + k);
    if (!island.fill) return pinParts(pick.id, indices, true);
    const texts = stopTexts(island);
    const start = texts.slice(0, pick.from).join("").length;
    const end = texts.slice(0, pick.to + 1).join("").length;
    let at = 0;
    const parts = passageParts([{ text: texts.join(""), pin: false }]).map((part) => {
      const inside = at < end && at + part.text.length > start;
      at += part.text.length;
      return { ...part, pin: part.word && inside };
    });
    draft.breakUndo();
    draft.swap(pick.id, makeRewrite(joined(parts)));
    say("Pinned. Fill writes the words around them anew.");
  }

  function pinParts(id, indices, pinned) {
    const { island } = draft.find(id);
    const parts = passageParts(island.pieces).map((part, index) => (indices.includes(index) && part.word ? { ...part, pin: pinned } : part));
    draft.breakUndo();
    draft.swap(id, { ...island, pieces: joined(parts) });
    say(pinned ? "Pinned: it stays, word for word." : "Unpinned.");
  }

  /** Take a mark away: its words become text again. */
  function unmark(id) {
    const found = draft.find(id);
    if (!found) return;
    const { island, at } = found;
    const words = island.fill ? fragmentOf(islandText(island)) : island.kind === "gap" ? island.was ?? fragmentOf("") : fragmentOf(islandText(island));
    draft.breakUndo();
    view.caret(draft.replace(at, { line: at.line, offset: at.offset + 1 }, words));
  }

  /** The third underscore in a row, or the last bracket of [[5-12]] or [[3: lamp; very, nice]], typed where no word touches it, makes a gap. Undo gives what was typed back. */
  function gapAsTyped() {
    const at = view.selection()?.from;
    const here = at && draft.itemAt(at, true);
    if (!here || !isText(here.item)) return;
    const offset = at.offset - here.start;
    const [mark, low, high = low, tokens, held, banned] = here.item.slice(0, offset).match(AS_TYPED) ?? [];
    if (!mark || TOUCHED.test(here.item[offset] ?? "")) return;
    const length = low ? { low: Number(low), high: Number(high), unit: tokens ? "tokens" : "words" } : null;
    if (length && !(length.low >= 1 && length.low <= length.high && length.high <= LONGEST)) return;
    const [keywords, bans] = [held, banned].map((phrases) => (phrases ? phrases.split(",").map((phrase) => phrase.trim()) : []));
    if (bans.includes("") || !keywords.every((keyword) => WORD.test(keyword))) return;
    put({ from: { line: at.line, offset: at.offset - mark.length }, to: at }, makeGap({ length, keywords, bans }));
  }

  return { gap: onWhatIsChosen(gap), rewrite: onWhatIsChosen(rewrite), pin, pinParts, unmark, gapAsTyped };
}

/** The texts of an island's places that can be picked: cells, or the parts of a passage. */
const stopTexts = (island) => (island.fill ? island.fill.cells : passageParts(island.pieces)).map((stop) => stop.text);

/** Parts as pieces. Pinned words side by side are one pin, with the spaces between them. */
function joined(parts) {
  const settled = parts.map((part, index) => (part.word ? part : { ...part, pin: Boolean(parts[index - 1]?.pin && parts[index + 1]?.pin) }));
  const pieces = [];
  for (const { text, pin } of settled) {
    const last = pieces[pieces.length - 1];
    if (last && last.pin === pin) last.text += text;
    else pieces.push({ text, pin });
  }
  return pieces;
}
