"use strict";
// Change something of the attention: a head, the temperature, a weight.
const Edit = (() => {
  const {edits, own} = App;

  const isOn = (place, layer, head) => !edits.off.some(x =>
    x.place === place && x.layer === layer && x.head === head);

  /** A box that switches heads of a layer. */
  function box(place, layer, which, label, name, mark) {
    const isOfAll = which.every(head => isOn(place, layer, head));
    return make("label", {}, make("input", {type: "checkbox", checked: isOfAll, "data-head": mark,
      "aria-label": name, onchange: event => turn(place, layer, which, event.target.checked)}), label);
  }

  function heads(reading) {
    const rows = App.kind.places.flatMap(place => (reading.maps[place] ?? []).map((found, layer) => {
      const all = Array.from({length: found.weights.shape[0]}, (_, head) => head);
      const values = {place: say(place), layer: layer + 1};
      return make("div", {class: "heads"},
        make("span", {}, `${say(place)}, ${say("layer")} ${layer + 1}`),
        all.map(head => box(place, layer, [head], String(head + 1),
          say("headOf", {...values, head: head + 1}), `${place},${layer},${head}`)),
        all.length > 1
          ? box(place, layer, all, say("all"), say("allOf", values), `${place},${layer},all`) : null);
    }));
    keeping($("heads"), "data-head", rows);
  }

  function turn(place, layer, heads, willBeOn) {
    edits.off = edits.off.filter(x => x.place !== place || x.layer !== layer
      || !heads.includes(x.head));
    if (!willBeOn) edits.off.push(...heads.map(head => ({place, layer, head})));
    App.schedule();
  }

  function pins(reading) {
    $("pins").replaceChildren(...edits.pins.map(one => {
      const [rows, columns] = App.labels(one.place, reading);
      const text = say("pin", {query: plainToken(rows[one.row] ?? "?"),
        key: plainToken(columns[one.column] ?? "?"), weight: percent(one.weight),
        place: say(one.place), layer: one.layer + 1, head: one.head + 1});
      return make("li", {}, text, " ", make("button", {type: "button", onclick: () => {
        edits.pins = edits.pins.filter(x => x !== one);
        App.schedule();
      }}, say("remove")));
    }));
    $("pins-title").hidden = !edits.pins.length;
  }

  function temperature() {
    const value = 1 / edits.sharpness;
    $("temperature").value = Math.log2(value);
    $("temperature").setAttribute("aria-valuetext", fixed(value));
    $("temperature-value").textContent = fixed(value);
  }

  function render(reading) {
    $("edit").hidden = !own.model || !reading;
    if (!own.model || !reading) return;
    heads(reading);
    pins(reading);
    temperature();
    $("reset").disabled = !own.edited;
  }

  function start() {
    App.panels.push(render);
    $("temperature").addEventListener("input", event => {
      const exponent = Number(event.target.value);
      edits.sharpness = exponent === 0 ? 1 : 2 ** -exponent;
      App.schedule();
    });
    $("reset").addEventListener("click", App.reset);
  }

  return {start};
})();
