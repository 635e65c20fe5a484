// A phone's keyboard covers the foot of the page, and only the visual viewport tells. While it is up the page is as high as what is seen.

const LOWEST = 100; // pixels that a keyboard takes at least; a browser's own bars take less

export function makeRoomForKeyboard({ root, view }) {
  const seen = window.visualViewport;
  function fit() {
    const covered = document.documentElement.clientHeight - seen.height;
    const up = seen.scale === 1 && covered > LOWEST; // else somebody looks closer with two fingers
    const height = up ? `${seen.height}px` : "";
    const before = root.style.height;
    root.style.height = height;
    root.style.top = up ? `${seen.offsetTop}px` : "";
    const caret = up && height !== before && document.activeElement === view.root && view.selection();
    if (caret && caret.collapsed) view.caret(caret.to);
  }
  seen?.addEventListener("resize", fit);
  seen?.addEventListener("scroll", fit);
}
