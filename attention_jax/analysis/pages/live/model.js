"use strict";
// A trained translator from its description (`describe.py`): what reads and writes one sentence.
// Lengths are padded, so that few programs are compiled.
const PAD = 0, BOS = 1, EOS = 2, UNKNOWN = 3;

const MOST_TOKENS = 64;  // of a sentence: more take too long to wait for while typing

const padded = length => [16, 32, 64, 128, 256].find(size => length <= size) ?? length;

class Model extends Network {
  constructor(description) {
    super(description);
    this.reads = Engine.compile((p, x, given) => Transformer.encode(
      this.under(p, this.own.encoder.layers), this.under(p, this.own.encoder.norm),
      this.entered(p, x, this.own.encoder), this.own.encoder.own, this.withFrames(given)));
    this.readsAbove = Engine.compile((p, x, given) => {
      const {layers, norm, own} = this.own.encoder.above;
      return Transformer.encode(this.under(p, layers), this.under(p, norm), x, own,
        this.withFrames(given));
    });
    const writes = this.own.decoder.kind === "rnn" ? "recur" : "write";
    this.writes = {
      brief: Engine.compile((...given) => brief(this[writes](...given))),
      whole: Engine.compile((...given) => this[writes](...given)),
    };
  }

  take(weights) {
    super.take(weights);
    const {embedding, encoder, decoder} = this.own;
    this.table = this.values.get(embedding.table);
    this.sourcePlaces = this.values.get(encoder.learned);
    this.targetPlaces = this.values.get(decoder.learned);
  }

  /** How many positions there are vectors of, where they are learned. */
  get places() {
    return Math.min(...[this.sourcePlaces, this.targetPlaces].filter(Boolean)
      .map(values => values.length / this.own.embedding.width), Infinity);
  }

  /** How many tokens a sentence may have that is read, EOS included. */
  get most() {
    return Math.min(MOST_TOKENS, this.places);
  }

  // ---- Vectors of tokens -------------------------------------------------------------------------

  /** Vectors [length m] of ids, with the positions of a side; zeros where there is no id. */
  vectors(ids, side, length) {
    const {width, scale} = this.own.embedding, places = this.own[side].positions;
    const learned = side === "encoder" ? this.sourcePlaces : this.targetPlaces;
    const out = new Float32Array(length * width);
    ids.forEach((id, i) => {
      for (let c = 0; c < width; c++) out[i * width + c] = this.table[id * width + c] * scale;
      if (places) addSinusoids(out, i, width, places);
      if (learned) for (let c = 0; c < width; c++) {
        out[i * width + c] += learned[i * width + c] * this.own[side].learned_scale;
      }
    });
    return out;
  }

  entered(p, x, side) {
    return side.embedding_norm
      ? Transformer.norm(this.under(p, side.embedding_norm), x, side.own) : x;
  }

  // ---- Reading -----------------------------------------------------------------------------------

  /** Reads ids without EOS: a memory, which `free` lets go. */
  encode(ids, edits = null) {
    const source = [...ids, EOS], {encoder} = this.own, length = padded(source.length);
    const memory = {source, length, states: null, summary: null, encoder: [], seen: new Map(),
      edits};
    if (encoder.kind === "rnn") this.readCells(memory);
    else this.readLayers(this.reads, memory, this.vectors(source, "encoder", length), encoder.own);
    memory.vector = this.vectorOf(memory);
    memory.array = Engine.array(memory.states, [length, this.own.embedding.width]);
    memory.free = () => Engine.free(memory.array);
    return memory;
  }

  readCells(memory) {
    const {encoder} = this.own, {width} = this.own.embedding;
    const x = this.vectors(memory.source, "encoder", memory.source.length);
    const rows = memory.source.map((_, i) => x.subarray(i * width, (i + 1) * width));
    const {states, summary} = Recurrent.read(encoder.cell, this.under(this.tree, encoder.cells), rows);
    memory.summary = summary;
    memory.states = new Float32Array(memory.length * width);
    memory.states.set(Recurrent.joined(states));
    if (encoder.above) this.readLayers(this.readsAbove, memory, memory.states, encoder.above.own);
  }

