"use strict";
// Recurrent encoders and decoders: cells read one position after another, each by a compiled step.
// A carry is {h}, of an LSTM {c, h}; vectors are rows [1 m].
const Recurrent = (() => {
  const o = Engine.ops;
  const {linear} = Transformer;

  /** r, z and n side by side; the reset gate acts after the map of the state. */
  function gru(p, {h}, x) {
    const [r, z, n] = o.split(linear(p.dense_i, x), 3, 1);
    const [ownR, ownZ, ownN] = o.split(linear(p.dense_h, h), 3, 1);
    const update = o.sigmoid(o.add(z, ownZ));
    const fresh = o.tanh(o.add(n, o.multiply(o.sigmoid(o.add(r, ownR)), ownN)));
    return {h: o.add(o.multiply(o.subtract(1, update), fresh), o.multiply(update, h))};
  }

  function lstm(p, {c, h}, x) {
    const [i, f, g, out] = o.split(o.add(linear(p.dense_i, x), linear(p.dense_h, h)), 4, 1);
    const cell = o.add(o.multiply(o.sigmoid(f), c), o.multiply(o.sigmoid(i), o.tanh(g)));
    return {c: cell, h: o.multiply(o.sigmoid(out), o.tanh(cell))};
  }

  const CELLS = {gru, lstm};
  const compiled = {gru: null, lstm: null};
  const stepOf = cell => compiled[cell] ??= Engine.compile(CELLS[cell]);
  const parts = cell => cell === "lstm" ? ["c", "h"] : ["h"];

  /** A carry as numbers, which one may keep and take apart. */
  const carry = (cell, f) => Object.fromEntries(parts(cell).map(name => [name, f(name)]));
  const arraysOf = own =>
    Object.fromEntries(Object.entries(own).map(([name, x]) => [name, Engine.array(x, [1, x.length])]));

  /** One step in numbers: parameters, carry {h} and input -> carry. */
  function step(cell, p, own, x) {
    const given = [arraysOf(own), Engine.array(x, [1, x.length])];
    const found = stepOf(cell)(p, ...given);
    given.forEach(Engine.free);
    return Object.fromEntries(Object.entries(found).map(([name, y]) => [name, Engine.numbers(y)]));
  }

  const joined = vectors => {
    const all = new Float32Array(vectors.reduce((sum, x) => sum + x.length, 0));
    let at = 0;
    for (const x of vectors) all.set(x, at), at += x.length;
    return all;
  };

  /** A layer of cells over vectors, forwards or both ways: {last: a carry, out: vectors}. */
  function readLayer(cell, ways, vectors) {
    const found = ways.map((p, way) => {
      const width = p.dense_h.kernel.shape[0], out = new Array(vectors.length);
      let own = carry(cell, () => new Float32Array(width));
      const order = vectors.map((_, n) => n);
      for (const n of way ? order.reverse() : order) {
        own = step(cell, p, own, vectors[n]);
        out[n] = own.h;
      }
      return {own, out};
    });
    return {
      last: carry(cell, name => joined(found.map(way => way.own[name]))),
      out: vectors.map((_, n) => joined(found.map(way => way.out[n]))),
    };
  }

  const sorted = tree => Object.keys(tree).sort((a, b) => a - b).map(name => tree[name]);

  /** All layers: {states: vectors, summary: the last carry of each layer}. */
  function read(cell, layers, vectors) {
    const summary = [];
    for (const layer of sorted(layers)) {
      const {last, out} = readLayer(cell, sorted(layer), vectors);
      summary.push(last);
      vectors = out;
    }
    return {states: vectors, summary};
  }

  let bridged = null;

  /** The decoder's first carries: tanh of a map of the encoder's last ones. */
  function first(own, bridge, memory) {
    bridged ??= Engine.compile((p, x) => o.tanh(linear(p, x)));
    const through = x => {
      const given = Engine.array(x, [1, x.length]), found = Engine.numbers(bridged(bridge, given));
      Engine.free(given);
      return found;
    };
    return Array.from({length: own.layers}, (_, n) => {
      const found = memory.summary ? memory.summary[n] : {h: memory.vector};
      return carry(own.cell, name => through(found[name] ?? found.h));
    });
  }

  /**
   * The next position of a decoder, to be compiled.
   *
   * carries: of each layer; fed [1 m]: the last attentional vector; x [1 m]; memory [s m].
   * Gives {carries, fed, states [1 m], cross: what attention found, or none}.
   */
  function decode(p, own, {carries, fed, x}, memory, {frame, edits}) {
    const cell = CELLS[own.cell];
    let input = own.feeds ? o.concatenate([x, fed], 1) : x;
    const next = carries.map((one, n) => {
      const found = cell(p.cells[n], one, input);
      input = found.h;
      return found;
    });
    const [cross, context] = look(p, own, input, memory, {frame, edits});
    const both = context ? o.concatenate([context, input], 1) : input;
    const states = o.tanh(linear(p.combine, both));
    return {carries: next, fed: own.feeds ? states : fed, states, cross};
  }

  /** What the decoder's attention finds, and the context [1 m] that it makes. */
  function look(p, own, hidden, memory, {frame, edits}) {
    if (!own.attention) return [[], null];
    if (own.heads > 1) {
      const {out, found} = Transformer.attention(p.attention, hidden, memory, own,
        {variant: own.attention, frame, edits});
      return [[found], out];
    }
    const k = o.expandDims(memory, 0);
    const given = {q: o.expandDims(hidden, 0), k, v: k};
    const {out, ...found} = Scores.attend(own.attention, p.learned ?? {}, given, frame, edits);
    return [[{...found, v: k}], o.reshape(out, [1, -1])];
  }

  return {read, first, decode, joined};
})();
