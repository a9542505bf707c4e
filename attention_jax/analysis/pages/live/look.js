"use strict";
// The attention: as lines, as a matrix, and one row as bars; those of them that the page has.
const Look = (() => {
  const {state, own} = App;
  const HEIGHT = 30;  // of a token among the lines, as in live.css

  // ---- Which head --------------------------------------------------------------------------------

  function options(select, count, key, chosen) {
    select.replaceChildren(...Array.from({length: count}, (_, n) =>
      make("option", {value: n, selected: n === chosen}, `${say(key)} ${n + 1}`)));
    select.value = chosen;
  }

  function choices(reading) {
    const places = App.kind.places.filter(place => reading?.maps[place]?.length);
    $("place").replaceChildren(...places.map(place =>
      make("option", {value: place}, say(place))));
    $("place").value = state.place;
    const layers = reading?.maps[state.place] ?? [];
    options($("layer"), layers.length, "layer", state.layer);
    options($("head"), layers[state.layer]?.weights.shape[0] ?? 0, "head", state.head);
    const about = {encoder: "aboutEncoder", decoder: "aboutDecoder", cross: "aboutCross"};
    $("about-place").textContent = layers.length ? say(about[state.place]) : say("noAttention");
    $("maps").hidden = !layers.length;
    return layers.length > 0;
  }

  // ---- Lines -------------------------------------------------------------------------------------

  function lines(at, [rows, columns]) {
    const picture = svg("svg", {viewBox: `0 0 100 ${HEIGHT * Math.max(rows.length, columns.length)}`,
      preserveAspectRatio: "none", "aria-hidden": "true",
      style: `height: ${HEIGHT * Math.max(rows.length, columns.length)}px`});
    rows.forEach((_, i) => columns.forEach((_, j) => {
      const weight = at(i, j), isChosen = i === state.row;
      if (weight < .02) return;
      picture.append(svg("line", {x1: 0, x2: 100, y1: (i + .5) * HEIGHT, y2: (j + .5) * HEIGHT,
        class: isChosen ? "chosen" : "", "stroke-opacity": isChosen ? .15 + .85 * weight : .5 * weight,
        "stroke-width": isChosen ? 1 + 6 * weight : 1 + 3 * weight,
        "vector-effect": "non-scaling-stroke"}));
    }));
    const buttons = rows.map((label, i) => make("button", {type: "button",
      "aria-pressed": i === state.row, "aria-label": say("row", {number: i + 1, token: plainToken(label)}),
      onclick: () => App.look({row: i})}, plainToken(label)));
    roving(buttons, state.row, {down: 1});
    const hasFocus = $("lines").querySelector(".queries")?.contains(document.activeElement);
    const keys = columns.map((label, j) => make("li", {},
      make("span", {}, plainToken(label)), make("small", {}, percent(at(state.row, j)))));
    $("lines").replaceChildren(
      make("ol", {class: "queries", "aria-label": say("queries")}, buttons.map(x => make("li", {}, x))),
      picture, make("ol", {class: "keys", "aria-label": say("keys")}, keys));
    if (hasFocus) buttons[state.row].focus();
  }

  // ---- Matrix ------------------------------------------------------------------------------------

  const MOVED = .05;  // of a weight, from which on a change marks it
  const MOST_CELLS = 64 ** 2;  // that can be drawn at each change

  /** Tells which cells a change has moved, where the rows and columns are still the same. */
  function movedFrom(reading, at) {
    const before = own.edited && own.base.maps[state.place]?.[state.layer]?.weights;
    if (!before || reading !== own.edited) return () => false;
    const was = headOf(before, state.head);
    const sizes = [reading, own.base].map(one => App.labels(state.place, one).map(x => x.length).join());
    return sizes[0] === sizes[1] ? (i, j) => Math.abs(at(i, j) - was(i, j)) >= MOVED : () => false;
  }

  function matrix(at, [rows, columns], hasMoved) {
    if (rows.length * columns.length > MOST_CELLS) {
      $("matrix").replaceChildren(say("tooLarge"));
      return;
    }
    const head = make("tr", {}, make("td"), columns.map(label =>
      make("th", {scope: "col"}, make("span", {}, plainToken(label)))));
    const cells = [];
    const body = rows.map((label, i) => make("tr", {class: i === state.row ? "chosen" : ""},
      make("th", {scope: "row"}, plainToken(label)),
      columns.map((key, j) => {
        const weight = at(i, j), isHere = i === state.row && j === state.column;
        const cell = make("td", {style: `background: ${shade(weight)}`, tabindex: isHere ? 0 : -1,
          "aria-label": `${plainToken(label)}, ${plainToken(key)}: ${percent(weight)}`,
          class: `${isHere ? "here" : ""} ${hasMoved(i, j) ? "moved" : ""}`, title: `${plainToken(label)} → ${plainToken(key)}: `
            + percent(weight), "data-at": `${i},${j}`});
        cells.push(cell);
        return cell;
      })));
    $("matrix").replaceChildren(make("table", {role: "grid", "aria-label": say("matrix"),
      onclick: event => pick(event.target.closest("[data-at]")),
      onkeydown: event => move(event, rows.length, columns.length)}, head, body));
  }

  function pick(cell, isFocused = false) {
    if (!cell) return;
    const [row, column] = cell.dataset.at.split(",").map(Number);
    App.look({row, column});
    if (isFocused) document.querySelector("#matrix td.here").focus();
  }

  function move(event, height, width) {
    const by = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[event.key];
    if (!by) return;
    event.preventDefault();
    const row = Math.min(Math.max(state.row + by[0], 0), height - 1);
    const column = Math.min(Math.max(state.column + by[1], 0), width - 1);
    pick(document.querySelector(`#matrix [data-at="${row},${column}"]`), true);
  }

  // ---- One row as bars, which can be dragged ------------------------------------------------------

  function bar(weight, query, key, j) {
    const isHeld = App.edits.pins.some(x => App.isOfRow(x) && x.column === j);
    const fill = make("i", {style: `width: ${100 * Math.min(Math.max(weight, 0), 1)}%`});
    const canDrag = own.model !== null;
    const slider = make("div", {class: isHeld ? "bar held" : "bar", "data-column": j,
      ...(canDrag ? {role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": 100,
        "aria-valuenow": Math.round(100 * weight), "aria-valuetext": percent(weight),
        "aria-label": say("weightOf", {key, query}),
        onpointerdown: event => drag(event, j), onkeydown: event => nudge(event, j, weight)} : {})},
    fill);
    return make("li", {}, make("span", {}, key), slider, make("small", {}, percent(weight)));
  }

  function drag(event, column) {
    const box = event.currentTarget.getBoundingClientRect();
    const hold = ({clientX}) => App.pin(column, Math.min(Math.max((clientX - box.left) / box.width, 0), 1));
    const end = () => {
      removeEventListener("pointermove", hold);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
    };
    event.preventDefault();
    addEventListener("pointermove", hold);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
    hold(event);
  }

  function nudge(event, column, weight) {
    const by = {ArrowRight: .05, ArrowUp: .05, ArrowLeft: -.05, ArrowDown: -.05,
      PageUp: .25, PageDown: -.25, Home: -1, End: 1}[event.key];
    if (by === undefined && event.key !== "Delete") return;
    event.preventDefault();
    App.pin(column, event.key === "Delete" ? null : Math.min(Math.max(weight + by, 0), 1));
  }

  function bars(at, [rows, columns]) {
    const query = plainToken(rows[state.row]);
    $("row-title").textContent = say("weights", {token: query});
    const isIn = $("bars").contains(document.activeElement);
    const held = isIn ? document.activeElement.dataset.column : null;
    $("bars").replaceChildren(...columns.map((label, j) =>
      bar(at(state.row, j), query, plainToken(label), j)));
    if (held !== null) document.querySelector(`#bars [data-column="${held}"]`)?.focus();
  }

  function render(reading) {
    $("look").hidden = !reading;
    if (!reading || !choices(reading)) return;
    const at = headOf(reading.maps[state.place][state.layer].weights, state.head);
    const both = App.labels(state.place);
    if ($("lines")) lines(at, both);
    if ($("matrix")) {
      matrix(at, both, movedFrom(reading, at));
      $("moved-about").hidden = !own.edited;
    }
    if ($("bars")) bars(at, both);
  }

  function start() {
    App.panels.push(render);
    $("place").addEventListener("change", event => App.look({place: event.target.value}));
    $("layer").addEventListener("change", event => App.look({layer: Number(event.target.value)}));
    $("head").addEventListener("change", event => App.look({head: Number(event.target.value)}));
  }

  return {start};
})();
