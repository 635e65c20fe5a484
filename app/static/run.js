// One run: which places it fills, the frames that came, and any of them shown again. Frames stay in the page, so
// scrubbing and replaying ask nothing of the server.
//
// A Fill is what a run wrote at one island: {cells, shown, guesses, guessing, step, near, done, versions, had}. `cells` is the latest
// state, `shown` an earlier one that is being looked at (null: the latest), `guesses` the first guess for each masked cell by its id,
// whose room it takes up, `guessing` whether the guesses of each step are to be seen, `near`
// whether what was shown before was the step beside this one, `versions` the cells of all candidates, each text once, the
// best first (none: there is one), `earlier` the cells of the last runs before, the latest first, `had` all that runs wrote there, `former` the fill that was finished
// there before, until this one is, `asked` the gap that it was before a word of it was chosen. A cell keeps its id while others come and go around it.
import { cellsText, isFilled, isOpen, makeFill } from "./document.js";
import { toSegments } from "./segments.js";
import * as server from "./server.js";

const MOST_HAD = 64; // fills of one place that are not written again,
const MOST_EARLIER = 3; // and that can be had back
const ANOTHER = "another draft"; // why a run is stopped: another one is opened,
const CHANGED = "changed"; // or every passage that it would write was changed before it began
const LEFT_ALONE = "A passage was changed while its run waited, so it is left as it is: press Fill again.";
const WAIT_MS = 500; // after which a run that has not begun says what it waits for

export class Runs extends EventTarget {
  current = null; // {targets, states, frames, at, receiving, ...} of the last run
  #abort = null;

