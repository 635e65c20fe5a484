// A run as a file of its own, to be shown where there is no Lacuna: one HTML page that needs nothing else. Each marked place stands in it
// once for every step at which it looked otherwise; its script (replay-player.js) only says which of them are hidden.
import { isText } from "./document.js";
import { button, el } from "./dom.js";
import { drawIsland } from "./islands.js";
import * as server from "./server.js";
import { story } from "./timeline.js";

const SHEETS = ["base", "draft", "dock", "replay"];
const FONTS = /@font-face \{[^}]*\}\n?/g; // they would have to lie beside the file

/** The page as text: the draft as it stands around a run's places, each step of the run, and what it was made with. */
export async function replayOf(page, run) {
  const [player, ...sheets] = await Promise.all(["replay-player.js", ...SHEETS.map((name) => `${name}.css`)].map(server.file));
  const gaps = new Map(run.targets.map(({ id, fill }, gap) => [id, { gap, fill }]));
  const stands = (item) => !isText(item) && gaps.get(item.id)?.fill === item.fill;
  const draw = (item) => (isText(item) ? [item] : stands(item) ? looks(item, run, gaps.get(item.id).gap) : [still(item)]);
  const lines = page.draft.lines.map(({ items }) => el("div", { class: items.length ? "line" : "line blank", dir: "auto" },
    ...(items.length ? items.flatMap(draw) : [el("br")])));
  const last = run.frames.length - 1;
  const title = page.title() || "A draft";
  const made = [run.model, `seed ${run.settings.seed}`, `${run.settings.sampler}, ${run.settings.schedule}`, `${run.frames[0].steps} steps`];
  const captions = run.frames.map((_, at) => el("p", { class: "say steps", "data-from": at, "data-to": at, hidden: at !== last }, ...story(run, at)));
  const root = el("div", { class: "lacuna replay", "data-last": last },
    el("header", { class: "top" }, el("span", { class: "mark", role: "img", "aria-label": "Lacuna" }, "L", el("b"), "cuna"),
      el("div", { class: "about" }, el("span", { class: "title" }, title)), el("p", { class: "made" }, made.filter(Boolean).join(" · "))),
    el("div", { class: "desk" }, el("div", { class: "sheet-of-paper" }, el("section", { class: "card" }, el("main", { class: "draft" }, ...lines)))),
    el("div", { class: "dock", hidden: true }, el("div", { class: "dock-inner" },
      el("div", { class: "transport" }, button("Play", null, { label: "", shape: "play", class: "play" }), button("Pause", null, { label: "", shape: "pause", class: "pause", hidden: true })),
      el("div", { class: "track" }, el("div", { class: "told", "aria-live": "polite" }, ...captions),
        el("input", { class: "scrub", type: "range", "aria-label": "Step", min: 0, max: last, value: last, style: "--at: 100%" })))));
  const file = document.implementation.createHTMLDocument(`${title} – a replay`);
  file.documentElement.lang = "en";
  file.head.prepend(el("meta", { charset: "utf-8" }), el("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    el("meta", { name: "color-scheme", content: "light dark" }));
  file.head.append(el("style", {}, sheets.join("\n").replace(FONTS, "")));
  file.body.append(root, el("script", {}, player));
  return `<!doctype html>\n${file.documentElement.outerHTML}\n`;
}

/** A place of the run, once for every step at which it looks otherwise, with the steps from and to which it does. */
function looks(island, run, gap) {
  const found = [];
  run.frames.forEach(({ step }, at) => {
    const last = at === run.frames.length - 1;
    const states = [at, at - 1, at - 2].map((k) => run.states[k]?.[gap]);
    if (!last && states.every((state) => state === states[0])) return void (found[found.length - 1].dataset.to = at); // nothing came, nothing is new
    const fill = { ...island.fill, shown: last ? null : run.states[at][gap], step: last ? 0 : step, near: false };
    const span = still({ ...island, fill });
    const before = found[found.length - 1];
    if (before?.innerHTML === span.innerHTML) before.dataset.to = at;
    else found.push(Object.assign(span, { hidden: true }));
    found[found.length - 1].dataset.to = at;
    found[found.length - 1].dataset.from ??= at;
  });
  found[found.length - 1].hidden = false;
  return found;
}

/** A mark as a picture: nothing of it can be pressed. */
function still(island) {
  const span = el("span");
  drawIsland(span, island);
  for (const node of [span, ...span.querySelectorAll("[role], [tabindex]")]) {
    for (const name of ["role", "tabindex", "aria-label", "aria-roledescription", "aria-haspopup", "aria-pressed"]) node.removeAttribute(name);
  }
  return span;
}
