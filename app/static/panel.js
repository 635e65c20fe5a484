// How a fill is to be done: two dials, the method, and the engine's settings behind "Advanced". Kept from visit to visit.
//
// The settings, their help, the published methods and which setting matters to which sampler are the engine's own:
// a new one appears here by itself, and takes a line in LIMITS if it is a number.
import { button, el } from "./dom.js";

const KEY = "lacuna.settings";
const STEPS = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];
const AS_NEEDED = 4096; // more than any gap takes: what methods name that go on until all is settled
const OWN = "Lacuna’s own";
const CHANGED = "your own mix";
const FREE = ["steps", "temperature", "top_p", "top_k", "seed", "bans", "instruction", "window"]; // where a method doesn't name them, they are the writer's choice
const VARIETY = ["temperature", "top_p", "top_k"]; // mean nothing where the likeliest token is always taken
const LIMITS = {
  steps: [1, 4096, 1], temperature: [0, 10, 0.05], top_p: [0.01, 1, 0.01], top_k: [0, 100000, 1], threshold: [0.01, 1, 0.01],
  factor: [0.05, 100, 0.05], entropy_bound: [0, 100, 0.1], block_length: [0, 2000, 1], guidance: [0, 100, 0.1], remasking: [0, 1, 0.01],
  repetition: [0, 100, 0.1], presence: [0, 100, 0.1], refresh: [1, 4096, 1], revise: [0, 100, 1], candidates: [1, 64, 1], window: [64, 65536, 1], seed: [0, Number.MAX_SAFE_INTEGER, 1],
};
const DIALS = { temperature: "Variety", steps: "Care" }; // the settings that have a dial of their own
const TITLES = { top_p: "Top-p", top_k: "Top-k" };
const randomSeed = () => Math.floor(Math.random() * 1e6);
const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, "")}.` : "");
const listed = (bans) => bans.join("\n");
const phrasesOf = (text) => [...new Set(text.split("\n").map((line) => line.trim()).filter(Boolean))];
const title = (name) => TITLES[name] ?? sentence(name.replaceAll("_", " ")).slice(0, -1);

export function buildPanel(page, facts) {
  const { settings: defaults, help, options, only_for: onlyFor, never_written: slurs } = facts;
  const saved = read();
  const methods = { [OWN]: saved.recommended, ...facts.published };
  const values = { ...defaults, bans: slurs, ...methods[saved.method], ...saved.values }; // a setting that is new since is the method's
  let keepSeed = saved.keepSeed ?? false;
  let guessing = saved.guessing ?? false;
  let chosen = saved.method; // the method that was picked; others may come to the same
  if (saved.values?.seed === undefined || !keepSeed) values.seed = randomSeed();
  let given = true; // whether the seed that is shown is still to be used
  const fields = []; // functions that draw a control from the values

  function read() {
    try {
      const { values: kept = {}, recommended = {}, keepSeed, guessing, method } = JSON.parse(localStorage.getItem(KEY)) ?? {};
      const known = ([name, value]) => (name === "bans" ? Array.isArray(value) && value.every((ban) => typeof ban === "string")
        : typeof value === typeof defaults[name] && (options[name]?.includes(value) ?? true));
      const these = (settings) => Object.fromEntries(Object.entries(settings).filter(known));
      return { values: these(kept), recommended: these(recommended), keepSeed, guessing, method };
    } catch {
      return { recommended: {} };
    }
  }
  const draw = () => { for (const one of fields) one(); };
  const changed = () => {
    draw();
    const kept = { ...values, bans: isDefaultList() ? undefined : values.bans }; // else a better list would never reach who edited nothing
    try { localStorage.setItem(KEY, JSON.stringify({ values: kept, recommended: methods[OWN], keepSeed, guessing, method: chosen })); } catch { /* a full store loses only the settings */ }
  };
  const isDefaultList = () => JSON.stringify(values.bans) === JSON.stringify(slurs);
  const set = (name, value) => { values[name] = value; changed(); };

  /** Whether a setting changes anything as the others are. */
  function matters(name) {
    if (name in onlyFor) return onlyFor[name].includes(values.sampler);
    if (VARIETY.includes(name)) return values.choice !== "deterministic" || (name === "temperature" && values.scores === "tempered");
    return true;
  }

  // ---- methods
  const holds = (method) => Object.entries(defaults).every(([name, value]) => (
    name in methods[method] ? values[name] === methods[method][name] : FREE.includes(name) || values[name] === value));
  const methodNow = () => [chosen, ...Object.keys(methods)].find((name) => name in methods && holds(name)) ?? CHANGED;
  function follow(method) {
    if (!(method in methods)) return;
    chosen = method;
    const { seed, bans, instruction, window } = values;
    Object.assign(values, defaults, { seed, bans, instruction, window }, methods[method]);
    changed();
  }

  /** What is best for the model in use is Lacuna's own method while it is in use; who has another one, or a mix, keeps it. */
  function recommend(settings) {
    const former = methods[OWN];
    if (JSON.stringify(settings) === JSON.stringify(former)) return;
    const own = methodNow() === OWN;
    methods[OWN] = settings;
    if (own) for (const name of Object.keys({ ...former, ...settings })) values[name] = settings[name] ?? defaults[name];
    changed();
  }

  // ---- controls; the label names the control, the note behind it says more
  let ids = 0;
  function row(label, control, { note, hint } = {}) {
    const id = (control.id = `lacuna-setting-${++ids}`);
    if (hint) control.setAttribute("aria-describedby", (hint.id = `${id}-help`));
    return el("div", {}, el("div", { class: "row" }, el("label", { for: id }, label), note ?? null, control), hint ?? null);
  }
  const helpLine = (text) => el("p", { class: "help" }, sentence(text));

  function dial(label, name, { min, max, step, show, toDial = (x) => x, fromDial = (x) => x }) {
    const input = el("input", { type: "range", min, max, step, oninput: () => set(name, fromDial(Number(input.value))) });
    const note = el("span", { class: "note", "aria-hidden": "true" });
    fields.push(() => {
      const idle = !matters(name);
      const words = idle ? "always the likeliest" : show(values[name]);
      input.disabled = idle;
      input.value = idle ? min : toDial(values[name]);
      input.style.setProperty("--at", `${(100 * (input.value - min)) / (max - min)}%`);
      note.textContent = words;
      input.setAttribute("aria-valuetext", words);
    });
    return row(label, input, { note });
  }
  function number(name) {
    const [min, max, step] = LIMITS[name] ?? [null, null, "any"];
    const input = el("input", { type: "number", min, max, step, onchange: () => {
      const value = Number(input.value);
      if (input.value === "" || !input.validity.valid && !input.validity.stepMismatch) {
        page.say(min === null ? `${title(name)} is a number.` : `${title(name)} goes from ${min} to ${max}.`);
        return changed();
      }
      if (name === "seed") keepSeed = true;
      set(name, step === 1 ? Math.round(value) : value);
    } });
    const node = row(title(name), input, { hint: helpLine(`${help[name]}${DIALS[name] ? `; the same as ${DIALS[name]} above` : ""}`) });
    fields.push(() => {
      input.value = values[name];
      node.hidden = !matters(name);
    });
    return node;
  }
  function choice(name, helpOf = {}) {
    const select = el("select", { onchange: () => set(name, select.value) }, ...options[name].map((option) => el("option", { value: option }, option)));
    const hint = helpLine("");
    fields.push(() => {
      select.value = values[name];
      hint.textContent = sentence(helpOf[values[name]] ?? help[name]);
    });
    return row(title(name), select, { hint });
  }

  const method = el("select", { class: "method", onchange: () => follow(method.value) },
    ...Object.keys(methods).map((name) => el("option", { value: name }, name)), el("option", { value: CHANGED, hidden: true }, CHANGED));
  fields.push(() => { method.value = methodNow(); });

  const nearest = (steps) => STEPS.reduce((best, value, k) => (Math.abs(value - steps) < Math.abs(STEPS[best] - steps) ? k : best), 0);
  const keep = el("input", { type: "checkbox", id: "lacuna-keep-seed", onchange: () => { keepSeed = keep.checked; changed(); } });
  fields.push(() => { keep.checked = keepSeed; });
  const guesses = el("input", { type: "checkbox", id: "lacuna-guesses", "aria-describedby": "lacuna-guesses-help", onchange: () => {
    guessing = guesses.checked;
    changed();
    page.runs.show(page.runs.current?.at);
  } });
  fields.push(() => { guesses.checked = guessing; });
  const seed = number("seed");
  seed.firstChild.append(button("New seed", () => { given = true; set("seed", randomSeed()); }, { label: "", shape: "dice", hint: "Another seed", class: "quiet" }));

  // ---- what is banned: folded away, so that nobody is met by a list of slurs
  const many = el("span");
  const list = el("textarea", { id: "lacuna-never", rows: 6, spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-describedby": "lacuna-never-help",
    oninput: () => set("bans", phrasesOf(list.value)), onblur: () => changed() });
  const restore = button("Default list", () => { set("bans", slurs); list.value = listed(slurs); }, { class: "quiet", hint: "The list that Lacuna comes with" });
  fields.push(() => {
    const { length } = values.bans;
    many.textContent = length ? `${length} word${length === 1 ? "" : "s"} banned` : "No word is banned";
    if (document.activeElement !== list) list.value = listed(values.bans); // while it is typed, a list stays as it is
    restore.disabled = isDefaultList();
  });
  const never = el("details", { class: "never" }, el("summary", {}, many, el("span", { class: "edit", "aria-hidden": "true" }, "edit")),
    el("label", { for: "lacuna-never" }, "Banned words"), list,
    el("p", { class: "help", id: "lacuna-never-help" }, "One word or phrase a line; only whole words count. Your own text may hold them. The default list holds slurs that are found in old books."),
    restore);

  // ---- what a model that answers people is told besides
  const told = el("textarea", { id: "lacuna-instruction", rows: 3, maxlength: facts.longest_instruction, "aria-describedby": "lacuna-instruction-help",
    placeholder: "For example: a letter to a child; warm, a little funny.", oninput: () => set("instruction", told.value), onblur: () => changed() });
  const instruction = el("div", { class: "instruction", hidden: true }, el("label", { for: "lacuna-instruction" }, "Tell the model"), told,
    el("p", { class: "help", id: "lacuna-instruction-help" }, "How to write, who speaks, what must happen. This model was trained to answer people; others only read the draft."));
  fields.push(() => { if (document.activeElement !== told || !document.hasFocus()) told.value = values.instruction; });

  const reset = button("Reset to defaults", () => {
    keepSeed = false;
    values.window = defaults.window;
    follow(OWN);
  }, { class: "quiet" });
  const rest = Object.keys(defaults).filter((name) => !["seed", "bans", "instruction"].includes(name));
  const root = el("section", { class: "box", "aria-label": "How to fill" },
    el("header", {}, el("h2", {}, "How"), button("Close", () => page.closeSheet(), { label: "", shape: "close", hint: "Close", class: "sheet-closer" })),
    dial(DIALS.temperature, "temperature", { min: 0, max: 1.5, step: 0.05, show: (t) => (t === 0 ? "none" : t.toFixed(2)) }),
    dial(DIALS.steps, "steps", { min: 0, max: STEPS.length - 1, step: 1, toDial: nearest, fromDial: (k) => STEPS[k], show: (n) => (n === AS_NEEDED ? "as many steps as it takes" : `${n} step${n === 1 ? "" : "s"}`) }),
    row("Method", method),
    instruction,
    el("div", { class: "row check" }, guesses, el("label", { for: "lacuna-guesses" }, "Show guesses")),
    el("p", { class: "help", id: "lacuna-guesses-help" }, "In open places, faintly, what the model would write there at each step."),
    never,
    el("details", { class: "advanced" }, el("summary", {}, "Advanced"),
      seed,
      el("div", { class: "row check" }, keep, el("label", { for: "lacuna-keep-seed" }, "Same seed each time")),
      ...rest.map((name) => (options[name] ? choice(name, name === "sampler" ? facts.samplers : {}) : number(name))),
      reset));
  changed();
  // What is set in another tab holds here too: else whichever tab stores next would take the other's settings back.
  addEventListener("storage", ({ key }) => {
    if (key !== KEY) return;
    const now = read();
    Object.assign(values, { bans: slurs }, now.values, now.keepSeed ? {} : { seed: values.seed });
    ({ keepSeed = false, guessing = false, method: chosen } = now);
    draw();
  });

  return {
    root,
    recommend,
    /** Whether the model in use can be told how to fill a draft. */
    set answers(can) { instruction.hidden = !can; },
    /** Whether open places show what would be written there. */
    get guessing() { return guessing; },
    /** The settings for the next run; unless the seed is kept, each run gets a new one, which is shown. */
    settingsForRun() {
      if (!keepSeed && !given) values.seed = randomSeed();
      given = false;
      draw();
      return { ...values, instruction: instruction.hidden ? "" : values.instruction };
    },
  };
}
