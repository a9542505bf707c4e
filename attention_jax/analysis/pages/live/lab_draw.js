"use strict";
// Curves and attention matrices as SVG, in the colors of lab.css.
(() => {
  const SVG = "http://www.w3.org/2000/svg";

  /** An element of HTML: tag, properties, children. */
  function make(tag, given = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (name in element) element[name] = value; else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function part(tag, given, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const picture = (width, height, label) =>
    part("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label});

  /** A round number of about `most` / 4. */
  function stride(most) {
    const rough = most / 4, ten = 10 ** Math.floor(Math.log10(rough));
    return ten * [1, 2, 5, 10].find(n => n * ten >= rough);
  }

  function ticks(most) {
    const by = stride(most), found = [];
    for (let x = 0; x <= most * (1 + 1e-9); x += by) found.push(x);
    return found;
  }

  const WIDTH = 420, HEIGHT = 230, LEFT = 44, RIGHT = 124, TOP = 10, BOTTOM = 36;

  /**
   * Curves with their names at their ends.
   *
   * @param series [{name, kind, points: [[x, y], …]}], where kind is the class of the color.
   * @param axes {x, most, top, number, label, mark}: label of x, largest x and y, how numbers of y
   *   are written, what the picture says; mark is {x, text} of an upright line.
   */
  function curves(element, series, {x: xName, most, top, number, label, mark, dots}) {
    const svg = picture(WIDTH, HEIGHT, label);
    const across = x => LEFT + x / most * (WIDTH - LEFT - RIGHT);
    const up = y => HEIGHT - BOTTOM - Math.min(y / top, 1) * (HEIGHT - TOP - BOTTOM);
    for (const y of ticks(top)) {
      svg.append(part("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: up(y), y2: up(y)}),
        part("text", {x: LEFT - 6, y: up(y) + 4, "text-anchor": "end"}, number(y)));
    }
    for (const x of ticks(most)) {
      svg.append(part("text", {x: across(x), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle"}, x));
    }
    const middle = (LEFT + WIDTH - RIGHT) / 2;
    svg.append(part("text", {x: middle, y: HEIGHT - 4, "text-anchor": "middle"}, xName));
    if (mark) {
      const at = across(mark.x);
      svg.append(part("line", {class: "mark", x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM}),
        part("text", {x: at + 5, y: TOP + 10}, mark.text));
    }
    const shown = series.filter(({points}) => points.length);
    for (const {kind, points} of shown) {
      const path = points.map(([x, y]) => `${across(x).toFixed(1)},${up(y).toFixed(1)}`);
      svg.append(part("polyline", {class: `curve ${kind}`, points: path.join(" ")}));
      if (dots || points.length === 1) {
        for (const [x, y] of points) {
          svg.append(part("circle", {class: `dot ${kind}`, cx: across(x), cy: up(y), r: 2.5}));
        }
      }
    }
    for (const {name, kind, x, y} of apart(shown.map(({name, kind, points}) =>
      ({name, kind, x: across(points.at(-1)[0]), y: up(points.at(-1)[1])})))) {
      svg.append(part("text", {class: `name ${kind}`, x: x + 6, y: y + 4}, name));
    }
    element.replaceChildren(svg);
  }

  /** Labels moved down until none covers another, and up again where they leave the picture. */
  function apart(labels) {
    const space = 14, sorted = [...labels].sort((a, b) => a.y - b.y);
    sorted.forEach((label, at) => {
      if (at) label.y = Math.max(label.y, sorted[at - 1].y + space);
    });
    let floor = HEIGHT - BOTTOM;
    for (const label of sorted.reverse()) {
      label.y = Math.min(label.y, floor);
      floor = label.y - space;
    }
    return sorted;
  }

  const CELL = 22, SIDE = 34;

  /** A matrix of weights, white at 0 and full at 1. */
  function matrix(element, {rows, columns, weights, kind, label, number}) {
    const svg = picture(SIDE + columns.length * CELL + 8, (rows.length + 1) * CELL + 2, label);
    const left = at => SIDE + at * CELL, top = at => (at + 1) * CELL;
    columns.forEach((text, at) => svg.append(
      part("text", {x: left(at + 0.5), y: CELL - 6, "text-anchor": "middle"}, text)));
    rows.forEach((text, at) => svg.append(
      part("text", {x: SIDE - 6, y: top(at + 0.5) + 4, "text-anchor": "end"}, text)));
    weights.forEach((row, t) => row.forEach((weight, s) => {
      const place = {x: left(s), y: top(t), width: CELL - 1, height: CELL - 1};
      svg.append(part("rect", {...place, class: "cell"}));
      const cell = part("rect", {...place, class: `weight ${kind}`, "fill-opacity": weight.toFixed(3)});
      cell.append(part("title", {}, `${rows[t]} ← ${columns[s]}: ${number(weight, 2)}`));
      svg.append(cell);
    }));
    element.replaceChildren(svg);
  }

  Lab.draw = {make, curves, matrix, ticks, apart};
})();
