// Typing, deleting, pasting, copying: what the browser would do to the DOM is done to the document instead.
//
// Input methods (and Android's keyboards) can't be intercepted: they write into the row, which is then read back.
import { fragmentOf, isFilled, isText, lineLength, same } from "./document.js";
import { toPlainText } from "./segments.js";
import { packed, unpacked } from "./store.js";

const OWN_TYPE = "application/x-lacuna"; // a cut or copied piece of a draft, marks and all
const REACH = 300; // characters around the caret that are looked at for the edge of a word or a grapheme
const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const words = new Intl.Segmenter(undefined, { granularity: "word" });

export function installTyping(page) {
  const { draft, view } = page;
  const root = view.root;
  let composing = null; // the line an input method is writing in
  let began = null; // and where it began to, which is where undo puts the caret

  const edit = (from, to, fragment, kind) => {
    const all = same(from, { line: 0, offset: 0 }) && same(to, draft.end) && !same(from, to); // what comes then is another text
    if (all) page.setAside();
    view.caret(draft.replace(from, to, fragment, { kind, title: all ? "" : draft.title }));
  };
  /** A selection of whole lines with the last one's end (three clicks make one): what is written in their place leaves that end there,
   * unless it `ends` with one itself. */
  const written = ({ from, to }, ends = false) => {
    const whole = !ends && from.offset === 0 && to.offset === 0 && to.line > from.line && !same(to, draft.end);
    return { from, to: whole ? { line: to.line - 1, offset: lineLength(draft.lines[to.line - 1]) } : to };
  };

  function onBeforeInput(event) {
    const type = event.inputType;
    if (type === "insertCompositionText" || type === "deleteCompositionText") return;
    if (event.isComposing) {
      if (!event.cancelable || !leavesLine(event)) return;
      settle(); // the browser would join or part lines that are the document's
    }
    event.preventDefault();
    if (type === "historyUndo") return page.commands.undo();
    if (type === "historyRedo") return page.commands.redo();
    const range = target(event);
    if (!range) return;
    const { from, to } = range;
    if (type === "insertParagraph" || type === "insertLineBreak") edit(from, to, fragmentOf(draft.eol), "");
    else if (type.startsWith("insert")) {
      const text = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
      if (text === "") return;
      if (/\s/.test(text)) draft.breakUndo(); // undo goes back word by word
      const place = written(range);
      edit(place.from, place.to, fragmentOf(text), "type");
      if (/[_\]]$/.test(text)) page.commands.markAsTyped();
      if (type === "insertFromDrop") page.written.offer({ from: place.from, to: view.selection().from });
    } else if (type.startsWith("delete") && !same(from, to)) {
      const mark = ownWordsAt(from, to);
      if (mark) page.commands.unmark(mark.id);
      else edit(from, to, fragmentOf(""), type);
    }
  }
  /** The mark that is all that lies there, with words in it, the writer's own or what a run wrote: at the caret it is the mark that is
   * taken away. */
  function ownWordsAt(from, to) {
    if (!view.selection()?.collapsed || from.line !== to.line || to.offset !== from.offset + 1) return null;
    const { item } = draft.itemAt(to, true);
    return !isText(item) && (isFilled(item) || item.kind === "rewrite" || item.was) ? item : null;
  }
  const leavesLine = (event) => {
    const [range] = event.getTargetRanges();
    const aimed = range && view.range(range);
    return event.inputType === "insertParagraph" || Boolean(aimed && aimed.from.line !== aimed.to.line);
  };

  /** What an input event is about: the selection, or for a deletion at the caret what it would take away. */
  function target(event) {
    const [range] = event.getTargetRanges();
    const aimed = range && view.range(range);
    const selected = view.selection();
    if (!event.inputType.startsWith("delete") || (selected && !selected.collapsed)) {
      return event.inputType === "insertReplacementText" || event.inputType === "insertFromDrop" || !selected ? aimed : selected;
    }
    if (!selected) return aimed;
    const type = event.inputType;
    const back = !/Forward/.test(type);
    const caret = selected.from;
    const next = draft.itemAt(caret, back);
    if (!next) return lineEdge(caret, back);
    const edge = (offset) => ({ line: caret.line, offset });
    const { item, start, end } = next;
    if (!isText(item)) return { from: edge(start), to: edge(end) };
    const offset = caret.offset - start;
    let stop;
    if (/Word/.test(type)) stop = back ? wordBefore(item, offset) : wordAfter(item, offset);
    else if (/Line/.test(type)) stop = lineStop(aimed, back, start, item);
    else stop = back ? graphemeBefore(item, offset) : graphemeAfter(item, offset);
    return back ? { from: edge(start + stop), to: caret } : { from: caret, to: edge(start + stop) };
  }
  /** As far as the browser would delete a visual line, but not beyond this string. */
  function lineStop(aimed, back, start, item) {
    const stop = back ? aimed?.from : aimed?.to;
    const inside = stop && stop.line === view.selection().from.line;
    return inside ? Math.max(0, Math.min(item.length, stop.offset - start)) : back ? 0 : item.length;
  }
  function lineEdge(caret, back) {
    if (back) return caret.line === 0 ? null : { from: { line: caret.line - 1, offset: lineLength(draft.lines[caret.line - 1]) }, to: caret };
    return caret.line === draft.lines.length - 1 ? null : { from: caret, to: { line: caret.line + 1, offset: 0 } };
  }

  function onPaste(event) {
    event.preventDefault();
    const range = view.selection();
    const own = piece(event.clipboardData.getData(OWN_TYPE));
    const text = event.clipboardData.getData("text/plain");
    if (!range || !(own || text)) return; // a picture has no text
    const fragment = own ?? fragmentOf(text);
    const { from, to } = written(range, !fragment[fragment.length - 1].items.length);
    draft.breakUndo();
    edit(from, to, fragment, "");
    if (!own) page.written.offer({ from, to: view.selection().from });
  }
  function onCopy(event) {
    if (page.pick) return copyPicked(event);
    const range = view.selection();
    if (!range || range.collapsed) return;
    event.preventDefault();
    const lines = draft.slice(range.from, range.to);
    event.clipboardData.setData("text/plain", toPlainText(lines));
    event.clipboardData.setData(OWN_TYPE, JSON.stringify(packed(lines)));
    if (event.type === "cut") edit(range.from, range.to, fragmentOf(""), "");
  }

  /** Words picked inside a mark are copied as text: without the others there they are no mark. */
  function copyPicked(event) {
    event.preventDefault();
    event.clipboardData.setData("text/plain", page.commands.pickedText());
    if (event.type === "cut") page.commands.takeOut();
  }

  root.addEventListener("beforeinput", onBeforeInput);
  root.addEventListener("paste", onPaste);
  root.addEventListener("copy", onCopy);
  root.addEventListener("cut", onCopy);

  // ---- input methods
  root.addEventListener("compositionstart", () => {
    const range = view.selection();
    if (range && !range.collapsed) {
      const { from, to } = written(range);
      edit(from, to, fragmentOf(""), "");
    }
    began = view.selection()?.from ?? null;
    composing = began?.line ?? null;
    root.classList.remove("empty"); // what is being written would stand on the hint
  });
  const readBack = () => {
    const range = view.selection();
    const line = composing ?? range?.from.line ?? null;
    if (line === null) return;
    const items = view.readRow(line);
    const caret = range?.from.line === line ? caretIn(line) : null; // who has gone elsewhere is not called back
    const before = draft.lines[line].items;
    if (items.length !== before.length || items.some((item, k) => item !== before[k])) { // else there is nothing to undo
      const end = { line, offset: lineLength(draft.lines[line]) };
      draft.replace({ line, offset: 0 }, end, [{ items, eol: "" }], { kind: "compose", caret: began ?? end });
    }
    view.redraw(line);
    if (caret !== null) view.caret({ line, offset: Math.min(caret, lineLength(draft.lines[line])) });
  };
  /** The caret's offset in a row that the browser has just written in. */
  function caretIn(line) {
    const { startContainer, startOffset } = getSelection().getRangeAt(0);
    const measure = document.createRange();
    measure.setStart(view.row(line), 0);
    measure.setEnd(startContainer, startOffset);
    const islands = [...measure.cloneContents().querySelectorAll(".island")];
    return measure.toString().length - islands.reduce((sum, island) => sum + island.textContent.length - 1, 0);
  }
  const taken = () => {
    readBack();
    composing = began = null;
    page.commands.markAsTyped(); // an input method may write all of a mark at once
  };
  root.addEventListener("compositionend", taken);
  /** A word that an input method is still at is taken as it stands, before anything else is done with its line. */
  const settle = () => { if (composing !== null) taken(); };
  page.typing = { settle };
  document.addEventListener("pointerdown", (event) => { if (!root.contains(event.target)) settle(); }, true);
  root.addEventListener("input", (event) => { if (!event.isComposing && composing === null) readBack(); });

  // ---- text is not moved with the mouse: what is dropped here comes from elsewhere
  root.addEventListener("dragstart", (event) => event.preventDefault());
}

