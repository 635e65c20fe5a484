// The commands on a draft's marks: make a gap, mark a passage, pin words, take a mark away.
import { behind, concat, fragmentOf, isFilled, isText, islandText, lineLength, makeGap, makeRewrite, newId, same } from "./document.js";
import { keys } from "./dom.js";
import { toPlainText } from "./segments.js";
import { passageParts } from "./islands.js";

const SPACE = /^\s*$/;
export const WORD = /[\p{L}\p{N}]/u;
export const isWord = ({ text }) => WORD.test(text); // of a passage's parts
/** Whether a gap can hold it: a word in each of its forms, "walk|walked". */
export const isKeyword = (phrase) => phrase.split(/(?<!\\)\|/).every((form) => WORD.test(form));
export const COMMA = /(?<!\p{Nd}),|,(?!\p{Nd})/u; // between phrases; "1,000" is one
export const LONGEST = 2000; // words or tokens in a gap
const TOUCHED = /[\p{L}\p{N}_]/u; // what makes underscores and brackets beside it those of a program
const AS_TYPED = /(?<![\p{L}\p{N}_\\[\])])(?:___|\[\[(?:(\d+)(?:[-–](\d+))?( tokens?| words?)?)?(?::([^[\]{}~\\;]+))?(?:;([^[\]{}~\\;]+))?\]\])$/u;
const PASSAGE_TYPED = /(?<![\p{L}\p{N}_\\[\])])\[\[~((?:[^[\]{}\\]|\{\{[^[\]{}\\]+\}\})+)\]\]$/u;
const PIN = /\{\{([^{}]+)\}\}/;

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

  /** The mark that stands right behind a position, or with `back` before it. */
  function markBeside(at, back) {
    const next = draft.itemAt(at, back);
    return next && !isText(next.item) ? next.item : null;
  }
  const refuse = (text) => {
    say(text);
    return false;
  };

  /** Put a mark there; false where it would stand right beside another, filled or not: two marks need text between them. */
  function put(range, island) {
    if (markBeside(range.from, true) || markBeside(range.to, false)) return refuse("Two gaps need some text between them.");
    draft.breakUndo();
    view.caret(draft.replace(range.from, range.to, [{ items: [island], eol: "" }]));
    return true;
  }

  /** The words picked inside an island, as a range of plain text: the island becomes text for it. */
  function pickedRange({ id, from, to }) {
    const { island, at } = draft.find(id);
    const texts = stopTexts(island);
    const fragment = fragmentOf(texts.join(""));
    draft.replace(at, behind(at), fragment);
    const place = (count) => {
      let [line, left] = [0, count];
      for (; left > lineLength(fragment[line]); line++) left -= lineLength(fragment[line]) + fragment[line].eol.length;
      return { line: at.line + line, offset: Math.max(0, left) + (line === 0 ? at.offset : 0) };
    };
    const length = (count) => texts.slice(0, count).join("").length;
    return { from: place(length(from)), to: place(length(to + 1)), collapsed: false };
  }
  /** Whether words are picked where a run was stopped: what stands there is neither the writer's words nor a fill. */
  function halfWritten({ id }) {
    const { island } = draft.find(id);
    if (!island.fill || isFilled(island)) return false;
    say("This place was stopped half way: Fill writes it anew, Reopen gives it back as it was.");
    return true;
  }
  /** Run a command on the picked words if there are any, as one undo step, else on the selection. Where it says false, all is as it was. */
  const onWhatIsChosen = (command) => () => {
    if (!page.pick) return command(page.selection());
    const { pick } = page;
    if (halfWritten(pick)) return;
    const { island } = draft.find(pick.id);
    const pieces = unspaced(merged(stopPieces(island).slice(pick.from, pick.to + 1)));
    draft.group(() => command(pickedRange(pick), pieces, [island]));
  };

  function gap(selection) {
    if (!selection) return say("Select some words, or put the caret where words are missing.");
    if (selection.collapsed) {
      const beside = [true, false].map((back) => markBeside(selection.from, back)).find((mark) => mark?.kind === "gap" && !mark.fill);
      if (beside) return page.popover.show(beside.id);
    }
    const range = selection.collapsed ? selection : trimmed(selection);
    const was = selection.collapsed ? null : withoutFills(draft.slice(range.from, range.to));
    if (!put(range, makeGap({ was }))) return false;
    return say(`Gap made. Click it, or press ${keys("Ctrl+M")} again, to set its length, or words that it must hold.`);
  }

  /** Mark a selection, or the picked words of some islands with their pieces. */
  function rewrite(selection, picked = null, from = null) {
    if (!selection || selection.collapsed) return refuse("Select the passage that may be written anew.");
    const range = trimmed(selection);
    const lines = draft.slice(range.from, range.to);
    const islands = from ?? lines.flatMap(({ items }) => items).filter((item) => !isText(item));
    if (islands.some((island) => island.kind === "gap" && !isFilled(island))) return refuse("There is a gap in this: fill it or remove it first.");
    const pieces = picked ?? merged(lines.flatMap(({ items, eol }) => [...items.flatMap(piecesOf), { text: eol, pin: false }]));
    if (!pieces.some(({ text }) => !SPACE.test(text))) return refuse("Select the passage that may be written anew.");
    if (!put(range, makeRewrite(pieces))) return false;
    return say(`Marked for rewriting. Click the words in it that must stay.${givenUp(islands)}`);
  }

  /** Take the picked words out. What else stands in a passage stays marked; what else a run wrote there becomes plain text. */
  function takeOut() {
    const { pick } = page;
    if (halfWritten(pick)) return;
    const { island } = draft.find(pick.id);
    const rest = merged(stopPieces(island).filter((_, index) => index < pick.from || index > pick.to));
    draft.breakUndo();
    if (!island.fill && rest.some(({ text }) => !SPACE.test(text))) return draft.swap(island.id, { ...island, pieces: rest });
    draft.group(() => {
      const { from, to } = pickedRange(pick);
      view.caret(draft.replace(from, to, fragmentOf("")));
    });
    if (rest.length) say("Taken out. The rest of what stood there is plain text now; Undo brings all of it back.");
  }
  const pickedText = () => stopTexts(draft.find(page.pick.id).island).slice(page.pick.from, page.pick.to + 1).join("");

  /** Pin words: those picked in a passage; picked in what a run wrote, they stay and the rest may be written anew. */
  function pin() {
    const focused = document.activeElement?.closest?.(".island.rewrite .word");
    const pick = page.pick ?? (focused && { id: view.islandAt(focused), from: Number(focused.dataset.part), to: Number(focused.dataset.part) });
    if (!pick) return say("Text outside gaps stays as it is. Mark a passage with Rewrite, then pin the words in it that must stay.");
    if (halfWritten(pick)) return;
    const { island } = draft.find(pick.id);
    const indices = Array.from({ length: pick.to - pick.from + 1 }, (_, k) => pick.from + k);
    if (!island.fill) return pinParts(pick.id, indices, true);
    draft.breakUndo();
    draft.swap(pick.id, { ...makeRewrite(withPinned(island, pick.from, pick.to)), asked: island.fill.asked ?? { ...island, fill: null } });
    say(`Pinned. Fill writes the words around them anew.${givenUp([island])}`);
  }

  const drawnFrom = new WeakMap(); // pieces with pins that were drawn by lot -> the same without these, with the writer's own

  function pinParts(id, indices, pinned) {
    const { island } = draft.find(id);
    const texts = stopTexts(island);
    const spans = indices.map((index) => spanOf(texts, index, index));
    const pieces = withPins(island.pieces, spans, pinned);
    if (drawnFrom.has(island.pieces)) drawnFrom.set(pieces, withPins(drawnFrom.get(island.pieces), spans, pinned));
    exchangePieces(island, pieces);
    say(pinned ? "Pinned: it stays, word for word." : "Unpinned.");
  }

  /** Pin words of a passage until about this share of them stays, others each time; those that the writer pinned stay. None unpins all. */
  function keepSome(id, share) {
    const { island } = draft.find(id) ?? {};
    if (!island || island.fill) return false;
    const before = drawnFrom.get(island.pieces) ?? island.pieces;
    const parts = passageParts(before).map((part) => ({ ...part, pin: part.pin && share > 0 }));
    const words = parts.filter(isWord);
    const pinned = words.filter(({ pin }) => pin).length;
    const kept = share > 0 ? Math.max(pinned, Math.min(words.length - 1, Math.round(share * words.length))) : 0;
    const freed = drawnWords(words, words.length - kept);
    const pieces = joined(parts.map((part) => (share > 0 && isWord(part) && !freed.has(part) ? { ...part, pin: true } : part)));
    if (share > 0) drawnFrom.set(pieces, before);
    if (JSON.stringify(pieces) !== JSON.stringify(island.pieces)) exchangePieces(island, pieces);
    const others = kept > pinned ? "Press it again to keep others." : "You pinned them; none unpins all.";
    say(kept ? `${kept} of ${words.length} words ${kept === 1 ? "stays" : "stay"}. ${others}` : "No word is pinned: all of it may be written anew.");
    return true;
  }

  function exchangePieces(island, pieces) {
    const focused = document.activeElement;
    draft.breakUndo();
    draft.swap(island.id, { ...island, pieces });
    const span = view.islandElement(island.id);
    if (!focused.isConnected) span.querySelector(`[data-part="${focused.dataset.part}"]`)?.focus({ preventScroll: true }); // it was drawn anew
  }

  /** Another word in the place of one that a run wrote: it is the writer's, and Again writes the words around it anew. */
  function choose(id, index, text) {
    const { island } = draft.find(id);
    const cells = island.fill.cells.map((cell, at) => (at === index ? { ...cell, text } : cell));
    const pieces = withPinned({ fill: { cells } }, index, index);
    cells[index] = { ...cells[index], state: "pinned", probability: 1, step: 0 };
    const former = island.fill.asked ?? { ...island, fill: null };
    draft.breakUndo();
    draft.swap(id, { ...makeRewrite(pieces), id, fill: { ...island.fill, cells, versions: [], asked: former } });
    say(`“${text.trim()}” is yours now. Again writes the words around it anew.${givenUp([island])}`);
  }

  /** Take a mark away: its words become text again, those of a run or, where it was stopped, the writer's. */
  function unmark(id) {
    const found = draft.find(id);
    if (!found) return;
    const { island, at } = found;
    const own = isFilled(island) ? island : { ...island, fill: null };
    const words = !own.fill && own.was ? anew(own.was) : fragmentOf(islandText(own));
    draft.breakUndo();
    view.caret(draft.replace(at, behind(at), words));
  }

  /** The third underscore in a row, or the last bracket of [[5-12]] or [[3: lamp; very, nice]], typed where no word touches it, makes a gap;
   * that of [[~ a {{b}}]] a passage. Undo gives what was typed back. */
  function markAsTyped() {
    const at = view.selection()?.from;
    const here = at && draft.itemAt(at, true);
    if (!here || !isText(here.item)) return;
    const offset = at.offset - here.start;
    if (TOUCHED.test(here.item[offset] ?? "")) return;
    const before = here.item.slice(0, offset);
    const [mark, low, high = low, unit, held, banned] = before.match(AS_TYPED) ?? [];
    if (!mark) return passageAsTyped(before, at);
    const length = low ? { low: Number(low), high: Number(high), unit: unit?.startsWith(" token") ? "tokens" : "words" } : null;
    if (length && !(length.low >= 1 && length.low <= length.high && length.high <= LONGEST)) return;
    const [keywords, bans] = [held, banned].map((phrases) => (phrases ? phrases.split(COMMA).map((phrase) => phrase.trim()) : []));
    if (bans.includes("") || !keywords.every(isKeyword)) return;
    put({ from: { line: at.line, offset: at.offset - mark.length }, to: at }, makeGap({ length, keywords, bans }));
  }

  function passageAsTyped(before, at) {
    const start = before.lastIndexOf("[[~");
    if (start < 0 || !before.endsWith("]]")) return;
    const range = { from: { line: at.line, offset: at.offset - before.length + start }, to: at };
    const [mark, passage] = before.match(PASSAGE_TYPED) ?? [];
    const pieces = passage && unspaced(passage.split(PIN).map((text, index) => ({ text, pin: index % 2 === 1 })));
    const splits = pieces?.some(({ text }, index) => index && TOUCHED.test(pieces[index - 1].text.slice(-1)) && TOUCHED.test(text[0]));
    const plain = pieces?.length && !splits && !/___|\}\}\{\{/.test(mark);
    if (plain) put(range, makeRewrite(pieces));
    else page.written.offer(range); // it has escapes or a mistake: the draft format's own reader tells
  }

  /** The next mark behind the caret, or the one before, takes the focus; behind the last one comes the first. */
  function goToMark(by) {
    const found = draft.islands().map(({ island }) => ({ id: island.id, at: draft.find(island.id).at }));
    if (!found.length) return page.say("There are no marks yet.");
    const isBefore = (a, b) => a.line < b.line || (a.line === b.line && a.offset < b.offset);
    const focused = found.findIndex(({ id }) => view.islandElement(id).contains(document.activeElement));
    const { from } = page.selection() ?? { from: { line: 0, offset: 0 } };
    const behind = found.filter(({ at }) => isBefore(at, from)).length; // how many lie before the caret
    const start = focused >= 0 ? focused : by > 0 ? behind - 1 : behind;
    const next = (start + by + found.length) % found.length;
    page.popover.close();
    view.bringIntoSight([found[next].id]);
    view.islandElement(found[next].id).focus({ preventScroll: true });
    page.say(`Mark ${next + 1} of ${found.length}.`);
  }

  return { goToMark, gap: onWhatIsChosen(gap), rewrite: onWhatIsChosen(rewrite), pin, pinParts, keepSome, choose, takeOut, pickedText, unmark, markAsTyped };
}

