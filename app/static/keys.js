// Keyboard shortcuts, for the whole page.
export function installKeys(page) {
  const { commands, runs } = page;
  const shortcuts = {
    "m": commands.gap,
    "j": commands.rewrite,
    "k": commands.pin,
    "z": commands.undo,
    "shift+z": commands.redo,
    "y": commands.redo,
    "enter": commands.fill,
  };
  document.addEventListener("keydown", (event) => {
    if (composes(event) || event.target.closest?.("dialog, [role=menu]")) return; // what has keys of its own
    if (event.key === "Escape") {
      if (page.popover.isOpen) page.popover.close(true);
      else if (page.root.classList.contains("sheet")) page.closeSheet();
      else runs.stop();
      return;
    }
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = latin(event);
    const act = shortcuts[`${event.shiftKey ? "shift+" : ""}${key}`];
    const field = event.target.closest?.("input, select, textarea");
    if (!act || (field && key !== "enter")) return;
    event.preventDefault();
    if (field) takeIn(field);
    act();
  }, true);
}

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
