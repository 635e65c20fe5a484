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
    if (event.target.closest?.("dialog")) return; // a window of its own has keys of its own
    if (event.key === "Escape") {
      if (page.popover.isOpen) page.popover.close(true);
      else if (page.root.classList.contains("sheet")) page.closeSheet();
      else runs.stop();
      return;
    }
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const act = shortcuts[`${event.shiftKey ? "shift+" : ""}${event.key.toLowerCase()}`];
    const elsewhere = event.target.closest?.("input, select, textarea") && event.key.toLowerCase() !== "enter";
    if (!act || elsewhere) return;
    event.preventDefault();
    act();
  }, true);
}
