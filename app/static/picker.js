// The window in which a model is chosen: what is on this machine, what can be had, and a folder by its path.
//
// It is a modal <dialog>, so the browser keeps the focus inside and gives it back. Every row keeps its elements, and its one
// button, while their state changes: what had the focus has it still.
import { button, el } from "./dom.js";
import { shortName } from "./model.js";
import * as server from "./server.js";

const SOON_MS = 500; // while something is on its way
const LARGE = 4e9; // bytes of weights that are worth keeping in fewer bits
const FEWER = [["int8", 0.6], ["int4", 0.4]]; // and what share of them is left then, what is not a matrix included
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** Bytes as a person says them: "940 MB", "16 GB", "1.2 GB". */
function bytes(count) {
  const power = count < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${value < 9.95 && power > 1 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} ${UNITS[power]}`;
}

/** What is known of a model, fact by fact; with where it runs if it is the one `inUse`. */
function factsOf({ family, size, licence, memory }, inUse) {
  return [
    family, size && bytes(size), family && (licence || "licence unknown"), memory && `runs in ${bytes(memory)}`,
    inUse && `on ${[inUse.device.toUpperCase(), inUse.dtype].filter(Boolean).join(" in ")}`,
  ].filter(Boolean);
}

export function buildPicker(page) {
  const rows = new Map();
  let watch = null; // the ModelWatch; it comes after
  let timer = 0;
  let turn = 0; // of drawing; an answer that comes late is not drawn over a newer one
  let asked = null; // what was chosen here last, until it is in use or refused

  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const free = el("p", { class: "free" });
  const here = el("ul", { "aria-label": "On this machine" });
  const there = el("ul", { "aria-label": "To download" });
  const hereHead = el("h3", {}, "On this machine");
  const thereHead = el("h3", {}, "To download");
  const path = el("input", { type: "text", id: "lacuna-model-path", placeholder: "Name, or path of a folder", oninput: () => filter(), spellcheck: "false", autocomplete: "off", autocapitalize: "off" });
  const root = el("dialog", { class: "picker", "aria-labelledby": "lacuna-picker-title", onclick: (event) => { if (event.target === root) root.close(); } },
    el("div", { class: "picker-inner" },
      el("header", {}, el("h2", { id: "lacuna-picker-title" }, "Models"), free, button("Close", () => root.close(), { label: "", shape: "close", hint: "Close (Esc)" })),
      el("div", { class: "shelves" }, problem, hereHead, here, thereHead, there),
      el("form", { class: "by-path", onsubmit: (event) => {
        event.preventDefault();
        if (path.value.trim()) use(path.value.trim());
      } }, el("label", { for: "lacuna-model-path" }, "Find or load"), path, el("button", { type: "submit" }, "Load"))));
  root.addEventListener("close", () => clearTimeout(timer));

  const tell = (text) => {
    problem.hidden = !text;
    if (problem.textContent !== text) problem.textContent = text; // else it would be read aloud each time
  };
  /** Ask something of the server; what goes wrong is said here. */
  async function act(asking, name = null) {
    tell("");
    try {
      await asking();
      asked = name;
      await watch.ask();
    } catch (error) {
      tell(error.message);
    }
    await draw();
  }
  const use = (name, dtype) => act(() => server.useModel(name, dtype), name);

  /** Show the models that hold the words that were typed; all of them where none does, for then it is a path, or a name to come. */
  function filter() {
    const words = path.value.trim().toLowerCase();
    const fits = (row) => row.root.textContent.toLowerCase().includes(words);
    const some = [...rows.values()].some(fits);
    for (const row of rows.values()) row.root.hidden = some && !fits(row);
    for (const [head, list] of [[hereHead, here], [thereHead, there]]) head.hidden = [...list.children].every((row) => row.hidden);
  }

  // ---- a model's row
  function makeRow(name) {
    const [owner, own] = name.includes("/") && !/^[/~.]|^\w:|\\/.test(name) ? [name.slice(0, name.indexOf("/") + 1), name.slice(name.indexOf("/") + 1)] : ["", shortName(name)];
    const facts = el("p", { class: "facts" });
    const note = el("p", { class: "note", "aria-live": "polite" });
    const bar = el("progress", { "aria-label": `Download of ${name}` });
    const done = el("span", {});
    const way = el("div", { class: "way", hidden: true }, bar, done);
    const press = button("Use", () => { if (press.getAttribute("aria-disabled") !== "true") row.act?.(); });
    const root = el("li", { "data-model": name },
      el("div", { class: "what" }, el("p", { class: "model-name", title: name }, owner && el("span", {}, owner), own), facts, note, way), press);
    const row = { root, update };

    function show(label, act, { waits = false, strong = false } = {}) {
      row.act = act;
      press.lastChild.textContent = label;
      press.setAttribute("aria-label", `${label} ${own}`);
      press.setAttribute("aria-disabled", `${waits}`);
      press.className = strong && !waits ? "strong" : "";
    }
    function describe(words) {
      if (facts.textContent !== words.join(" ")) facts.replaceChildren(...words.flatMap((fact, k) => [k ? " " : null, el("span", {}, fact)]).filter(Boolean));
    }
    function remark(text, failed = false) {
      if (note.textContent !== text) note.textContent = text;
      note.classList.toggle("failed", failed);
    }
    function update(info, download, { model, inUse, room }) {
      const under = ["running", "stopping"].includes(download?.state);
      const loading = model?.state === "loading" && model.chosen === info.name;
      const refused = model?.refused?.chosen === info.name ? model.refused.error : "";
      const tight = room !== null && info.memory > room && !inUse;
      const [dtype] = (tight && info.memory > LARGE && FEWER.find(([, share]) => share * info.memory <= room)) || [""];
      const known = factsOf(info, inUse && model);
      describe(known.length || owner ? known : [info.name]);
      root.classList.toggle("in-use", inUse);
      way.hidden = !under;
      if (under) {
        if (download.total) [bar.max, bar.value] = [download.total, download.done];
        else bar.removeAttribute("value");
        done.textContent = download.total ? `${bytes(download.done)} of ${bytes(download.total)}` : "Asking for its files …";
      }
      if (download?.state === "failed") remark(download.error, true);
      else if (refused && !loading) remark(refused, true);
      else if (info.needs) remark(`Needs the Python package ${info.needs}: run launch.py extras, then start Lacuna again.`);
      else if (tight) remark(`More than the ${bytes(Math.max(0, room))} of memory that are free here${dtype && `; in ${dtype} it fits`}.`);
      else remark(download?.state === "stopped" ? "Stopped; what has come is kept." : "");

      if (under) show(download.state === "stopping" ? "Stopping …" : "Cancel", () => act(() => server.cancelDownload(info.name)), { waits: download.state === "stopping" });
      else if (!info.installed) show({ stopped: "Resume", failed: "Try again" }[download?.state] ?? "Download", () => act(() => server.startDownload(info.name)));
      else if (loading) show("Loading …", null, { waits: true });
      else if (inUse) show("In use", null, { waits: true });
      else show(dtype ? `Use in ${dtype}` : "Use", () => use(info.name, dtype), { waits: Boolean(info.needs), strong: true });
    }
    return row;
  }

  /** Ask for the list and draw it; again soon while something is on its way. */
  async function draw() {
    clearTimeout(timer);
    if (!root.open) return;
    const mine = ++turn;
    let list;
    try {
      list = await server.models();
      if (mine !== turn) return;
    } catch (error) {
      tell(error.message);
      timer = setTimeout(draw, 4 * SOON_MS);
      return;
    }
    const { model } = watch;
    const listed = list.models.map((info) => info.name);
    const unlisted = (name, installed) => { // one of the writer's own folders, or a published model that isn't in the list
      if (name && !listed.includes(name)) list.models.push({ name, family: "", size: 0, licence: "", memory: 0, installed, needs: "" });
    };
    if (model && model.state !== "failed") unlisted(model.chosen, true);
    for (const [name, { state }] of Object.entries(list.downloads)) if (state !== "done") unlisted(name, false);
    const using = model?.state === "ready" ? model.chosen : null;
    const known = list.models.map((info) => info.name);
    for (const [name, row] of rows) if (!known.includes(name)) { row.root.remove(); rows.delete(name); }
    const seats = new Map([[here, []], [there, []]]);
    list.models.forEach((info, index) => {
      const row = rows.get(info.name) ?? makeRow(info.name);
      rows.set(info.name, row);
      const embedded = index === 0 && using === null;
      row.update(info, list.downloads[info.name], { model, inUse: model?.state === "ready" && (embedded || using === info.name), room: list.free });
      seats.get(info.installed ? here : there).push(row.root);
    });
    const focused = document.activeElement;
    for (const [seat, nodes] of seats) nodes.forEach((node, k) => { if (seat.children[k] !== node) seat.insertBefore(node, seat.children[k] ?? null); });
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true }); // its row was moved
    filter();
    free.textContent = list.free === null ? "" : `${bytes(list.free)} of memory free`;
    const inUse = model?.state === "ready" && model.chosen === asked;
    const refused = model?.state !== "loading" && model?.refused?.chosen === asked;
    if (asked && (inUse || refused)) {
      if (refused && !rows.has(asked)) tell(model.refused.error);
      else if (path.value.trim() === asked) path.value = "";
      filter();
      rows.get(asked)?.root.scrollIntoView({ block: "nearest" });
      asked = null;
    }
    const moving = model?.state === "loading" || Object.values(list.downloads).some(({ state }) => ["running", "stopping"].includes(state));
    clearTimeout(timer);
    if (root.open && moving) timer = setTimeout(draw, SOON_MS);
  }

  return {
    root,
    open() {
      tell("");
      root.showModal();
      draw();
    },
    follow(model) {
      watch = model;
      let state = "";
      watch.addEventListener("change", () => {
        const now = JSON.stringify(watch.model);
        if (now !== state) draw();
        state = now;
      });
    },
  };
}