  constructor(page) {
    super();
    this.page = page;
    page.draft.addEventListener("splice", () => queueMicrotask(() => this.#stopIfGone())); // a place may be back before the edit is done
  }
  get live() { return this.#abort !== null; }

  /** Whether a run is just writing this fill. */
  isWriting(fill) { return Boolean(this.current?.receiving && this.current.targets.some((target) => target.fill === fill)); }

  /** Whether something that the last run wrote still stands in the draft. */
  get stands() { return Boolean(this.current?.targets.some(({ id, fill }) => this.page.draft.find(id)?.island.fill === fill)); }

  /** The islands that Fill would fill: those still open; if there are none, all of them again. */
  targets() {
    const all = this.page.draft.islands().map(({ island }) => island);
    const open = all.filter((island) => !isFilled(island));
    return open.length ? open : all;
  }

  /** Fill the islands with these ids, or all targets. `cells` are those of a run that this one goes on from: then all of its islands. */
  async start(only = null, cells = []) {
    const { draft, say, panel, typing } = this.page;
    if (this.live) return;
    typing.settle();
    const islands = only ? this.targets().filter(({ id }) => only.includes(id)) : this.targets();
    const all = cells.length || (only && !islands.length);
    const chosen = all ? draft.islands().map(({ island }) => island).filter(({ id }) => only.includes(id)) : islands;
    if (!chosen.length) return this.page.written.explain();
    const abort = (this.#abort = new AbortController());
    const ids = chosen.map(({ id }) => id);
    const before = new Map(chosen.map((island) => [island.id, island]));
    const segments = toSegments(draft.lines, ({ id }) => ids.includes(id));
    const settings = panel.settingsForRun();
    const seen = chosen.flatMap(hadAt); // who presses Fill again wants another version
    this.dispatchEvent(new Event("state"));
    say("Starting …");
    const run = { targets: [], states: [], frames: [], at: 0, settings, wishes: chosen.map(wishes), times: [], follow: true };
    const looks = chosen.some(({ kind, length }) => kind === "gap" && !length) ? "Choosing how long the gaps should be …" : "Waiting for the first step …";
    const waiting = setTimeout(() => this.#explainWait(abort, looks), WAIT_MS);
    try {
      const printed = await server.printDraft(segments, abort.signal);
      if (printed.error) throw new DraftMistake(printed, ids);
      for await (const message of server.fillStream(printed.draft, settings, seen, cells, abort.signal)) {
        if (message.waiting) continue;
        clearTimeout(waiting);
        if (message.error) throw message.line ? new DraftMistake(message, ids) : new Error(message.error);
        if (message.done) this.#offer(run, message);
        else {
          if (!run.frames.length && !this.#begin(run, before)) {
            abort.abort(run.changed ? CHANGED : undefined);
            abort.signal.throwIfAborted();
          }
          this.#receive(run, message);
        }
      }
      this.#finish(run);
    } catch (error) {
      this.#finish(run);
      if (abort.signal.reason === ANOTHER) return; // what is said is about that one
      if (abort.signal.reason === CHANGED) say(LEFT_ALONE);
      else if (abort.signal.aborted) {
        const told = `Stopped at step ${run.frames.length - 1} of ${run.frames[0]?.steps}. Fill starts the open gaps again; Undo goes back.`;
        if (!run.frames.length) say("Stopped before the first step.");
        else if (run.states.at(-1).flat().some(isOpen)) say(told, "Go on", () => this.goOn(Infinity));
        else say(told);
      } else this.page.fail(error.message, error.place ?? null);
    } finally {
      clearTimeout(waiting);
      this.#abort = null;
      this.dispatchEvent(new Event("state"));
    }
  }

  /** Whether something is open at the step that is shown which could be written otherwise than it was, by the model that wrote the rest. */
  get canGoOn() {
    const run = this.current;
    if (!run?.frames.length || this.live || run.model !== this.page.modelName()) return false;
    const there = new Map(this.page.draft.islands().map(({ island }) => [island.id, island]));
    const stands = ({ id, fill }, k) => there.get(id)?.fill === fill && wishes(there.get(id)) === run.wishes[k];
    return run.targets.every(stands) && run.states[run.at].flat().some(isOpen);
  }
  /** What stands at the step that is shown, or at another one, stays, and the rest is written anew. */
  goOn(step = this.current?.at) {
    this.show(step);
    if (!this.canGoOn) return this.page.say("What that run wrote is there no more as it was: press Fill.");
    const { targets, states, at } = this.current;
    this.start(targets.map(({ id }) => id), states[at].flat());
  }

  stop(reason) { this.#abort?.abort(reason); }

  /** Say what a run waits for that has not begun: the model, another tab's run, or its own `first` look at the gaps; each of it once. */
  async #explainWait(abort, first) {
    const waiting = () => this.#abort === abort && !this.current?.receiving;
    let told = "";
    for (let steps = null; waiting(); await new Promise((resolve) => setTimeout(resolve, WAIT_MS))) {
      const state = await server.status().catch(() => null);
      if (!state || !waiting()) return;
      const news = state.model.state === "loading" ? "Waiting for the model to load …"
        : steps === null ? first : state.steps > steps ? "Waiting for another run to finish …" : told;
      if (news !== told) this.page.say((told = news));
      steps = state.steps;
    }
  }

  /** The places become fills: one undo step, which Undo takes back. Whether there are any: each may be gone since Fill was pressed, and a
   * passage in which something else is pinned now would be written as it was pinned then, so it stays as it is. */
  #begin(run, before) {
    const { draft } = this.page;
    this.page.typing.settle(); // the gaps were looked at for seconds, and an input method may be at a word since
    run.targets = [...before].map(([id, was]) => ({ id, fill: makeFill({ had: hadAt(was), former: formerOf(was), earlier: earlierAt(was) }) }));
    const there = run.targets.map(({ id, fill }) => ({ fill, island: draft.find(id)?.island })).filter(({ island }) => island);
    const asked = there.filter(({ island }) => island.pieces === before.get(island.id).pieces);
    run.changed = asked.length < there.length;
    if (!asked.length) return false;
    this.show(Infinity); // an earlier step that is looked at would stay on the page
    draft.breakUndo();
    draft.group(() => {
      for (const { fill, island } of asked) draft.swap(island.id, { ...island, fill }); // its length or words may have been changed since
    });
    run.receiving = true;
    run.model = this.page.modelName(); // it may have waited for another one
    this.current = run;
    this.page.view.bringIntoSight(asked.map(({ island }) => island.id));
    this.dispatchEvent(new Event("begin"));
    return true;
  }

  #receive(run, frame) {
    const previous = run.states[run.states.length - 1] ?? run.targets.map(() => []);
    const state = [...previous];
    const known = new Map(); // gap -> its cells before this step, by their ids
    for (const cell of frame.cells) {
      if (!known.has(cell.gap)) {
        known.set(cell.gap, new Map(previous[cell.gap].map((old) => [old.id, old])));
        state[cell.gap] = frame.relaid.includes(cell.gap) ? [] : [...state[cell.gap]];
      }
      const old = known.get(cell.gap).get(cell.id);
      const step = cell.state !== "revealed" ? 0 : old && old.state === "revealed" && old.token === cell.token ? old.step : frame.step;
      state[cell.gap][cell.index] = { ...cell, step };
      const { guesses } = run.targets[cell.gap].fill;
      if (isOpen(cell) && cell.alternatives.length && !guesses.has(cell.id)) guesses.set(cell.id, cell.alternatives[0][0]);
    }
    run.frames.push(frame);
    run.states.push(state);
    run.times.push(performance.now());
    run.targets.forEach(({ fill }, gap) => (fill.cells = state[gap]));
    if (run.follow) this.show(run.frames.length - 1);
    this.dispatchEvent(new Event("frame"));
  }

  /** How sure the model is of it all, what not to expect of it, and what else it wrote at each place: each text once, the best first. */
  #offer(run, { candidates: [{ score }, ...others], note }) {
    Object.assign(run, { score, note: [run.changed && LEFT_ALONE, note].filter(Boolean).join(" ") });
    for (const [gap, { fill }] of run.targets.entries()) {
      const written = others.map(({ cells }) => cells.filter((cell) => cell.gap === gap).map((cell) => ({ ...cell, step: 0 })));
      const distinct = new Map();
      for (const cells of [fill.cells, ...written]) if (!distinct.has(cellsText(cells).trim())) distinct.set(cellsText(cells).trim(), cells);
      if (distinct.size > 1) fill.versions = [...distinct.values()];
    }
  }

  #finish(run) {
    if (!run.frames.length) return;
    run.receiving = false;
    for (const target of run.targets) target.fill.done = target.fill.cells.length > 0 && !target.fill.cells.some(isOpen);
    this.show(run.follow ? run.frames.length - 1 : run.at);
    this.page.changed();
    this.dispatchEvent(new Event("finish"));
  }

  /** Show the draft as it was after a step. The last one is the fill itself. */
  show(at) {
    const { draft, view } = this.page;
    const run = this.current;
    if (!run?.frames.length) return;
    const before = run.at;
    run.at = Math.max(0, Math.min(at, run.frames.length - 1));
    const last = run.at === run.frames.length - 1;
    const islands = new Map(draft.islands().map(({ island }) => [island.id, island]));
    for (const [gap, { id, fill }] of run.targets.entries()) {
      fill.near = Math.abs(run.at - before) === 1;
      fill.guessing = this.page.panel.guessing;
      fill.shown = last ? null : run.states[run.at][gap];
      fill.step = last && !run.receiving ? 0 : run.frames[run.at].step;
      const island = islands.get(id);
      if (island?.fill === fill) view.refresh(island);
    }
    this.dispatchEvent(new Event("show"));
  }

  /** Another draft is opened: its fills have no frames, and a run has nothing left to do. */
  forget() {
    this.stop(ANOTHER);
    if (this.current) this.current.receiving = false; // else what it wrote last would still look new when Undo brings it back
    this.show(Infinity);
    this.current = null;
    this.dispatchEvent(new Event("forget"));
  }

  /** Undo took back what the run writes into, or all of it was deleted: then it has nothing left to do. */
  #stopIfGone() {
    if (this.current?.receiving && !this.stands) this.stop();
  }
}

/** What a mark asks for. */
const wishes = ({ kind, length, keywords, bans, pieces }) => JSON.stringify([kind, length, keywords, bans, pieces]);

/** A mistake in the draft, with its place in the draft as it was sent, and the id of the mark that it is about, among those of `ids`. */
class DraftMistake extends Error {
  constructor({ error, line, column, mark }, ids) {
    super(error);
    this.place = { line, column, id: ids[mark] };
  }
}

/** The last fill of a place that was finished. */
const formerOf = (island) => (isFilled(island) ? { ...island.fill, former: null } : island.fill?.former ?? null);

/** The cells of the fills that were finished there, each text once, the latest first. */
function earlierAt({ fill }) {
  const finished = fill ? [...(isFilled({ fill }) ? [fill.cells] : []), ...fill.earlier] : [];
  const texts = finished.map((cells) => cellsText(cells).trim());
  return finished.filter((_, k) => texts.indexOf(texts[k]) === k).slice(0, MOST_EARLIER);
}

/** What was written at a place so far. */
const hadAt = ({ fill }) => (fill ? [...fill.had, cellsText(fill.cells).trim()].slice(-MOST_HAD) : []);