/** So many of a passage's words that aren't pinned, drawn by lot: rather long ones than short ones, and rather apart than side by side. */
function drawnWords(words, count) {
  const lot = ({ text }) => Math.random() ** (text.replace(/[^\p{L}\p{N}]/gu, "").length > 3 ? 1 : 3);
  const order = words.flatMap((word, at) => (word.pin ? [] : [{ word, at, lot: lot(word) }])).sort((a, b) => b.lot - a.lot);
  const found = new Set();
  for (const apart of [true, false]) {
    for (const { word, at } of order) {
      if (found.size === count) return found;
      if (!apart || !(found.has(words[at - 1]) || found.has(words[at + 1]))) found.add(word);
    }
  }
  return found;
}

/** Lines with the words of fills as text, and every other mark as it is before it is filled. */
const withoutFills = (lines) => concat(lines.flatMap(({ items, eol }) => [...items.map(withoutFill), fragmentOf(eol)]));
const withoutFill = (item) => {
  if (!isText(item) && isFilled(item)) return fragmentOf(islandText(item));
  return [{ items: [isText(item) ? item : { ...item, fill: null }], eol: "" }];
};
/** Such lines to be put into the draft: their marks may have been there before. */
const anew = (lines) => lines.map(({ items, eol }) => ({ items: items.map((item) => (isText(item) ? item : { ...item, id: newId() })), eol }));

