// The draft is kept in the browser as it is written, so that a reload loses nothing.
//
// Every tab keeps its own copy under a key of its own, so that two tabs never overwrite each other; a new tab begins
// with the copy that was saved last. The newest few copies are kept.
import { isText, newId } from "./document.js";

const PREFIX = "lacuna.draft.";
const KEPT = 8;
const SAVE_MS = 400;

async function tabKey() {
  let id = sessionStorage.getItem("lacuna.tab");
  // A duplicated tab has its model's id: the lock tells.
  if (id && navigator.locks && !(await hold(id))) id = null;
  if (!id) {
    id = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
    if (navigator.locks) await hold(id);
  }
  sessionStorage.setItem("lacuna.tab", id);
  return PREFIX + id;
}
const hold = (id) => new Promise((resolve) => {
  navigator.locks.request(PREFIX + id, { ifAvailable: true }, (lock) => {
    resolve(Boolean(lock));
    return lock && new Promise(() => {}); // for as long as the tab lives
  });
});

const readCopy = (key) => {
  try {
    const copy = JSON.parse(localStorage.getItem(key));
    return copy?.version === 1 && copy.lines.length ? { ...copy, key } : null;
  } catch {
    return null;
  }
};
const kept = () => Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
const copies = () => kept().map(readCopy).filter(Boolean).sort((a, b) => b.time - a.time);

/** Opens this tab's store: {found, touch, write}; `found` is the copy to begin with, or null. */
export async function openStore(current, tell) {
  const key = await tabKey();
  const found = readCopy(key) ?? copies()[0] ?? null;
  let timer = 0;
  function write() {
    clearTimeout(timer);
    timer = 0;
    const text = JSON.stringify({ version: 1, time: Date.now(), ...current() });
    if (kept().length > KEPT) for (const old of copies().filter((copy) => copy.key !== key).slice(KEPT - 1)) localStorage.removeItem(old.key);
    for (;;) {
      try {
        localStorage.setItem(key, text);
        return tell("saved");
      } catch {
        // Full: the oldest copy of another draft makes room.
        const oldest = copies().filter((copy) => copy.key !== key).pop();
        if (!oldest) return tell("too long to be kept in the browser: use Save draft");
        localStorage.removeItem(oldest.key);
      }
    }
  }
  addEventListener("pagehide", () => { if (timer) write(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden && timer) write(); });
  return {
    found,
    touch() {
      tell("…");
      clearTimeout(timer);
      timer = setTimeout(write, SAVE_MS);
    },
  };
}

/** What to keep of the lines: everything but what a run is just showing. */
// Of other versions what the model thought of beside is left out: it would be most of what is stored.
const plain = (cells) => cells.map((cell) => ({ ...cell, alternatives: [] }));
export const packed = (lines) => lines.map(({ items, eol }) => ({
  eol, items: items.map((item) => (isText(item) || !item.fill ? item : { ...item, fill: { cells: item.fill.cells, done: item.fill.done, versions: item.fill.versions.map(plain) } })),
}));
/** Such lines back as lines of a document. */
export const unpacked = (lines) => lines.map(({ items, eol }) => ({
  eol, items: items.map((item) => (isText(item) ? item : {
    ...item, id: newId(), fill: item.fill?.cells.length ? { shown: null, guesses: new Map(), step: 0, near: false, versions: [], had: [], ...item.fill } : null,
  })),
}));
