"use strict";
// Sentences that are typed, and their translation. A reading is {source, target: labels, ids, maps, ms,
// memory}.
const Sentences = (() => {
  const {state, own} = App;
  const PATIENCE = 3000;  // milliseconds for one translation, which is cut there

  /** What a model reads in a text and writes; null of an empty one. */
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

  const KIND = {
    places: ["encoder", "decoder", "cross"],
    state: () => ({text: "", place: "cross"}),
    edits: () => ({tokens: {}}),
    isEdited: ({tokens}) => Object.keys(tokens).length > 0,
    read: edits => read(state.text, edits),
    free: reading => reading.memory?.free(),

    labels(place, reading) {
      if (place === "encoder") return [reading.source, reading.source];
      if (place === "cross") return [reading.target, reading.source];
      return [reading.target, ["<bos>", ...reading.target.slice(0, -1)]];
    },

    variantOf(place, layer) {
      const {encoder, decoder} = own.model.own;
      if (place === "encoder") return (encoder.own ?? encoder.above.own).attention[layer];
      if (decoder.kind === "rnn") return decoder.attention;
      return (place === "cross" ? decoder.own.cross : decoder.own.attention)[layer];
    },

    wholeOf(reading, place, layer) {
      if (place === "encoder") return reading.memory.encoder[layer];
      const before = [BOS, ...reading.ids.slice(0, -1)];
      return own.model.next(reading.memory, before, {whole: true})[place][layer];
    },
  };

  function render(reading) {
    $("translation").replaceChildren(...(reading ? [reading.text] : [say("empty")]));
    if (!own.model || !reading) {
      $("timing").textContent = "";
      $("unknown").textContent = "";
      return;
    }
    const {base} = own, isCut = base.ids.at(-1) !== EOS;
    $("translation").textContent = base.text;
    $("timing").textContent = say("timing", {ms: Math.round(base.ms), tokens: base.ids.length})
      + (isCut ? ` ${say("cut")}` : "");
    const never = own.tokenizer.pieces(state.text.trim()).filter(({id}) => id === UNKNOWN)
      .map(({text}) => `“${plainToken(text)}”`);
    const said = never.length ? [say("unknown", {words: never.join(", ")})] : [];
    if (base.isLong) said.push(say("long", {most: own.model.most - 1}));
    $("unknown").textContent = said.join(" ");
    if ($("alternatives").open) alternatives();
    else $("beams").replaceChildren();
  }

  function alternatives() {
    if (!own.base) return;
    const found = Search.beam(own.model, own.base.memory, {count: 4});
    $("beams").replaceChildren(...found.map(({ids, score}) => make("tr", {},
      make("td", {}, own.tokenizer.decode(ids)), make("td", {class: "number"}, fixed(score)))));
  }

  function start() {
    App.panels.push(render);
    $("text").addEventListener("input", event => {
      Object.assign(state, {text: event.target.value, row: 0});
      Object.assign(App.edits, {tokens: {}, pins: []});
      App.schedule();
    });
    $("alternatives").addEventListener("toggle", () => {
      if ($("alternatives").open) alternatives();
    });
  }

  App.use(KIND);
  return {start, read};
})();
