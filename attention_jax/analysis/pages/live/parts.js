"use strict";
// Parts that the panels share: elements, labels of tokens, colors, formats.
const $ = id => document.getElementById(id);

/** An element with attributes, listeners (on…) and children; null children are left out. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter(child => child !== null && child !== undefined));
  return node;
}

const svg = (tag, attributes = {}) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};

const plainToken = token => token.replace(/[▁Ġ]/gu, " ").trim() || "␣";
const fixed = (x, digits = 2) => x.toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
const percent = (x, digits = 0) => `${(100 * x).toFixed(digits)} %`;

/** The color of a weight from 0 to 1, over the ground of a cell. */
const shade = weight =>
  `color-mix(in srgb, var(--more) ${Math.round(100 * Math.min(Math.max(weight, 0), 1))}%, var(--card))`;

/** The color of a number of either sign, `most` being full. */
const signed = (x, most) => `color-mix(in srgb, var(${x < 0 ? "--less" : "--more"}) `
  + `${Math.round(40 * Math.min(Math.abs(x) / (most || 1), 1))}%, var(--card))`;

/** Numbers as a strip of colored cells, each of which says its number. */
function strip(numbers, most = Math.max(...numbers.map(Math.abs))) {
  return make("span", {class: "strip"}, [...numbers].map(x =>
    make("span", {style: `background: ${signed(x, most)}`}, fixed(x))));
}

/** Rows of one head: at(i, j) of numbers {shape [h t s], data}. */
const headOf = ({shape: [, t, s], data}, head) => (i, j) => data[(head * t + i) * s + j];

/** Replaces children, and the focus stays with what has the same mark. */
function keeping(node, mark, children) {
  const held = node.contains(document.activeElement) ? document.activeElement.getAttribute(mark) : null;
  node.replaceChildren(...children);
  if (held !== null) node.querySelector(`[${mark}="${held}"]`)?.focus();
}

/**
 * Moves among elements by arrow keys; one of them can be reached by Tab. `down` is how many elements
 * further the one below is; 0 where the arrows up and down mean nothing.
 */
function roving(nodes, chosen, {down = 0} = {}) {
  nodes.forEach((node, n) => {
    node.tabIndex = n === chosen ? 0 : -1;
    node.addEventListener("keydown", event => {
      const by = {ArrowRight: 1, ArrowLeft: -1, ...(down ? {ArrowDown: down, ArrowUp: -down} : {})};
      const to = event.key === "Home" ? 0 : event.key === "End" ? nodes.length - 1
        : event.key in by ? n + by[event.key] : null;
      if (to === null || !nodes[to]) return;
      event.preventDefault();
      nodes[to].focus();
    });
  });
}
