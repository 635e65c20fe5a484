// Small helpers to build DOM. Text only ever goes in as text: nothing here, or anywhere on the page, parses HTML.

/** An element with attributes (`on...` are listeners, false and null are left out) and children. */
export function el(tag, attributes = {}, ...children) {
  const node = tag === "svg" || tag === "path"
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SHAPES = {
  back: "M3 3h2v10H3zM13 3v10L6 8z",
  forward: "M11 3h2v10h-2zM3 3l7 5-7 5z",
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  more: "M2 6.6h2.8v2.8H2zM6.6 6.6h2.8v2.8H6.6zM11.2 6.6H14v2.8h-2.8z",
};
const LINES = {
  gap: "M2 3.5h12M2 12.5h7M2 8h1.5M12.5 8H14M5.6 6.2h4.8a.8.8 0 0 1 .8.8v2a.8.8 0 0 1-.8.8H5.6a.8.8 0 0 1-.8-.8V7a.8.8 0 0 1 .8-.8z",
  rewrite: "M2 5c1.5-2 3-2 4.500 0s3 2 4.500 0S13 3.300 14 4M2 10h8M2 13.500h5",
  pin: "M5.500 2.500h5M6.500 2.500v4l-2 2.500h7l-2-2.500v-4M8 9v4.500",
  undo: "M5.500 3 2.500 6l3 3M2.800 6H10a3.500 3.500 0 0 1 0 7H6",
  redo: "M10.500 3l3 3-3 3M13.200 6H6a3.500 3.500 0 0 0 0 7h4",
  dice: "M3.500 2.500h9a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1v-9a1 1 0 0 1 1-1zM5.500 5.500h.01M10.500 5.500h.01M8 8h.01M5.500 10.500h.01M10.500 10.500h.01",
  close: "M4 4l8 8M12 4l-8 8",
  dials: "M2 5h6M12 5h2M10 3.300v3.400M2 11h2M8 11h6M6 9.300v3.400",
};

export function icon(name) {
  const stroke = name in LINES;
  return el("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", class: "icon" },
    el("path", stroke
      ? { d: LINES[name], fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-linecap": "round", "stroke-linejoin": "round" }
      : { d: SHAPES[name], fill: "currentColor" }));
}

export const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
/** "Ctrl+M" as this machine writes it. */
export const keys = (text) => (MAC ? text.replace("Ctrl+", "⌘").replace("Shift+", "⇧") : text);

/** A button that keeps the draft's selection when it is pressed with the mouse. */
export function button(name, act, { label, hint, shape, ...attributes } = {}) {
  const node = el("button", {
    type: "button", "aria-label": label === undefined ? null : name, title: hint ?? null, onclick: act,
    onmousedown: (event) => event.preventDefault(), ...attributes,
  });
  if (shape) node.append(icon(shape));
  if ((label ?? name) !== "") node.append(el("span", {}, label ?? name));
  return node;
}