  readLayers(compiled, memory, x, own) {
    const s = memory.length, layers = own.attention.length;
    const {edits, isKept} = this.editsOf("encoder", layers, own.heads, s, s, memory.edits);
    const given = {x: Engine.array(x, [s, this.own.embedding.width]), more: {
      frame: frameOf(s, s, (i, j) => j < memory.source.length),
      real: Engine.array(Float32Array.from({length: s}, (_, j) => j < memory.source.length ? 1 : 0),
        [s, 1]),
      edits}};
    const found = compiled(this.tree, given.x, given.more);
    if (isKept) delete given.more.edits;
    Engine.free(given);
    memory.states = Engine.numbers(found.states);
    memory.encoder = found.encoder.map(numbersOf);
  }

  /** The source as one vector: the last state of the last cells, or the mean of all. */
  vectorOf({summary, states, source}) {
    if (summary) return summary[summary.length - 1].h;
    const {width} = this.own.embedding;
    return Float32Array.from({length: width}, (_, c) =>
      source.reduce((sum, _, i) => sum + states[i * width + c], 0) / source.length);
  }

  // ---- Writing -----------------------------------------------------------------------------------

  /**
   * Logits of the token after a prefix of ids, which begins with BOS, and what attention found in
   * writing all of it: {logits, decoder, cross}.
   *
   * whole: queries, keys, values and scores too; wants: of the logits, whether the maps are read.
   */
  next(memory, prefix, {whole = false, wants = () => true} = {}) {
    return this.own.decoder.kind === "rnn" ? this.nextOfCells(memory, prefix, whole, wants)
      : this.nextOfLayers(memory, prefix, whole, wants);
  }

  unembed(p, states) {
    const {output} = this.own, o = Engine.ops;
    const row = o.reshape(states, [-1]);
    let logits = output.tied ? o.dot(this.under(p, this.own.embedding.table), row)
      : o.dot(row, p.output.kernel);
    if (output.cap) logits = o.multiply(o.tanh(o.divide(logits, output.cap)), output.cap);
    return p.output_bias ? o.add(logits, p.output_bias) : logits;
  }

  write(p, x, memory, given) {
    const {decoder} = this.own, more = this.withFrames(given), o = Engine.ops;
    let inside = this.entered(p, x, decoder);
    if (decoder.bridge) {
      inside = o.add(inside, Transformer.linear(p.bridge, given.vector));
    }
    const found = Transformer.decode(this.under(p, decoder.layers), this.under(p, decoder.norm),
      inside, memory, decoder.own, more);
    return {logits: this.unembed(p, o.matmul(given.at, found.states)),
      decoder: found.decoder, cross: found.cross};
  }

  nextOfLayers(memory, prefix, whole, wants) {
    const {own} = this.own.decoder, t = padded(prefix.length), s = memory.length;
    const width = this.own.embedding.width, count = own.attention.length;
    const self = this.editsOf("decoder", count, own.heads, t, t, memory.edits);
    const cross = this.editsOf("cross", count, own.heads, t, s, memory.edits);
    const given = {
      x: Engine.array(this.vectors(prefix, "decoder", t), [t, width]),
      more: {
        frame: frameOf(t, t, (i, j) => j <= i),
        crossFrame: frameOf(t, s, (i, j) => j < memory.source.length),
        real: Engine.array(new Float32Array(t).fill(1), [t, 1]),
        at: Engine.array(Float32Array.from({length: t}, (_, i) => i === prefix.length - 1 ? 1 : 0),
          [1, t]),
        vector: Engine.array(memory.vector, [1, width]),
        edits: {decoder: self.edits, cross: cross.edits},
      },
    };
    const found = this.writes[whole ? "whole" : "brief"](this.tree, given.x, memory.array, given.more);
    if (self.isKept) delete given.more.edits.decoder;
    if (cross.isKept) delete given.more.edits.cross;
    Engine.free(given);
    const logits = Engine.numbers(found.logits);
    if (wants(logits)) return {logits, decoder: found.decoder.map(numbersOf),
      cross: found.cross.map(numbersOf)};
    Engine.free([found.decoder, found.cross]);
    return {logits, decoder: [], cross: []};
  }

