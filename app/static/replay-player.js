// The script of a saved replay (replay.js), which stands in the file as it is here: it shows what belongs to a step and hides the rest.
(() => {
  const root = document.querySelector(".lacuna");
  const slider = root.querySelector(".scrub");
  const [play, pause, told] = [".play", ".pause", ".told"].map((name) => root.querySelector(name));
  const last = Number(root.dataset.last);
  const parts = [...root.querySelectorAll("[data-from]")];
  const STEP_MS = 350;
  let timer = 0;

  function show(at) {
    for (const part of parts) part.hidden = at < Number(part.dataset.from) || at > Number(part.dataset.to);
    slider.value = at;
    slider.style.setProperty("--at", `${(100 * at) / Math.max(1, last)}%`);
    slider.setAttribute("aria-valuetext", `Step ${at} of ${last}`);
  }
  function halt() {
    const focused = document.activeElement === pause;
    clearInterval(timer);
    timer = 0;
    told.setAttribute("aria-live", "polite");
    play.hidden = false;
    pause.hidden = true;
    if (focused) play.focus();
  }
  function start() {
    told.setAttribute("aria-live", "off"); // each step would be read aloud
    if (Number(slider.value) >= last) show(0);
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) >= last) halt();
    }, STEP_MS);
    play.hidden = true;
    pause.hidden = false;
  }
  play.addEventListener("click", () => { start(); pause.focus(); });
  pause.addEventListener("click", halt);
  slider.addEventListener("input", () => { halt(); show(Number(slider.value)); });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -1, PageDown: 1, Home: -last, End: last }[event.key]; // a presenter's clicker sends pages
    if (by && (event.target !== slider || event.key.startsWith("Page"))) {
      event.preventDefault();
      halt();
      show(Math.max(0, Math.min(last, Number(slider.value) + by)));
    } else if (event.key === " " && !event.target.closest("button")) {
      event.preventDefault();
      if (timer) halt();
      else start();
    }
  });
  show(last);
  root.querySelector(".dock").hidden = false; // without this script there is the filled draft
})();
