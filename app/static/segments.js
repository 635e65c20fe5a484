// The draft as the server speaks of it: segments {kind: "text"} | {kind: "gap"} | {kind: "rewrite"}, and as plain text.
import { concat, fragmentOf, isFilled, isText, islandText, makeGap, makeRewrite } from "./document.js";

const UNSAID = "…"; // what a reader takes for words that are missing

/** Segments of lines. `open(island)` says which islands go as marks; the others go as the text they read as, an open gap as the words that
 * it took the place of, or as an ellipsis: without any word the text around it would close up to another. */
export function toSegments(lines, open) {
  const segments = [];
  const text = (value) => {
    const last = segments[segments.length - 1];
    if (value === "") return;
    if (last?.kind === "text") last.text.push(value);
    else segments.push({ kind: "text", text: [value] });
  };
  for (const { items, eol } of lines) {
    for (const item of items) {
      if (isText(item)) text(item);
      else if (!open(item)) text(isFilled(item) ? islandText(item) : item.kind === "rewrite" ? islandText({ ...item, fill: null }) : item.was ? toPlainText(item.was) : UNSAID);
      else if (item.kind === "gap") segments.push({ kind: "gap", length: item.length, keywords: item.keywords, bans: item.bans });
      else segments.push({ kind: "rewrite", pieces: item.pieces });
    }
    text(eol);
  }
  return segments.map((segment) => (segment.kind === "text" ? { ...segment, text: segment.text.join("") } : segment));
}

/** Lines of segments. */
export function fromSegments(segments) {
  return concat(segments.map(({ kind, text, length, keywords, bans, pieces }) => (kind === "text" ? fragmentOf(text)
    : [{ items: [kind === "gap" ? makeGap({ length, keywords, bans }) : makeRewrite(pieces)], eol: "" }])));
}

const SHOWN = 24; // characters of the keywords on a gap's chip, which has to fit a phone

/** The first so many characters of a text and "…"; all of it where it is no longer. No emoji is cut in two. */
export function shorten(text, count) {
  const characters = [...text];
  return characters.length > count ? `${characters.slice(0, count).join("").trimEnd()}…` : text;
}

/** What a reader sees: filled words as words; an open gap, also one that a stopped run left half filled, as three underscores. */
export function toPlainText(lines) {
  const read = (item) => (isText(item) ? item : isFilled(item) ? islandText(item) : item.kind === "gap" ? "___" : islandText({ ...item, fill: null }));
  return lines.map(({ items, eol }) => items.map(read).join("") + eol).join("");
}

/** A gap's mark, for reading: as the draft format writes it, but for escapes. */
export function gapMark(island) {
  const { length, keywords, bans } = island;
  const size = !length ? "" : (length.low === length.high ? `${length.low}` : `${length.low}-${length.high}`) + (length.unit === "tokens" ? " tokens" : "");
  return `[[${size}${keywords.length ? ": " + keywords.join(", ") : ""}${bans.length ? "; " + bans.join(", ") : ""}]]`;
}

/** A gap's length in words; which words it must hold (of many only the first, but for `whole`), and how many it may not. */
export function lengthLabel({ length, keywords = [], bans = [] }, whole = false) {
  const held = keywords.join(", ");
  const shown = whole ? held : shorten(held, SHOWN);
  const more = (shown && ` · ${shown}`) + (bans.length ? ` · ${bans.length} banned` : "");
  if (!length) return `auto${more}`;
  const count = length.low === length.high ? `${length.low}` : `${length.low}–${length.high}`;
  const unit = length.unit === "tokens" ? "token" : "word";
  return `${count} ${unit}${length.high === 1 ? "" : "s"}${more}`;
}
