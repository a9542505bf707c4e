"use strict";
// The picture with its patches: where one of them looks, and which are hidden. Each patch is a button.
const isMore = event => event.shiftKey;
const colors = () => ({link: getComputedStyle(document.documentElement).getPropertyValue("--link")});

const PatchPanel = (() => {
  const {state, edits, own} = App;
  let veiled = null, shownOf = "", hides = false;

  const tiles = ({rows, columns}) => Array.from({length: rows * columns}, (_, n) =>
    [n % columns / columns, Math.floor(n / columns) / rows, 1 / columns, 1 / rows]);

  /** The picture beneath the buttons, made anew where another one, or another language, is chosen. */
  function frame() {
    const one = Pictures.picture(), name = `${state.picture} ${language}`;
    if (name === shownOf) return;
    shownOf = name;
    veiled = new Picture({png: one.png, boxes: tiles(own.data.grid), about: Pictures.about(one),
      caption: say("clear")});
    veiled.node.firstChild.append(make("div", {class: "patches", role: "group", "id": "patches",
      "aria-label": say("patches"),
      style: `grid-template-columns: repeat(${own.data.grid.columns}, 1fr)`}));
    $("picture").replaceChildren(veiled.node);
  }

  /** Weights of a row over patches as a veil, and in a line what it looks at most. */
  function veil(row, reading) {
    const {tokens} = own.data.grid, [rows, columns] = App.labels(state.place, reading);
    const at = headOf(reading.maps[state.place][state.layer].weights, state.head);
    const weights = columns.map((_, j) => at(row, j)), isPatch = state.place === "encoder" && row >= tokens;
    veiled.draw({weights: weights.slice(tokens), marked: isPatch ? [row - tokens] : []});
    const best = weights.reduce((best, x, j) => x > weights[best] ? j : best, 0);
    $("most").textContent = say("most",
      {token: rows[row], key: columns[best], weight: percent(weights[best])});
  }

  function turn(n) {
    edits.hidden = edits.hidden.includes(n) ? edits.hidden.filter(x => x !== n) : [...edits.hidden, n];
    App.schedule();
  }

  /** Looks from a position; a pooling has one query, so there it is what is looked at. */
  const pick = j => App.look(state.place === "encoder" ? {row: j} : {column: j});

  function button(j, label, weight, reading) {
    const {tokens} = own.data.grid, n = j - tokens, isHidden = edits.hidden.includes(n);
    const looks = state.place === "encoder", isChosen = j === (looks ? state.row : state.column);
    const preview = row => looks ? veil(row, reading) : null;
    return make("button", {type: "button", "data-position": j, "aria-pressed": isChosen,
      class: isHidden ? "hidden-patch" : "",
      "aria-label": n < 0 ? null
        : say(isHidden ? "patchHidden" : "patchSaid", {name: label, weight: percent(weight)}),
      title: `${label}: ${percent(weight)}`,
      onpointerenter: () => preview(j), onpointerleave: () => preview(state.row),
      onclick: event => n >= 0 && own.model && (hides || isMore(event)) ? turn(n) : pick(j),
      onkeydown: event => {
        if (n < 0 || !own.model || !["h", "H", "Delete"].includes(event.key)) return;
        event.preventDefault();
        turn(n);
      }}, n < 0 ? `${label} ${percent(weight)}` : isHidden ? "×" : "");
  }

  function render(reading) {
    if (!reading.maps[state.place]?.length) return;
    frame();
    const {tokens, columns: across} = own.data.grid, columns = App.labels(state.place, reading)[1];
    const at = headOf(reading.maps[state.place][state.layer].weights, state.head);
    const buttons = columns.map((label, j) => button(j, label, at(state.row, j), reading));
    const [before, patches] = [buttons.slice(0, tokens), buttons.slice(tokens)];
    const chosen = state.place === "encoder" ? state.row : state.column;
    roving(before, Math.min(chosen, tokens - 1));
    roving(patches, Math.max(chosen - tokens, 0), {down: across});
    keeping($("positions"), "data-position", before);
    keeping($("patches"), "data-position", patches);
    veil(state.row, reading);
    $("shown-again").disabled = !edits.hidden.length;
  }

  function start() {
    App.panels.push(render);
    for (const radio of document.querySelectorAll("[name=click]")) {
      radio.addEventListener("change", () => { hides = radio.value === "hide" && radio.checked; });
    }
    $("shown-again").addEventListener("click", () => {
      edits.hidden = [];
      App.schedule();
    });
    addEventListener("resize", () => veiled?.draw(veiled.drawn));
  }

  return {start};
})();