/** The pieces of what is to be a passage: what was pinned in it stays pinned. */
const piecesOf = (item) => {
  if (isText(item)) return [{ text: item, pin: false }];
  return isFilled(item) ? joined(passageParts(merged(stopPieces(item)))) : item.pieces;
};
/** What gaps that were filled asked for beside keywords, which stay as pins, and what a passage of their words can't ask for; as a sentence. */
function givenUp(islands) {
  const asked = [["its length", ({ length }) => length], ["its banned words", ({ bans }) => bans.length]]
    .filter(([, of]) => islands.some((island) => island.kind === "gap" && of(island))).map(([what]) => what);
  return asked.length ? ` What the gap asked for holds no more: ${asked.join(", ")}.` : "";
}

/** The texts of an island's places that can be picked: cells, or the parts of a passage. */
const stopTexts = (island) => stopPieces(island).map(({ text }) => text);
const stopPieces = ({ fill, pieces }) => (fill ? fill.cells.map(({ text, state }) => ({ text, pin: state === "pinned" })) : passageParts(pieces));

/** What a run wrote as the pieces of a passage, in which the words of some cells are pinned, whole, beside those that are so already. */
function withPinned(island, from, to) {
  return withPins(merged(stopPieces(island)), [spanOf(stopTexts(island), from, to)], true);
}

