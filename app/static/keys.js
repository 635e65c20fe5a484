// Keyboard shortcuts, for the whole page.
import { MAC } from "./dom.js";

export function installKeys(page) {
  const { commands, runs } = page;
  const selectAll = selectAllOf(page);
  const shortcuts = {
    "m": commands.gap,
    "j": commands.rewrite,
    "k": commands.pin,
    "z": commands.undo,
    "shift+z": commands.redo,
    "y": commands.redo,
    "enter": commands.fill,
    "s": commands.save,
    "o": commands.open,
  };
  document.addEventListener("keydown", (event) => {
    if (composes(event) || event.target.closest?.("dialog, [role=menu]")) return; // what has keys of its own
    if (event.key === "Escape") {
      if (page.popover.isOpen) page.popover.close(true);
      else if (page.tools.closeMore()) return;
      else if (page.root.classList.contains("sheet")) page.closeSheet();
      else if (runs.live) runs.stop();
      else if (page.root.classList.contains("present")) page.present(false);
      else if (!page.pick) page.leaveMark();
      return;
    }
    if (event.key === "F8") {
      event.preventDefault();
      return commands.goToMark(event.shiftKey ? -1 : 1);
    }
    const held = MAC ? event.metaKey || (event.ctrlKey && event.key === "Enter") : event.ctrlKey; // a Mac has Ctrl+A, K and Y for text
    if (!held || event.altKey) return;
    const key = latin(event);
    if (key === "a" && !event.shiftKey) return selectAll(event);
    const act = shortcuts[`${event.shiftKey ? "shift+" : ""}${key}`];
    const field = event.target.closest?.(TEXT_FIELD);
    if (!act || (field && !["enter", "s", "o"].includes(key))) return;
    event.preventDefault();
    if (field) takeIn(field);
    act();
  }, true);
}

/** All of the draft, also where the focus is on a mark or a button: the browser would take the page with its labels. A text field has its own. */
function selectAllOf(page) {
  const { draft, view, popover } = page;
  return (event) => {
    page.clearPick();
    if (document.activeElement === view.root || event.target.closest?.(TEXT_FIELD)) return;
    event.preventDefault();
    popover.close();
    view.root.focus({ preventScroll: true });
    view.select({ line: 0, offset: 0 }, draft.end);
  };
}
const TEXT_FIELD = "textarea, input:not([type=radio], [type=checkbox], [type=range])";

/** A key of an input method's: Safari sends the one that ends a composition after its end, with this code alone. */
export const composes = ({ isComposing, keyCode }) => isComposing || keyCode === 229;

/** The key's letter; where the keyboard writes another script, the one that stands there on a Latin keyboard. */
function latin({ key, code }) {
  const [, letter] = /^Key([A-Z])$/.exec(code) ?? [];
  return letter && /^\p{L}$/u.test(key) && !/\p{Script=Latin}/u.test(key) ? letter.toLowerCase() : key.toLowerCase();
}

/** What is written in a field is taken over when it is left. */
function takeIn(field) {
  field.blur();
  field.focus({ preventScroll: true });
}
