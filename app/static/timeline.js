// The dock: what happened in a step, in words and as a picture; play, step, scrub, speed; Fill and Stop.
import { cellsText, isOpen } from "./document.js";
import { button, el, icon, keys } from "./dom.js";
import { shorten } from "./segments.js";

const SPEEDS = [["0.5×", 700], ["1×", 350], ["2×", 170], ["4×", 80]];
const MOST_HEARD = 300; // characters of each place
const WIDTH = 800;
const HEIGHT = 46;

export function buildTimeline(page) {
  const { runs } = page;
  const say = el("div", { class: "say", role: "status", "aria-live": "polite" });
  /** What the line holds next is of this `kind`, and read `aloud` or not. */
  const speak = (kind = "", aloud = true) => {
    say.className = `say ${kind}`.trim();
    say.setAttribute("aria-live", aloud ? "polite" : "off");
  };
  const area = el("path", { class: "open-area" });
  const line = el("path", { class: "confidence" });
  const chart = el("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": "How sure the model was, as a line, and what was still open, as a shape, by step" }, area, line);
  const slider = el("input", { class: "scrub", type: "range", "aria-label": "Step", min: 0, max: 0, value: 0, step: 1, disabled: true });
  const back = button("Step back", () => step(-1), { label: "", shape: "back", hint: "One step back" });
  const play = button("Play", () => toggle(), { label: "", shape: "play", hint: "Play the run again", "aria-pressed": "false" });
  const forward = button("Step forward", () => step(1), { label: "", shape: "forward", hint: "One step forward" });
  const speed = button("Speed", () => {
    pace = (pace + 1) % SPEEDS.length;
    drawSpeed();
    if (timer) start();
  }, { label: "1×", hint: "Speed of the replay", class: "speed" });
  const stop = button("Stop", () => runs.stop(), { hint: "Stop the run (Esc)", disabled: true });
  const fill = button("Fill", () => page.commands.fill(), { class: "go" });
  let timer = 0;
  let pace = 1;
  let offered = false; // whether the line offers to go on from its step

  const drawSpeed = () => {
    speed.lastChild.textContent = SPEEDS[pace][0];
    speed.setAttribute("aria-label", `Speed ${SPEEDS[pace][0]}`);
  };
  drawSpeed();

  // ---- moving through the frames
  const last = () => (runs.current?.frames.length ?? 1) - 1;
  function go(at) {
    if (!runs.current) return;
    runs.current.follow = at >= last();
    runs.show(at);
  }
  function step(by) { halt(); go((runs.current?.at ?? 0) + by); }
  function halt() {
    clearInterval(timer);
    timer = 0;
    drawPlay();
  }
  function start() {
    clearInterval(timer);
    timer = setInterval(() => {
      if (runs.current.at >= last()) { if (!runs.current.receiving) halt(); } else go(runs.current.at + 1);
    }, SPEEDS[pace][1]);
    drawPlay();
  }
  function toggle() {
    if (timer) return halt();
    if (!runs.current) return;
    if (runs.current.at >= last() && !runs.current.receiving) go(0);
    start();
  }
  function drawPlay() {
    play.querySelector("svg").replaceWith(icon(timer ? "pause" : "play"));
    play.setAttribute("aria-pressed", `${Boolean(timer)}`);
    play.title = timer ? "Pause" : "Play the run again";
  }
  slider.addEventListener("input", () => { halt(); go(Number(slider.value)); });

  // ---- drawing
  function draw() {
    const run = runs.current;
    const usable = Boolean(run?.frames.length && (run.receiving || runs.stands)); // else its steps would be told and nowhere seen
    for (const control of [slider, back, play, forward]) control.disabled = !usable;
    if (!usable) {
      area.setAttribute("d", "");
      line.setAttribute("d", "");
      slider.value = 0;
      slider.style.setProperty("--at", "0%");
      slider.removeAttribute("aria-valuetext");
      return;
    }
    const planned = Math.max(run.receiving ? run.frames[0].steps : 1, last(), 1);
    slider.max = run.receiving ? planned : last();
    slider.value = run.at;
    const span = Math.max(1, slider.max); // 0: it was stopped before its first step
    slider.style.setProperty("--at", `${(100 * run.at) / span}%`);
    slider.setAttribute("aria-valuetext", story(run, run.at).map((part) => part.textContent ?? part).join(""));
    const x = (k) => ((WIDTH * k) / span).toFixed(1);
    run.shares ??= [];
    for (let k = run.shares.length; k < run.states.length; k++) run.shares.push(shares(run.states[k]));
    const shape = run.shares.map(({ open }, k) => `L${x(k)} ${(HEIGHT - open * (HEIGHT - 3)).toFixed(1)}`).join("");
    area.setAttribute("d", `M0 ${HEIGHT}${shape}L${x(last())} ${HEIGHT}Z`);
    const sure = run.shares.map(({ sure }, k) => (sure === null ? "" : `${x(k)} ${(HEIGHT - 4 - sure * (HEIGHT - 8)).toFixed(1)}`)).filter(Boolean);
    line.setAttribute("d", sure.length ? `M${sure.join("L")}` : "");
    chart.style.setProperty("--at", `${(100 * run.at) / span}%`);
  }

  function tell() {
    const run = runs.current;
    if (!run?.frames.length) return;
    const ended = hasEnded(run, run.at);
    const hint = run.targets.some(({ fill }) => fill.versions.length) ? " · click a word for others" : "";
    speak(`${run.note && ended ? "" : "steps "}${ended ? "ended" : ""}`, ended); // each step would be read aloud
    const [count, ...told] = story(run, run.at, hint);
    offered = runs.canGoOn;
    const goOn = offered && button("Go on from here", () => runs.goOn(), { class: "quiet", hint: "What stands at this step stays, and the rest is written anew" });
    say.replaceChildren(count, ...(goOn ? [goOn, " · "] : []), ...told, ...(ended ? [el("span", { class: "heard" }, heard(run))] : []));
  }

  /** The step that is told can be gone on from only now, or no more. */
  function tellAnew() {
    if (say.classList.contains("steps") && offered !== runs.canGoOn) tell();
  }

  runs.addEventListener("show", () => { draw(); tell(); });
  runs.addEventListener("frame", draw);
  runs.addEventListener("begin", halt);
  page.draft.addEventListener("history", () => { draw(); tellAnew(); });
  runs.addEventListener("forget", () => { halt(); draw(); });
  const drawState = () => {
    const reason = page.reasonNotToFill();
    const focused = document.activeElement;
    fill.disabled = Boolean(reason);
    fill.title = reason || `Fill the gaps; again for another fill (${keys("Ctrl+Enter")})`;
    stop.disabled = !runs.live;
    // A button that can't be pressed any more hands the focus to the one that can.
    if ((focused === fill || say.contains(focused)) && runs.live) stop.focus();
    else if (focused === stop && !runs.live) fill.focus();
    root.dataset.run = runs.live ? "live" : "idle";
    tellAnew();
  };
  runs.addEventListener("state", drawState);

  const root = el("div", { class: "dock", role: "region", "aria-label": "Run" },
    el("div", { class: "dock-inner" },
      el("div", { class: "transport" }, back, play, forward),
      el("div", { class: "track" }, say, el("div", { class: "plot" }, chart, slider)),
      el("div", { class: "acts" }, speed, page.panelButton, stop, fill)));
  draw();
  return { root, say, speak, drawState };
}