/** Where some texts in a row begin and end, in characters. */
const spanOf = (texts, from, to) => [from, to + 1].map((count) => texts.slice(0, count).join("").length);

/** Pieces in which the words that reach into some spans of characters, [from, to), are pinned, whole, or are not. */
function withPins(pieces, spans, pinned) {
  let at = 0;
  return joined(passageParts(pieces).map((part) => {
    const [start, end] = [at, (at += part.text.length)];
    const inside = part.word && spans.some(([from, to]) => start < to && end > from);
    return inside ? { ...part, pin: pinned } : part;
  }));
}

/** Parts as pieces. Pinned words side by side are one pin, with the spaces between them. */
function joined(parts) {
  return merged(parts.map((part, index) => (part.word ? part : { ...part, pin: Boolean(parts[index - 1]?.pin && parts[index + 1]?.pin) })));
}
/** Pieces of which no two neighbours are alike, and none is empty. */
function merged(given) {
  const pieces = [];
  for (const { text, pin } of given) {
    const last = pieces[pieces.length - 1];
    if (text === "") continue;
    if (last && last.pin === pin) last.text += text;
    else pieces.push({ text, pin });
  }
  return pieces;
}
/** Pieces without blanks at the passage's two ends. */
function unspaced(pieces) {
  return merged(pieces.map(({ text, pin }, index) => {
    const begun = pin || index > 0 ? text : text.trimStart();
    return { text: pin || index < pieces.length - 1 ? begun : begun.trimEnd(), pin };
  }));
}
