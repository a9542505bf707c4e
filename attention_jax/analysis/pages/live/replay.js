"use strict";
// How the model learned: the sentence at each checkpoint that was kept, beside the loss curve.
const Replay = (() => {
  const {own, state} = App;
  const models = new Map();  // by the number of the checkpoint
  let chosen = 0;

  function modelAt(n) {
    if (!models.has(n)) models.set(n, own.model.with(own.data.checkpoints[n].weights));
    return models.get(n);
  }

  /** Numbers over steps as a line in a box from 0 to `top`, or to the largest. */
  function chart(points, {mark, top} = {}) {
    const xs = points.map(([x]) => x), high = top ?? Math.max(...points.map(([, y]) => y));
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const x = value => 100 * (value - left) / (right - left || 1);
    const y = value => 100 - 96 * value / (high || 1);
    const picture = svg("svg", {viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img",
      "aria-label": points.map(([at, value]) => `${at}: ${fixed(value)}`).join(", ")});
    picture.append(svg("path", {
      d: points.map(([at, value], n) => `${n ? "L" : "M"}${x(at)} ${y(value)}`).join("")}));
    if (mark !== undefined) picture.append(svg("line", {x1: x(mark), x2: x(mark), y1: 0, y2: 100}));
    return make("div", {class: "chart"},
      make("span", {class: "side"}, make("span", {}, fixed(high)), make("span", {}, "0")), picture,
      make("span", {class: "low"}, make("span", {}, String(left)), make("span", {}, String(right))));
  }

  function smallMap(reading) {
    const found = reading.maps[state.place]?.[state.layer];
    if (!found) return [];
    const [rows, columns] = App.labels(state.place, reading), at = headOf(found.weights, state.head);
    const cells = rows.flatMap((row, i) => columns.map((key, j) => make("i", {
      style: `background: ${shade(at(i, j))}`,
      title: `${plainToken(row)} → ${plainToken(key)}: ${percent(at(i, j))}`})));
    return [make("div", {class: "small-map", role: "img", "aria-label": say("replayMap"),
      style: `grid-template-columns: repeat(${columns.length}, 1rem)`}, cells)];
  }

  function render() {
    if (!own.base) return;
    const {step} = own.data.checkpoints[chosen];
    const reading = Sentences.read(state.text, null, {model: modelAt(chosen), tokenizer: own.tokenizer});
    $("replay-at").textContent = say("replayAt", {step});
    $("checkpoint").setAttribute("aria-valuetext", say("replayAt", {step}));
    $("replay-text").replaceChildren(...reading.target.map((label, i) => make("span",
      {class: reading.ids[i] === own.base.ids[i] ? "chip" : "chip differs"}, plainToken(label))));
    $("replay-map").replaceChildren(...smallMap(reading));
    $("curve").replaceChildren(...(own.data.curve.length ? [chart(own.data.curve, {mark: step})] : []));
    reading.memory.free();
  }

  function start() {
    const {checkpoints} = own.data;
    $("replay").hidden = checkpoints.length < 2;
    if (checkpoints.length < 2) return;
    chosen = checkpoints.length - 1;
    $("checkpoint").max = chosen;
    $("checkpoint").value = chosen;
    $("checkpoint").addEventListener("input", event => {
      chosen = Number(event.target.value);
      render();
    });
    App.panels.push(render);
    render();
  }

  return {start, chart};
})();