/** What a run wrote, for those who hear the page. */
const heard = ({ targets }) => `. Written: ${targets.map(({ fill }) => shorten(cellsText(fill.cells).trim(), MOST_HEARD)).join("; ")}`;
const hasEnded = (run, at) => !run.receiving && at === run.frames.length - 1 && !run.states[at].flat().some(isOpen);

/** What happened in a step of a run, as words and elements; `hint` comes when it has ended. */
export function story(run, at, hint = "") {
  const frame = run.frames[at];
  const settled = at ? phrases(run.states[at], (cell) => cell.step === frame.step && cell.state === "revealed") : [];
  const reopened = new Set(frame.cells.filter(isOpen).map(({ id }) => id));
  const taken = at ? phrases(run.states[at - 1], (cell) => reopened.has(cell.id) && !isOpen(cell)) : [];
  const open = run.states[at].flat().filter(isOpen).length;
  const still = at && !open && !frame.cells.length && (run.receiving || at < run.frames.length - 1);
  const ended = hasEnded(run, at);
  const parts = [];
  if (ended && run.note) parts.push(el("span", {}, run.note.replace(/\.$/, "")));
  if (ended) parts.push(el("span", {}, `all settled${run.score === undefined ? "" : `, ${Math.round(run.score * 100)} % sure`}${hint}`));
  if (settled.length) parts.push(el("span", {}, "settled ", ...listed(settled)));
  if (taken.length) parts.push(el("span", {}, "taken back ", ...listed(taken)));
  const [grown, shrunk] = lengthChanges(run, at);
  if (still) parts.push(el("span", {}, run.settings.candidates > 1 ? "these words stay; the other candidates are read over" : "read over; these words stay"));
  if (grown) parts.push(el("span", {}, `${places(grown)} more`));
  if (shrunk) parts.push(el("span", {}, `${places(shrunk)} fewer`));
  if (open) parts.push(el("span", {}, `${open} to go`));
  // What is read over may need fewer steps than were planned: in the end those that there were are counted, as the slider does.
  const [number, all] = run.receiving ? [frame.step, frame.steps] : [at, run.frames.length - 1];
  const count = el("span", { class: "count" }, "Step ", el("b", {}, `${number}`), ` of ${all}${parts.length ? " · " : ""}`);
  return [count, ...parts.flatMap((part, k) => (k ? [" · ", part] : [part]))];
}

/** The share of the cells that is still open, and the mean probability of the others (null: there are none). */
function shares(state) {
  const cells = state.flat().filter((cell) => cell.state !== "pinned");
  const settled = cells.filter((cell) => !isOpen(cell));
  return {
    open: cells.length ? 1 - settled.length / cells.length : 0,
    sure: settled.length ? settled.reduce((sum, cell) => sum + cell.probability, 0) / settled.length : null,
  };
}

/** How many cells came and how many went in a step, over all gaps. */
function lengthChanges(run, at) {
  const ids = (state) => new Set(state.flat().map((cell) => cell.id));
  if (!run.frames[at].relaid.length || !at) return [0, 0];
  const [before, after] = [ids(run.states[at - 1]), ids(run.states[at])];
  return [after, before].map((these, k) => [...these].filter((id) => !(k ? after : before).has(id)).length);
}
const places = (count) => `${count} place${count === 1 ? "" : "s"}`;

/** The texts of the cells that pass, those side by side as one. */
function phrases(state, passes) {
  const found = [];
  for (const cells of state) {
    let open = false;
    for (const cell of cells) {
      if (passes(cell)) {
        if (open) found[found.length - 1] += cell.text;
        else found.push(cell.text);
      }
      open = passes(cell);
    }
  }
  return found.map((text) => text.trim()).filter(Boolean);
}

function listed(texts) {
  const shown = texts.slice(0, 4).flatMap((text, k) => [...(k ? [k === Math.min(texts.length, 4) - 1 && texts.length <= 4 ? " and " : ", "] : []), el("b", {}, text)]);
  return texts.length > 4 ? [...shown, ` and ${texts.length - 4} more`] : shown;
}