/** Lines from the clipboard, with what was written in their gaps; null where there are none, or none that this page can read. */
function piece(text) {
  try {
    return text ? unpacked(JSON.parse(text)) : null;
  } catch {
    return null; // copied in a page of another version
  }
}

// ---- where the grapheme or word beside an offset ends
const blank = ({ segment }) => /^\s+$/.test(segment);
function piecesBefore(segmenter, text, offset) {
  const start = Math.max(0, offset - REACH);
  return [...segmenter.segment(text.slice(start, offset))].map((piece) => ({ ...piece, index: piece.index + start }));
}
const piecesAfter = (segmenter, text, offset) => [...segmenter.segment(text.slice(offset, offset + REACH))];
const graphemeBefore = (text, offset) => piecesBefore(graphemes, text, offset).pop().index;
const graphemeAfter = (text, offset) => offset + piecesAfter(graphemes, text, offset)[0].segment.length;
function wordBefore(text, offset) {
  const pieces = piecesBefore(words, text, offset);
  return (pieces.findLast((piece) => !blank(piece)) ?? pieces[0]).index;
}
function wordAfter(text, offset) {
  const pieces = piecesAfter(words, text, offset);
  const piece = pieces.find((one) => !blank(one)) ?? pieces[pieces.length - 1];
  return offset + piece.index + piece.segment.length;
}