  recur(p, moving, memory, given) {
    const {frame, edits} = this.withFrames(given);
    const found = Recurrent.decode(p, this.own.decoder, moving, memory, {frame, edits: edits?.[0]});
    return {logits: this.unembed(p, found.states), carries: found.carries, fed: found.fed,
      decoder: [], cross: found.cross};
  }

  nextOfCells(memory, prefix, whole, wants) {
    const name = prefix.join(), before = prefix.slice(0, -1), {width} = this.own.embedding;
    const depth = whole ? "whole" : "brief", kept = memory.seen.get(name);
    if (kept && (kept.depth === "whole" || !whole)) {
      wants(kept.found.logits);
      return kept.found;
    }
    const state = prefix.length > 1 ? (this.nextOfCells(memory, before, whole, () => false),
      memory.seen.get(before.join()).state) : this.firstState(memory);
    const s = memory.length, {decoder} = this.own;
    // A row of the map at a time: pins of other rows are not of this one.
    const row = prefix.length - 1, edits = memory.edits && {...memory.edits, pins: (
      memory.edits.pins ?? []).filter(pin => pin.row === row).map(pin => ({...pin, row: 0}))};
    const own = this.editsOf("cross", 1, decoder.heads, 1, s, edits);
    const given = {
      moving: {carries: state.carries.map(one => Object.fromEntries(Object.entries(one).map(
        ([part, x]) => [part, Engine.array(x, [1, x.length])]))),
      fed: Engine.array(state.fed, [1, width]),
      x: Engine.array(this.vectors(prefix.slice(-1), "decoder", 1), [1, width])},
      more: {frame: frameOf(1, s, (i, j) => j < memory.source.length), edits: own.edits},
    };
    const found = this.writes[depth](this.tree, given.moving, memory.array, given.more);
    if (own.isKept) delete given.more.edits;
    Engine.free(given);
    const next = {carries: found.carries.map(one => Object.fromEntries(
      Object.entries(one).map(([part, x]) => [part, Engine.numbers(x)]))),
    fed: Engine.numbers(found.fed)};
    const rows = [...(memory.seen.get(before.join())?.rows ?? []), found.cross.map(numbersOf)];
    const cross = decoder.attention ? [stackedRows(rows.map(one => one[0]))] : [];
    const result = {logits: Engine.numbers(found.logits), decoder: [], cross};
    memory.seen.set(name, {state: next, rows, found: result, depth});
    wants(result.logits);
    return result;
  }

  firstState(memory) {
    const {decoder} = this.own, {width} = this.own.embedding;
    return {carries: Recurrent.first(decoder, this.tree.bridge, memory),
      fed: new Float32Array(width)};
  }
}

/** The weights alone of what attention found. */
function brief(found) {
  const own = list => list.map(({weights}) => ({weights}));
  return {...found, decoder: own(found.decoder), cross: own(found.cross)};
}

/** Rows [h 1 s] of one position after another as one [h t s]; keys and values are those of all. */
function stackedRows(rows) {
  // Rows before may hold more, where they were stepped through.
  return Object.fromEntries(Object.keys(rows.at(-1)).map(name => {
    if (name === "k" || name === "v") return [name, rows[0][name]];
    const [h, , s] = rows[0][name].shape, t = rows.length, data = new Float32Array(h * t * s);
    rows.forEach((row, i) => {
      for (let head = 0; head < h; head++) {
        data.set(row[name].data.subarray(head * s, (head + 1) * s), (head * t + i) * s);
      }
    });
    return [name, {shape: [h, t, s], data}];
  }));
}
