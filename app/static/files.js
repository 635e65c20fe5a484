// Opening and saving: draft files, the examples, the clipboard.
import { fragmentOf, isFilled } from "./document.js";
import { button, el, keys } from "./dom.js";
import { replayOf } from "./replay.js";
import { fromSegments, shorten, toPlainText, toSegments } from "./segments.js";
import * as server from "./server.js";
import { unpacked } from "./store.js";

const LARGEST = 20e6; // bytes
const BOM = "\ufeff";
const LABEL = 60; // characters of a kept draft's first words
const UNITS = [["day", 864e5], ["hour", 36e5], ["minute", 6e4]];

/** How long ago that was, in words. */
function ago(passed) {
  const [unit, size] = UNITS.find(([, size]) => passed >= size) ?? [];
  return unit ? new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(passed / size), unit) : "just now";
}
/** What a draft begins with; a blank line tells nothing. */
function firstWords(lines) {
  const line = lines.find((line) => toPlainText([line]).trim());
  const words = line ? toPlainText([line]).trim() : "";
  return shorten(words, LABEL);
}

export function buildFiles(page, examples) {
  const { draft, say } = page;
  const chooser = el("input", { type: "file", accept: ".txt,.md,.text,text/plain,text/markdown", hidden: true, "aria-hidden": "true", onchange: () => {
    if (chooser.files[0]) open(chooser.files[0]);
    chooser.value = "";
  } });

  async function open(file) {
    if (file.size > LARGEST) return page.fail(`${file.name} is too large to be a draft (${Math.round(file.size / 1e6)} MB).`);
    let text;
    let marked; // with a byte order mark, as Windows puts before a text
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());
      marked = text.startsWith(BOM);
      text = text.slice(marked ? BOM.length : 0);
    } catch {
      return page.fail(`${file.name} is not a UTF-8 text file; save it as plain text first.`);
    }
    const load = (lines, opened, more) => {
      page.load(lines, file.name.replace(/\.[^.]+$/, ""), opened, more);
      ending = /\.md$/i.test(file.name) ? "md" : "txt";
      before = marked ? BOM : "";
    };
    // What looks like marks may be links of a note or code.
    const asText = () => load(fragmentOf(text), `Opened ${file.name} as plain text.`);
    try {
      const { segments, error, line, column } = await server.readDraft(text);
      if (error) return page.fail(`${file.name}, line ${line}, column ${column}: ${error}`, null, "Open it as plain text", asText);
      const count = segments.filter(({ kind }) => kind !== "text").length;
      if (!count) return load(fromSegments(segments), `Opened ${file.name}.`);
      load(fromSegments(segments), `Opened ${file.name}. It has ${count === 1 ? "one mark" : `${count} marks`}.`, { label: count === 1 ? "Leave it as text" : "Leave them as text", act: asText });
    } catch (error) {
      page.fail(error.message);
    }
  }

  function download(text, name, type = "text/plain") {
    const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    const link = el("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  async function saveDraft() {
    try {
      const printed = await server.printDraft(toSegments(draft.lines, () => true));
      if (printed.error) return page.fail(printed.error, printed);
      download(before + printed.draft, `${page.title() || "draft"}.${ending}`);
      const filled = draft.islands().some(({ island }) => isFilled(island));
      say(`Saved the draft with its gaps as they were marked.${filled ? " What was written in them is not in this file: Save text has it." : ""}`);
    } catch (error) {
      page.fail(error.message);
    }
  }
  async function saveReplay() {
    try {
      download(await replayOf(page, page.runs.current), `${page.title() || "draft"}-replay.html`, "text/html");
      say("Saved the run as a page of its own: any browser shows it, without Lacuna and without a network.");
    } catch (error) {
      page.fail(error.message);
    }
  }
  const replay = button("Save replay", saveReplay, { hint: "Save this run, step by step, as a page that any browser can show", hidden: true });
  const drawReplay = () => { replay.hidden = page.runs.live || !(page.runs.current?.frames.length > 1) || !page.runs.stands; };
  for (const change of ["state", "forget"]) page.runs.addEventListener(change, drawReplay);
  draft.addEventListener("history", drawReplay);

  const done = (word) => say(draft.islands().some(({ island }) => !isFilled(island)) ? `${word}; open gaps are written as ___.` : `${word}.`);
  async function copyText() {
    const text = toPlainText(draft.lines);
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      download(text, `${page.title() || "text"}.${ending}`);
      return say("The browser does not let this page use the clipboard, so the text was saved as a file.");
    }
    done("Copied");
  }
  function saveText() {
    download(before + toPlainText(draft.lines), `${page.title() || "text"}.${ending}`);
    done("Saved the text as it stands");
  }

  // ---- the menu of examples and kept drafts
  const entry = (label, open, more = {}) => button(label, () => {
    close();
    open();
    page.toDraft();
  }, { role: "menuitem", ...more });
  let ending = "txt"; // of the file that was opened,
  let before = ""; // and its byte order mark
  const others = el("div", { class: "kept", role: "group", "aria-label": "Kept drafts" });
  const menu = el("div", { class: "menu", role: "menu", hidden: true, onmousedown: (event) => event.preventDefault() },
    el("div", { class: "heading", "aria-hidden": "true" }, "Examples"),
    ...examples.map(({ title, segments }) => entry(title, () => page.load(fromSegments(segments), title, `Opened ${title}.`))),
    entry("An empty page", () => page.load(fromSegments([]), "", "Opened an empty page.")), others);
  const opener = button("Drafts", () => (menu.hidden ? show() : close()), { "aria-haspopup": "menu", "aria-expanded": "false", hint: "Examples, an empty page, and the drafts that were kept" });
  async function show() {
    others.replaceChildren();
    others.setAttribute("aria-busy", "true");
    menu.hidden = false;
    menu.style.maxHeight = `${innerHeight - menu.getBoundingClientRect().top - 12}px`;
    opener.setAttribute("aria-expanded", "true");
    menu.querySelector("[role=menuitem]").focus();
    const drafts = (await page.otherDrafts()).map(keptDraft).filter(Boolean);
    if (drafts.length) others.replaceChildren(el("div", { class: "heading", "aria-hidden": "true" }, "Kept drafts"), ...drafts);
    others.setAttribute("aria-busy", "false");
  }
  function keptDraft({ key, lines, title, time }) {
    const words = firstWords(lines);
    if (!words) return null;
    const item = entry(title || words, () => page.load(unpacked(lines), title, `Opened “${title || words}”.`, { key }), { title: words });
    item.firstChild.dir = "auto";
    item.append(el("span", { class: "time" }, ago(Date.now() - time)));
    const name = title || words;
    const remove = button(`Delete “${name}”`, () => {
      const putBack = page.removeDraft(key);
      close();
      page.toDraft();
      say(`Deleted “${name}”.`, "Put it back", () => { if (putBack() !== false) say(`“${name}” is back.`); });
    }, { role: "menuitem", label: "", shape: "close", class: "remove", hint: "Delete this draft" });
    return el("div", { class: "draft-kept", role: "none" }, item, remove);
  }
  function close() {
    menu.hidden = true;
    opener.setAttribute("aria-expanded", "false");
  }
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.querySelectorAll("[role=menuitem]:not(.remove)")];
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = document.activeElement.closest(".draft-kept");
    const here = items.indexOf(row?.firstChild ?? document.activeElement);
    if (by) items[(here + by + items.length) % items.length].focus();
    else if (row && event.key === "ArrowRight") row.lastChild.focus();
    else if (row && event.key === "ArrowLeft") row.firstChild.focus();
    else if (event.key === "Escape") { close(); opener.focus(); } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  menu.addEventListener("focusout", (event) => { if (!menu.contains(event.relatedTarget)) close(); }); // else Escape would be the run's, and the menu stay
  document.addEventListener("pointerdown", (event) => { if (!menu.contains(event.target) && !opener.contains(event.target)) close(); });

  // ---- a file dropped on the page
  page.root.addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
  page.root.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    event.preventDefault();
    open(file);
  });

  const choose = () => chooser.click();
  Object.assign(page.commands, { open: choose, save: saveDraft });
  return el("div", { class: "files" }, chooser,
    button("Open", choose, { hint: keys("Open a draft file, or drop one on the page (Ctrl+O)") }),
    el("div", { class: "menu-holder" }, opener, menu),
    button("Copy text", copyText, { hint: "Copy the text as it stands" }),
    button("Save text", saveText, { hint: "Save the text as it stands" }),
    button("Save draft", saveDraft, { hint: keys("Save a draft file, with the gaps as they were marked (Ctrl+S)") }), replay);
}
