// The draft is kept in the browser as it is written, so that a reload loses nothing.
//
// Every tab keeps its own copy under a key of its own, so that two tabs never overwrite each other; a lock of that name says that
// its tab is open. A new tab goes on with the copy that was saved last, under a new key if another tab has that one open. A draft
// that another one takes the place of stays under its key. The newest few copies are kept; what an open tab has is never removed.
import { isFilled, isOpen, isText, makeFill, makeGap, makeRewrite } from "./document.js";

const PREFIX = "lacuna.draft.";
const TAB = "lacuna.tab"; // where a tab finds its key again after a reload
const KEPT = 40;
const SAVE_MS = 400;
const NOT_KEPT = "not kept";
const ELSEWHERE = "Copy text takes the text with its fills, Save draft the draft with its gaps.";

const newKey = () => `${PREFIX}${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;

// Where the page comes from another machine by plain http there are no locks, and nobody knows which tabs are open.
const { locks } = navigator;
/** Hold a key's lock; resolves to what lets it go, or to null where another tab holds it. */
const hold = (key) => (locks ? new Promise((resolve) => {
  locks.request(key, { ifAvailable: true }, (lock) => (lock ? new Promise((letGo) => resolve(letGo)) : resolve(null)))
    .catch(() => resolve(() => {})); // forbidden here: as where there are none
}) : Promise.resolve(() => {}));
const held = async () => new Set(locks ? (await locks.query()).held.map(({ name }) => name) : []);

const kept = () => Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
const readCopy = (key) => {
  try {
    const copy = JSON.parse(localStorage.getItem(key));
    return copy?.version === 1 && unpacked(copy.lines).length ? { ...copy, key } : null;
  } catch {
    return null;
  }
};
const copies = () => kept().map(readCopy).filter(Boolean).sort((a, b) => b.time - a.time);
const put = (key, text) => {
  try {
    localStorage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
};
// Copies as they are stored: to read them all at each save would take too long.
const print = ({ title, lines }) => JSON.stringify({ version: 1, time: Date.now(), title, lines });
const timeOf = (stored) => Number(/"time":(\d+)/.exec(stored)?.[1] ?? 0);
const linesOf = (stored) => stored.slice(stored.indexOf('"lines":'));

/** Whether the browser lets this page keep anything at all. */
function isAllowed() {
  try {
    return sessionStorage.length >= 0 && localStorage.length >= 0;
  } catch {
    return false;
  }
}

/** The browser asks who leaves whether that is meant, where something is lost then. */
const askWhoLeaves = (isLost) => addEventListener("beforeunload", (event) => { if (isLost()) event.preventDefault(); });

/** Opens this tab's store, of which `found` is the copy to begin with, or null, `isCopy` whether another tab has that draft, and `problem` a sentence on what is wrong from the start.
 * It calls `tell` with how things stand, in a word or two, and with a sentence where something has gone wrong. */
export async function openStore(current, tell) {
  if (!isAllowed()) {
    let edited = false;
    askWhoLeaves(() => edited);
    tell(NOT_KEPT);
    return {
      found: null,
      problem: `The browser lets this page keep nothing: your draft is gone when you leave. ${ELSEWHERE}`,
      touch() { edited = true; },
      leave: (own) => (own ? "lost" : ""),
      remove: () => () => {},
      others: async () => [],
    };
  }
  const own = PREFIX + sessionStorage.getItem(TAB);
  const found = readCopy(own) ?? copies()[0] ?? null;
  let key = "";
  let lock = null;
  function goOn(under) {
    key = under;
    sessionStorage.setItem(TAB, key.slice(PREFIX.length));
    return (lock = hold(key));
  }
  const goesOn = found && (locks || found.key === own) && (await goOn(found.key));
  if (!goesOn) await goOn(newKey());

  let open = await held(); // as it was when last asked
  let timer = 0;
  let unkept = false;
  /** The copies that may go: first those of this very text, where locks tell that nobody has it open, then the oldest. */
  function spare(stored) {
    const same = (copy) => Boolean(locks) && linesOf(copy.stored) === linesOf(stored);
    return kept().filter((name) => name !== key && !open.has(name))
      .map((name) => ({ name, stored: localStorage.getItem(name) })).map((copy) => ({ ...copy, same: same(copy) }))
      .sort((a, b) => b.same - a.same || timeOf(a.stored) - timeOf(b.stored));
  }
  function write() {
    clearTimeout(timer);
    timer = 0;
    const stored = print(current());
    const others = spare(stored);
    const known = unkept;
    const gone = []; // to make room
    while ((unkept = !put(key, stored)) && others.length) {
      gone.push(others.shift());
      localStorage.removeItem(gone[gone.length - 1].name);
    }
    if (unkept) {
      for (const copy of gone) put(copy.name, copy.stored);
      return tell(NOT_KEPT, known ? "" : `This draft is too long to be kept in the browser. ${ELSEWHERE}`);
    }
    let oldest = 0;
    while (others.length && (others[0].same || kept().length > KEPT)) {
      oldest += !others[0].same;
      localStorage.removeItem(others.shift().name);
    }
    const many = gone.length > 1 ? `${gone.length} older drafts that were kept are` : "an older draft that was kept is";
    const full = gone.length ? `The browser has room for so much and no more: to keep this draft, ${many} gone.` : "";
    tell("saved", full || (oldest ? `The newest ${KEPT} drafts are kept: the oldest is gone.` : ""));
  }
  function stay() {
    const here = linesOf(print(current()));
    const twin = kept().find((name) => name !== key && linesOf(localStorage.getItem(name)) === here);
    if (twin && open.has(twin)) return "open";
    write();
    return unkept ? "lost" : "kept";
  }
  addEventListener("pagehide", () => { if (timer) write(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden && timer) write(); });
  askWhoLeaves(() => {
    if (timer) write();
    return unkept;
  });
  return {
    found,
    isCopy: Boolean(found && locks && !goesOn),
    problem: "",
    touch() {
      tell("saving");
      clearTimeout(timer);
      timer = setTimeout(async () => {
        open = await held();
        if (timer) write();
      }, SAVE_MS);
    },
    /** Another draft takes the place of this one, and goes on under its own key if it was kept (`under`). What was here stays under its
     * key, if it is the writer's own: "kept", or "lost" as it is too long, or "open" in another tab; else nothing is left of it. */
    leave(own, under = newKey()) {
      const left = own ? stay() : "";
      if (!own || left === "open") localStorage.removeItem(key);
      lock.then((letGo) => letGo());
      goOn(under).then((free) => free || goOn(newKey()));
      return left;
    },
    /** Let a kept draft go; what it returns puts it back. */
    remove(name) {
      const stored = localStorage.getItem(name);
      localStorage.removeItem(name);
      return () => put(name, stored);
    },
    /** The kept drafts that are in no tab, the newest first. */
    async others() {
      open = await held();
      const here = linesOf(print(current()));
      return copies().filter((copy) => copy.key !== key && !open.has(copy.key) && linesOf(print(copy)) !== here);
    },
  };
}

// Of other versions what the model thought of beside is left out: it would be most of what is stored.
const plain = (cells) => cells.map((cell) => ({ ...cell, alternatives: [] }));
const packedFill = ({ cells, done, versions, earlier, asked }) => ({
  cells: cells.map((cell) => (isOpen(cell) ? { ...cell, alternatives: [] } : cell)), done, versions: versions.map(plain), earlier: earlier.map(plain), asked,
});
/** What to keep of the lines: everything but what a run is just showing, and ids, which are new each time. While a place is filled
 * again, what stood there is kept. */
export const packed = (lines) => lines.map(({ items, eol }) => ({
  eol, items: items.map((item) => (isText(item) ? item : { ...item, id: undefined, fill: item.fill && packedFill(isFilled(item) ? item.fill : item.fill.former ?? item.fill) })),
}));
/** Such lines back as lines of a document; a TypeError where they are none: they may be another site's or another version's. */
export const unpacked = (lines) => lines.map(({ items, eol }) => {
  check(typeof eol === "string");
  return { eol, items: items.map((item) => (isText(item) ? item : islandOf(item))) };
});
function islandOf({ kind, length = null, keywords, bans, was = null, pieces, fill, asked }) {
  check(kind === "gap" || kind === "rewrite");
  const rest = { fill: fill?.cells.length ? fillOf(fill) : null, ...(asked && { asked: islandOf(asked) }) };
  if (kind === "rewrite") {
    for (const { text, pin } of pieces) check(isText(text) && typeof pin === "boolean");
    return { ...makeRewrite(pieces), ...rest };
  }
  check(length === null || (["words", "tokens"].includes(length.unit) && Number.isInteger(length.low) && Number.isInteger(length.high)));
  check([...keywords, ...bans].every(isText));
  return makeGap({ length, keywords, bans, was: was && unpacked(was), ...rest });
}
function fillOf({ cells, versions = [], earlier = [], asked, ...more }) {
  for (const cell of [cells, ...versions, ...earlier].flat()) check(isText(cell.text) && isText(cell.state) && Array.isArray(cell.alternatives));
  return makeFill({ ...more, cells, versions, earlier, ...(asked && { asked: islandOf(asked) }) });
}
function check(holds) {
  if (!holds) throw new TypeError("These are no lines of a draft.");
}
