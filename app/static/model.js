// The model's chip: loading, ready (its name and device), failed, or the server gone.
import { el } from "./dom.js";
import * as server from "./server.js";

const POLL_MS = 700;

export function watchModel(page) {
  const text = el("span", { class: "name" }, "Loading the model …");
  const pace = el("span", { class: "pace" });
  const chip = el("span", { class: "chip loading", role: "status", "aria-label": "Model" }, el("i", { "aria-hidden": "true" }), text, pace);
  let reason = "The model is still loading";
  const watch = { chip, reason: () => reason, onchange: () => {} };

  function show(state, words, why) {
    chip.className = `chip ${state}`;
    text.textContent = words;
    reason = why;
    watch.onchange();
  }
  async function poll() {
    let model;
    try {
      ({ model } = await server.status());
    } catch (error) {
      show("failed", "No answer from the server", "");
      page.fail(error.message);
      return setTimeout(poll, 5 * POLL_MS);
    }
    if (model.state === "ready") {
      return show("ready", `${model.name} · ${model.device.toUpperCase()}`, "");
    }
    if (model.state === "failed") {
      page.fail(model.error);
      return show("failed", "No model", model.error);
    }
    setTimeout(poll, POLL_MS);
  }
  setTimeout(poll);

  page.runs.addEventListener("finish", () => {
    const { times } = page.runs.current;
    if (times.length < 3) return;
    const gaps = times.slice(1).map((time, k) => time - times[k]).sort((a, b) => a - b);
    pace.textContent = `· ${Math.max(1, Math.round(gaps[gaps.length >> 1]))} ms a step`;
  });
  return watch;
}
