// How a fill is to be done: two dials, the seed, and the engine's settings behind "Advanced". Kept from visit to visit.
import { button, el } from "./dom.js";

const KEY = "lacuna.settings";
const STEPS = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];
const randomSeed = () => Math.floor(Math.random() * 1e6);
const ONLY_FOR = { threshold: ["threshold"], entropy_bound: ["entropy_bound"], block_length: ["left_to_right"] };
const CHOICES = { deterministic: "always the likeliest", stochastic: "drawn by chance", hybrid: "drawn early, the likeliest late" };

export function buildPanel(page, facts) {
  const defaults = facts.settings;
  const saved = read();
  const values = { ...defaults, ...saved.values };
  let keepSeed = saved.keepSeed ?? false;
  if (saved.values?.seed === undefined) values.seed = randomSeed();
  const fields = []; // functions that draw a control from the values

  function read() {
    try {
      const { values: kept = {}, keepSeed: keep } = JSON.parse(localStorage.getItem(KEY)) ?? {};
      return { values: Object.fromEntries(Object.entries(kept).filter(([name, value]) => typeof value === typeof defaults[name])), keepSeed: keep };
    } catch {
      return {};
    }
  }
  const changed = () => {
    for (const draw of fields) draw();
    try { localStorage.setItem(KEY, JSON.stringify({ values, keepSeed })); } catch { /* a full store loses only the settings */ }
  };
  const set = (name, value) => { values[name] = value; changed(); };

  /** A labelled row; the label names the control, the note behind it says more. */
  let ids = 0;
  function row(label, control, { note } = {}) {
    const id = (control.id = `lacuna-setting-${++ids}`);
    return el("div", { class: "row" }, el("label", { for: id }, label), note ?? null, control);
  }
  function dial(label, name, { min, max, step, show, toDial = (x) => x, fromDial = (x) => x }) {
    const input = el("input", { type: "range", min, max, step, oninput: () => set(name, fromDial(Number(input.value))) });
    const note = el("span", { class: "note", "aria-hidden": "true" });
    fields.push(() => {
      input.value = toDial(values[name]);
      input.style.setProperty("--at", `${(100 * (input.value - min)) / (max - min)}%`);
      note.textContent = show(values[name]);
      input.setAttribute("aria-valuetext", show(values[name]));
    });
    return row(label, input, { note });
  }
  function number(label, name, { min, max, step }) {
    const input = el("input", { type: "number", min, max, step, onchange: () => {
      const value = Number(input.value);
      if (input.value === "" || !input.validity.valid && !input.validity.stepMismatch) return changed();
      if (name === "seed") keepSeed = true;
      set(name, Number.isInteger(defaults[name]) && step === 1 ? Math.round(value) : value);
    } });
    fields.push(() => { input.value = values[name]; });
    const node = row(label, input);
    if (ONLY_FOR[name]) fields.push(() => { node.hidden = !ONLY_FOR[name].includes(values.sampler); });
    return node;
  }
  function choice(label, name, options, help = {}) {
    const select = el("select", { onchange: () => set(name, select.value) }, ...options.map((option) => el("option", { value: option }, option)));
    const text = el("p", { class: "help" });
    fields.push(() => {
      select.value = values[name];
      text.textContent = help[values[name]] ?? "";
      text.hidden = !text.textContent;
    });
    return el("div", {}, row(label, select), text);
  }

  const nearest = (steps) => STEPS.reduce((best, value, k) => (Math.abs(value - steps) < Math.abs(STEPS[best] - steps) ? k : best), 0);
  const keep = el("input", { type: "checkbox", id: "lacuna-keep-seed", onchange: () => { keepSeed = keep.checked; changed(); } });
  fields.push(() => { keep.checked = keepSeed; });
  const seed = number("Seed", "seed", { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 });
  seed.append(button("New seed", () => set("seed", randomSeed()), { label: "", shape: "dice", hint: "Another seed", class: "quiet" }));

  const reset = button("Reset to defaults", () => {
    Object.assign(values, defaults, { seed: values.seed });
    keepSeed = false;
    changed();
  }, { class: "quiet" });
  const root = el("section", { class: "box how", "aria-label": "How to fill" },
    el("h2", {}, "How"),
    dial("Variety", "temperature", { min: 0, max: 1.5, step: 0.05, show: (t) => (t === 0 ? "none" : t.toFixed(2)) }),
    dial("Care", "steps", { min: 0, max: STEPS.length - 1, step: 1, toDial: nearest, fromDial: (k) => STEPS[k], show: (n) => `${n} step${n === 1 ? "" : "s"}` }),
    el("details", { class: "advanced" }, el("summary", {}, "Advanced"),
      seed,
      el("div", { class: "row check" }, keep, el("label", { for: "lacuna-keep-seed" }, "Same seed each time")),
      choice("Sampler", "sampler", Object.keys(facts.samplers), facts.samplers),
      choice("Schedule", "schedule", facts.schedules),
      choice("Choice", "choice", Object.keys(CHOICES), Object.fromEntries(Object.entries(CHOICES).map(([name, help]) => [name, `Each token is ${help}.`]))),
      number("Steps", "steps", { min: 1, max: 4096, step: 1 }),
      number("Temperature", "temperature", { min: 0, max: 10, step: 0.05 }),
      number("Top-p", "top_p", { min: 0.01, max: 1, step: 0.01 }),
      number("Top-k (0: all)", "top_k", { min: 0, max: 100000, step: 1 }),
      number("Threshold", "threshold", { min: 0.01, max: 1, step: 0.01 }),
      number("Entropy bound", "entropy_bound", { min: 0, max: 100, step: 0.1 }),
      number("Block length", "block_length", { min: 1, max: 2000, step: 1 }),
      reset));
  changed();

  return {
    root,
    /** The settings for the next run; unless the seed is kept, each run gets a new one, which is shown. */
    settingsForRun() {
      if (!keepSeed && page.runs.current) values.seed = randomSeed();
      changed();
      return { ...values };
    },
  };
}
