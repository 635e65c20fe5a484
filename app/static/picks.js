// Picking words inside an island. Browsers don't select text there, so a drag over the words of a passage, or over the
// cells of a fill, is followed here, and Shift with an arrow: page.pick is {id, from, to}, places counted in the island.
import { keys } from "./dom.js";

const FAR = 4; // px from which on a press is a drag

export function installPicks(page) {
  const { view, draft } = page;
  let press = null;
  let ends = [0, 0]; // of what is picked: where it was begun, and where it goes on
  page.pick = null;

  const placeOf = (target) => {
    const stop = target?.closest?.(".island .word, .island .cell");
    const span = stop?.closest(".island");
    return span ? { id: Number(span.dataset.island), index: places(span).indexOf(stop) } : null;
  };
  const places = (span) => [...span.childNodes].filter((node) => !node.classList?.contains("ghost"));
  function draw() {
    for (const stop of view.root.querySelectorAll(".picked")) stop.classList.remove("picked");
    if (!page.pick) return [];
    const stops = places(view.islandElement(page.pick.id)).slice(page.pick.from, page.pick.to + 1);
    for (const stop of stops) stop.classList.add("picked");
    return stops;
  }
  function clear() {
    if (!page.pick) return;
    page.pick = null;
    draw();
    page.tools.hide();
  }
  page.clearPick = clear;
  /** Whether words can be picked at an island now: what a run is writing, or wrote in an earlier step that is shown, is not what stands there. */
  function mayPick(id) {
    if (page.runs.live) return false;
    const earlier = Boolean(draft.find(id)?.island.fill?.shown);
    if (earlier) page.say("An earlier step is shown: words are picked at the last one.");
    return !earlier;
  }
  function choose(id, a, b) {
    ends = [a, b];
    page.pick = { id, from: Math.min(a, b), to: Math.max(a, b) };
    return draw();
  }
  /** One place of a fill more or less, from the one that is looked at. */
  page.growPick = (span, by) => {
    const id = Number(span.dataset.island);
    if (!mayPick(id)) return;
    const stops = places(span);
    const [begun, end] = page.pick?.id === id ? [ends[0], ends[1] + by] : Array(2).fill(stops.findIndex((stop) => stop.classList.contains("current")));
    const within = (place) => Math.max(0, Math.min(stops.length - 1, place));
    page.popover.close();
    const picked = choose(id, within(begun), within(end));
    page.tools.showBeside(picked.flatMap((stop) => [...stop.getClientRects()]), true);
    page.say(`Picked “${picked.map((stop) => stop.textContent).join("").trim()}”. ${keys("Ctrl+K")} pins it, Delete takes it out.`);
  };

  view.root.addEventListener("pointerdown", (event) => {
    clear();
    const place = event.button === 0 && event.pointerType !== "touch" ? placeOf(event.target) : null;
    press = place && { ...place, x: event.clientX, y: event.clientY };
  });
  document.addEventListener("pointermove", (event) => {
    if (!event.buttons) press = null; // it was let go outside the window
    if (!press || (!page.pick && Math.hypot(event.clientX - press.x, event.clientY - press.y) < FAR)) return;
    if (!page.pick && !mayPick(press.id)) return void (press = null);
    const place = placeOf(document.elementFromPoint(event.clientX, event.clientY));
    if (place?.id === press.id || !page.pick) choose(press.id, press.index, place?.id === press.id ? place.index : press.index);
  });
  document.addEventListener("pointerup", () => {
    press = null;
    if (page.pick) page.tools.showBeside(draw().flatMap((stop) => [...stop.getClientRects()]), true);
  });
  document.addEventListener("pointercancel", () => { press = null; });
  view.root.addEventListener("dblclick", (event) => {
    const place = placeOf(event.target);
    if (!place || !mayPick(place.id)) return;
    page.popover.close();
    page.tools.showBeside(choose(place.id, place.index, place.index).flatMap((stop) => [...stop.getClientRects()]), true);
  });
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest?.(".draft, .floating, .tools")) clear(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") clear(); });
  draft.addEventListener("splice", clear);
  page.runs.addEventListener("show", clear);
}
