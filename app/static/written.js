// Marks that stand in the draft as plain text: pasted, or left from before. They may as well be the brackets of a program,
// so nothing is made of them unasked.
import { isOpen } from "./document.js";
import { fromSegments, toPlainText } from "./segments.js";
import * as server from "./server.js";

const MAY_BE_MARKS = /\[\[[\d\]~:;]|___/;

export function writtenMarks(page) {
  const { draft, view, say } = page;
  let edits = 0;
  let offered = -1; // the edits there were when an offer was made; one more, and it is void
  let left = false; // whether one was made and not taken: who fills gaps beside may want to hear of it once more
  draft.addEventListener("splice", () => {
    edits += 1;
    if (offered >= 0) say("");
    offered = -1;
  });

  /** Offer to make gaps of the marks in this text of the draft; resolves to what they are: {count}, {error, line, column}, or null. */
  async function offer({ from, to }) {
    const text = toPlainText(draft.slice(from, to));
    if (!MAY_BE_MARKS.test(text)) return null;
    const now = edits;
    const { segments = [], ...mistake } = await server.readDraft(text).catch(() => ({}));
    const count = segments.filter(({ kind }) => kind !== "text").length;
    if (now !== edits) return { count };
    if (mistake.error) return mistake;
    if (!count) return null;
    const passage = segments.some(({ kind }) => kind === "rewrite");
    const [marks, them] = count === 1 ? ["A mark is", `a ${passage ? "passage" : "gap"} of it`] : [`${count} marks are`, "gaps of them"];
    say(`${marks} written here as plain text.`, `Make ${them}`, () => {
      offered = -1;
      left = false;
      draft.breakUndo();
      view.caret(draft.replace(from, to, fromSegments(segments)));
      say(`Made ${them}. Undo gives the plain text back.`);
    });
    offered = edits;
    left = true;
    return { count };
  }
  const all = () => offer({ from: { line: 0, offset: 0 }, to: draft.end });
  page.runs.addEventListener("finish", async () => {
    if (left && !page.runs.current.states.at(-1).flat().some(isOpen)) {
      await all();
      left = false;
    }
  });

  return {
    offer,
    /** What to say where there is nothing to fill: what the marks are that are only text, or how to make one. */
    async explain() {
      const found = await all();
      if (found?.error) page.fail(found.error, found);
      else if (!found) say("Mark a gap first: select some words and press Gap, or type ___.");
    },
  };
}
