// Opening and saving: draft files, the examples, the clipboard.
import { isFilled } from "./document.js";
import { button, el } from "./dom.js";
import { fromSegments, toPlainText, toSegments } from "./segments.js";
import * as server from "./server.js";

const LARGEST = 20e6; // bytes

export function buildFiles(page, examples) {
  const { draft, say } = page;
  const chooser = el("input", { type: "file", accept: ".txt,.md,.text,text/plain,text/markdown", hidden: true, "aria-hidden": "true", onchange: () => {
    if (chooser.files[0]) open(chooser.files[0]);
    chooser.value = "";
  } });

  async function open(file) {
    if (file.size > LARGEST) return page.fail(`${file.name} is too large to be a draft (${Math.round(file.size / 1e6)} MB).`);
    let text;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    } catch {
      return page.fail(`${file.name} is not a UTF-8 text file; save it as plain text first.`);
    }
    try {
      const { segments, error, line, column } = await server.readDraft(text);
      if (error) return page.fail(`${file.name}, line ${line}, column ${column}: ${error}`);
      page.load(fromSegments(segments), file.name.replace(/\.[^.]+$/, ""));
      say(`Opened ${file.name}.`);
    } catch (error) {
      page.fail(error.message);
    }
  }

  function download(text, name) {
    const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
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
      download(printed.draft, `${page.title() || "draft"}.txt`);
      say("Saved the draft with its gaps as they were marked.");
    } catch (error) {
      page.fail(error.message);
    }
  }
  async function copyText() {
    const text = toPlainText(draft.lines);
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      download(text, `${page.title() || "text"}.txt`);
      return say("The browser does not let this page use the clipboard, so the text was saved as a file.");
    }
    say(draft.islands().some(({ island }) => !isFilled(island)) ? "Copied; open gaps are written as ___." : "Copied.");
  }

  // ---- the menu of examples
  const menu = el("div", { class: "menu", role: "menu", hidden: true }, ...examples.map(({ title, segments }) => button(title, () => {
    close();
    page.load(fromSegments(segments), title);
    view().focus();
  }, { role: "menuitem" })), button("An empty page", () => {
    close();
    page.load(fromSegments([]), "");
    view().focus();
  }, { role: "menuitem" }));
  const view = () => page.view.root;
  const opener = button("Examples", () => (menu.hidden ? show() : close()), { "aria-haspopup": "menu", "aria-expanded": "false" });
  function show() {
    menu.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    menu.firstChild.focus();
  }
  function close() {
    menu.hidden = true;
    opener.setAttribute("aria-expanded", "false");
  }
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.children];
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) items[(items.indexOf(document.activeElement) + by + items.length) % items.length].focus();
    else if (event.key === "Escape") { close(); opener.focus(); } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.addEventListener("pointerdown", (event) => { if (!menu.contains(event.target) && !opener.contains(event.target)) close(); });

  // ---- a file dropped on the page
  page.root.addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
  page.root.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    event.preventDefault();
    open(file);
  });

  return el("div", { class: "files" }, chooser,
    button("Open", () => chooser.click(), { hint: "Open a draft file (or drop one on the page)" }),
    el("div", { class: "menu-holder" }, opener, menu),
    button("Copy text", copyText, { hint: "Copy the text as it stands" }),
    button("Save draft", saveDraft, { hint: "Save a draft file, with the gaps as they were marked" }));
}
