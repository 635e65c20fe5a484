// The window that says what is what: what the marks and tints mean, what keys do, and what the model does.
import { button, el, keys } from "./dom.js";

/** [what it looks like, what it is], as the draft draws it. */
const MARKS = [
  [() => el("span", { class: "island gap", "data-label": "auto" }), "A gap, to be written. Click it for its length and for words that it must hold."],
  [() => el("span", { class: "island rewrite" }, el("span", { class: "word" }, "these words")), "A passage, to be written anew. Click a word to pin it."],
  [() => el("span", { class: "island rewrite" }, el("span", { class: "word pinned" }, "lamp")), "Pinned: it stays as it is."],
  [() => el("span", { class: "ink masked starts ends", "data-hold": "mask" }), "Still masked: the model has not settled it."],
  [() => el("span", {}, ...["one", "of", "four", "tints"].flatMap((word, k) => [" ", el("span", { class: `ink starts ends c${k + 1}` }, word)])),
    "Written: the bluer, the surer. Click a word for others, and for other fills of its place."],
];
const KEYS = [
  ["Ctrl+Enter", "Fill; again for another fill"], ["Esc", "Stop the run"],
  ["Ctrl+M", "Make a gap of what is selected, or at the caret"], ["Ctrl+J", "Make a passage of it"], ["Ctrl+K", "Pin words"],
  ["Shift+← →", "In a fill: pick several words"], ["F8", "To the next mark; with Shift the one before"], ["Ctrl+Z", "Undo, a run too"], ["Ctrl+S", "Save the draft as a file"], ["Ctrl+O", "Open one"],
];
const TYPED = [["___", "a gap of any length"], ["[[5]]", "of five words"], ["[[3-8: lamp]]", "that holds “lamp”"], ["[[; sea]]", "without “sea”"], ["[[~ dark {{sea}}]]", "a passage, “sea” pinned"]];

/** {root, open}: a modal dialog, which is empty while it is closed: the marks in it are no marks of the draft. */
export function buildHelp() {
  const list = (name, pairs) => el("dl", { class: name }, ...pairs.flatMap(([what, means]) => [el("dt", {}, what), el("dd", {}, means)]));
  const root = el("dialog", { class: "picker helps", "aria-labelledby": "lacuna-help-title",
    onclick: (event) => { if (event.target === root) root.close(); }, onclose: () => root.replaceChildren() });
  const open = () => {
    root.replaceChildren(el("div", { class: "picker-inner" },
      el("header", {}, el("h2", { id: "lacuna-help-title" }, "What is what"), el("span", { class: "free" }), button("Close", () => root.close(), { label: "", shape: "close", hint: "Close (Esc)" })),
      el("div", { class: "shelves" },
        el("p", {}, "Mark what is missing and press Fill. The model sees your words on both sides, begins with nothing but masks between them, and in each step settles the words that it is surest of. It runs where Lacuna was started, and no draft goes elsewhere."),
        el("h3", {}, "Marks"), list("looks", MARKS.map(([draw, means]) => [draw(), means])),
        el("h3", {}, "Keys"), list("keys", KEYS.map(([key, means]) => [el("kbd", {}, keys(key)), means])),
        el("h3", {}, "Typed"), list("keys", TYPED.map(([text, means]) => [el("kbd", {}, text), means])),
        el("h3", {}, "How"), list("words", [
          ["Variety", "How daring the choice of words is: the temperature."],
          ["Care", "How many steps are taken, and so how few words are settled at once."],
          ["Method", "Which masks are settled first."],
          ["Seed", "The same seed and settings write the same fill."],
        ]))));
    root.showModal();
  };
  return { root, open };
}
