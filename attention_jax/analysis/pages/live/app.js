"use strict";
// What the page holds: the model, the sentence, what is looked at, what is changed; and how a change
// of one of them reaches the panels. A reading is {source, target: labels, ids, maps, ms, memory}.
const App = (() => {
  const PLACES = ["encoder", "decoder", "cross"];
  const PATIENCE = 3000;  // milliseconds for one translation, which is cut there
  const state = {text: "", place: "cross", layer: 0, head: 0, row: 0, column: 0, step: 0};
  const edits = {off: [], pins: [], sharpness: 1, tokens: {}};
  const own = {data: null, model: null, tokenizer: null, base: null, edited: null};
  const panels = [];
  let asked = 0;

  const isEdited = () => edits.off.length > 0 || edits.pins.length > 0 || edits.sharpness !== 1
    || Object.keys(edits.tokens).length > 0;

  /** What the model reads and writes; null of an empty sentence. */
  function read(text, changes = null, {model, tokenizer} = own) {
    const begun = performance.now();
    const all = tokenizer.encode(text.trim());
    if (!all.length) return null;
    const ids = all.slice(0, model.most - 1).map((id, i) => changes?.tokens[i] ?? id);
    const memory = model.encode(ids, changes);
    const {ids: target, rows, found} = Search.greedy(model, memory, {until: begun + PATIENCE});
    return {
      text: tokenizer.decode(target), ids: target, memory, isLong: all.length > ids.length,
      sure: target.map((id, i) => Math.exp(Search.logProbabilities(rows[i])[id])),
      source: [...ids, EOS].map(id => tokenizer.label(id)),
      target: target.map(id => tokenizer.label(id)),
      maps: {encoder: memory.encoder, decoder: found.decoder, cross: found.cross},
      ms: performance.now() - begun,
    };
  }

  function compute() {
    for (const name of ["base", "edited"]) {
      own[name]?.memory?.free();
      own[name] = null;
    }
    own.base = read(state.text);
    if (own.base && isEdited()) own.edited = read(state.text, edits);
    render();
  }

  /** Computes once the browser has shown what was typed; the last of several calls counts. */
  function schedule() {
    const number = ++asked;
    setTimeout(() => {
      if (number === asked) compute();
    }, 0);
  }

  const shown = () => own.edited ?? own.base;

  /** Labels of the tokens that look, and of those that are looked at. */
  function labels(place, reading = shown()) {
    if (place === "encoder") return [reading.source, reading.source];
    if (place === "cross") return [reading.target, reading.source];
    return [reading.target, ["<bos>", ...reading.target.slice(0, -1)]];
  }

  /** Keeps what is looked at within what there is. */
  function settle() {
    const reading = shown();
    if (!reading) return;
    const places = PLACES.filter(place => reading.maps[place]?.length);
    if (!places.includes(state.place)) state.place = places.at(-1) ?? "cross";
    const layers = reading.maps[state.place] ?? [];
    state.layer = Math.min(state.layer, Math.max(layers.length - 1, 0));
    state.head = Math.min(state.head, Math.max((layers[state.layer]?.weights.shape[0] ?? 1) - 1, 0));
    const [rows, columns] = labels(state.place);
    state.row = Math.min(state.row, rows.length - 1);
    state.column = Math.min(state.column, columns.length - 1);
  }

  function render() {
    settle();
    for (const panel of panels) panel(shown());
    document.body.dataset.count = Number(document.body.dataset.count ?? 0) + 1;
  }

  /** Looks elsewhere: nothing is computed anew. */
  function look(change) {
    Object.assign(state, change);
    render();
  }

  /** The name of the attention in a place and layer. */
  function variantOf(place, layer) {
    if (!own.model) return "";
    const {encoder, decoder} = own.model.own;
    if (place === "encoder") return (encoder.own ?? encoder.above.own).attention[layer].name;
    if (decoder.kind === "rnn") return decoder.attention.name;
    return (place === "cross" ? decoder.own.cross : decoder.own.attention)[layer].name;
  }

  /** Holds a weight of the head that is looked at; null lets it go. */
  function pin(column, weight) {
    const {place, layer, head, row} = state;
    const isOfRow = x => x.place === place && x.layer === layer && x.head === head && x.row === row;
    edits.pins = edits.pins.filter(x => !isOfRow(x) || x.column !== column);
    if (weight !== null) {
      // A row has no more than 1 to give: those held before make room.
      const held = edits.pins.filter(isOfRow).reduce((sum, x) => sum + x.weight, 0);
      if (held > 1 - weight) edits.pins = edits.pins.map(x =>
        isOfRow(x) ? {...x, weight: x.weight * (1 - weight) / held} : x);
      edits.pins.push({place, layer, head, row, column, weight});
    }
    schedule();
  }

  return {PLACES, state, edits, own, panels, read, compute, schedule, shown, labels, render, look,
    variantOf, pin, isEdited};
})();
