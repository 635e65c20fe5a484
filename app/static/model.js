// The model in use, as the server tells it, and its chip: loading, ready (name, device, numbers), failed, or the server gone.
//
// Every tab asks again now and then, so that all see the same model, whoever chose it.
import { el } from "./dom.js";
import * as server from "./server.js";

const SOON_MS = 600; // while a model is loading
const LATER_MS = 3000;
const LOADING = "The model is still loading";

/** What to call a model by the name or folder that it is loaded by; null is the embedded one. */
export const shortName = (chosen) => chosen?.replace(/[\\/]+$/, "").split(/[\\/]/).pop() || "the embedded model";

/** The model's state: {chip, model, reason(), ask()}; dispatches "change". `model` is the server's word on it, null before the first. */
export class ModelWatch extends EventTarget {
  model = null;
  #reason = LOADING;
  #gone = false;
  #downloads = null; // as they stood when this was asked last
  #timer = 0;
  #turn = 0; // an answer that comes late does not undo a newer one
  #text = el("span", { class: "name" }, "Loading the model …");
  #share = el("span", { class: "share", "aria-hidden": "true" }); // each per cent would be read aloud
  #place = el("span", { class: "place" });
  #pace = el("span", { class: "pace" });

  constructor(page, open) {
    super();
    this.page = page;
    this.button = el("button", { type: "button", class: "chip loading", title: "Choose a model", "aria-haspopup": "dialog", onclick: open },
      el("i", { "aria-hidden": "true" }), this.#text, this.#share, this.#place, this.#pace);
    this.chip = el("div", { class: "chip-holder", role: "status", "aria-label": "Model" }, this.button);
    page.runs.addEventListener("finish", () => this.#tellPace());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.ask(); });
    setTimeout(() => this.ask());
  }

  /** Why nothing can be filled now; empty when it can. */
  reason() { return this.#reason; }

  /** Ask the server now, and from then on again and again. */
  async ask() {
    clearTimeout(this.#timer);
    const mine = ++this.#turn;
    let soon = false;
    try {
      const status = await server.status();
      if (mine !== this.#turn) return;
      if (this.#gone) this.page.say("The Lacuna server answers again.");
      this.#gone = false;
      this.#take(status);
      soon = this.model.state === "loading";
    } catch (error) {
      if (mine !== this.#turn) return;
      if (!this.#gone) this.page.fail(error.message);
      this.#gone = true;
      this.#show("failed", "No answer from the server", "", "");
    }
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.ask(), soon ? SOON_MS : LATER_MS);
  }

  #take({ model, fixed, running, downloads }) {
    this.button.disabled = fixed;
    this.button.title = fixed ? "Whoever started Lacuna chose the model" : "Choose a model";
    const before = this.model;
    this.model = model;
    const [coming] = Object.values(downloads).filter(({ state }) => state === "running");
    const share = coming?.total ? `${Math.floor((100 * coming.done) / coming.total)} %` : "";
    const refused = before?.state === "loading" && model.state !== "loading" && model.refused;
    if (model.state === "ready") {
      const numbers = [model.device.toUpperCase(), model.dtype].filter(Boolean);
      this.#show("ready", model.name, numbers.map((word) => ` · ${word}`).join(""), "", coming ? ` · downloading ${share}` : "");
      if (refused) this.page.fail(refused.error);
      else if (before?.state === "loading" && before.again) this.page.say(`${model.name} is ready.`);
    } else if (model.state === "failed") {
      this.#show("failed", "No model", "", model.error);
      if (before?.state !== "failed") this.page.fail(model.error);
    } else {
      model.again = before?.state === "ready" || before?.again; // another model in the place of one
      const name = model.chosen === null && !model.again ? "the model" : shortName(model.chosen);
      const fetched = model.chosen === null && coming;
      this.#show("loading", fetched ? "Downloading …" : running ? `${name} comes after this run` : `Loading ${name} …`, "", LOADING, fetched ? ` ${share}` : "");
    }
    this.#tellDownloads(downloads);
  }

  /** Say what became of the downloads that had not ended when this was asked last. */
  #tellDownloads(downloads) {
    for (const [name, { state, error }] of Object.entries(this.#downloads ? downloads : {})) {
      if (state === this.#downloads[name]?.state) continue;
      if (state === "failed") this.page.fail(error);
      else if (state === "done" && this.model.chosen !== name) this.page.say(`${shortName(name)} is on this machine now.`, "Use it", () => server.useModel(name).then(() => this.ask(), ({ message }) => this.page.fail(message)));
    }
    this.#downloads = downloads;
  }

  #show(state, words, place, why, share = "") {
    this.#share.textContent = share;
    const news = [state, words, place, why].join("|");
    if (this.shown !== news) {
      this.shown = news;
      this.button.className = `chip ${state}`;
      this.#text.textContent = words;
      this.#place.textContent = place;
      if (state !== "ready") this.#pace.textContent = "";
      this.#reason = why;
    }
    this.dispatchEvent(new Event("change"));
  }

  #tellPace() {
    const times = this.page.runs.current?.times ?? []; // none: another draft was opened in mid-run
    if (times.length < 3) return;
    const mean = (times[times.length - 1] - times[0]) / (times.length - 1); // frames come in bundles, so one alone tells nothing
    this.#pace.textContent = ` · ${Math.max(1, Math.round(mean))} ms a step`;
  }
}
