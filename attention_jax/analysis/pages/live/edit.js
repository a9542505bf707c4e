"use strict";
// Change something: a token, a head, the temperature, a weight. What differs is marked.
const Edit = (() => {
  const {edits, own} = App;

  const MOVED = .01;  // of a probability, from which on it is marked

  /** A token of the output with its probability. */
  function chip(reading, other, i) {
    const token = plainToken(reading.target[i]), share = percent(reading.sure[i], 1);
    const isSame = !other || other.ids[i] === reading.ids[i];
    const hasMoved = other && isSame && Math.abs(other.sure[i] - reading.sure[i]) >= MOVED;
    return make("span", {class: isSame ? "chip" : "chip differs"}, token,
      make("small", {class: hasMoved ? "moved" : ""}, share));
  }

  function compare() {
    const {base, edited} = own;
    const chips = (reading, other) => reading.target.map((_, i) => chip(reading, other, i));
    $("before").replaceChildren(...chips(base, null));
    $("after").replaceChildren(...chips(edited ?? base, base));
    const count = edited ? Math.max(base.ids.length, edited.ids.length)
      - base.ids.filter((id, i) => id === edited.ids[i]).length : 0;
    $("difference").textContent = !edited ? say("noEdits")
      : count ? say("changed", {count}) : say("same");
    $("reset").disabled = !edited;
  }

  const isOn = (place, layer, head) => !edits.off.some(x =>
    x.place === place && x.layer === layer && x.head === head);

  /** A box that switches heads of a layer. */
  function box(place, layer, which, label, name, mark) {
    const isOfAll = which.every(head => isOn(place, layer, head));
    return make("label", {}, make("input", {type: "checkbox", checked: isOfAll, "data-head": mark,
      "aria-label": name, onchange: event => turn(place, layer, which, event.target.checked)}), label);
  }

  function heads(reading) {
    const rows = App.PLACES.flatMap(place => (reading.maps[place] ?? []).map((found, layer) => {
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

  /** Replaces children, and the focus stays with what has the same mark. */
  function keeping(node, mark, children) {
    const held = node.contains(document.activeElement) ? document.activeElement.getAttribute(mark) : null;
    node.replaceChildren(...children);
    if (held !== null) node.querySelector(`[${mark}="${held}"]`)?.focus();
  }

  function turn(place, layer, heads, willBeOn) {
    edits.off = edits.off.filter(x => x.place !== place || x.layer !== layer
      || !heads.includes(x.head));
    if (!willBeOn) edits.off.push(...heads.map(head => ({place, layer, head})));
    App.schedule();
  }

  function tokens() {
    const {source} = own.base, known = own.tokenizer.own.vocabulary;
    const field = (label, i) => {
      const now = edits.tokens[i] === undefined ? label : known[edits.tokens[i]];
      return make("input", {type: "text", value: plainToken(now), list: "vocabulary", size: 8,
        "data-token": i, class: edits.tokens[i] === undefined ? "" : "differs",
        autocomplete: "off", spellcheck: "false",
        "aria-label": say("replace", {token: plainToken(label)}),
        onchange: event => exchange(i, event.target.value.trim())});
    };
    keeping($("tokens"), "data-token", source.slice(0, -1).map(field));
  }

  function exchange(i, text) {
    const {tokenizer, base} = own;
    const id = [text, `▁${text}`].map(name => tokenizer.ids.get(name)).filter(x => x > UNKNOWN);
    const was = plainToken(base.source[i]);
    if (text === was || !text) delete edits.tokens[i];
    // A word within a sentence carries its space, which is the second of the two.
    else edits.tokens[i] = id.at(-1) ?? UNKNOWN;
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
    compare();
    heads(reading);
    tokens();
    pins(reading);
    temperature();
  }

  function reset() {
    Object.assign(edits, {off: [], pins: [], sharpness: 1, tokens: {}});
    App.schedule();
  }

  function start() {
    App.panels.push(render);
    $("temperature").addEventListener("input", event => {
      const exponent = Number(event.target.value);
      edits.sharpness = exponent === 0 ? 1 : 2 ** -exponent;
      App.schedule();
    });
    $("reset").addEventListener("click", reset);
    $("vocabulary").replaceChildren(...own.tokenizer.own.vocabulary.slice(UNKNOWN + 1, 2000)
      .map(token => make("option", {value: plainToken(token)})));
  }

  return {start};
})();
