"use strict";
// What every model of the page has: parameters from its description, edits, and frames of attention.

/** Float16 numbers, as base64 of little-endian bytes. */
function halves(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const codes = new Uint16Array(bytes.buffer), out = new Float32Array(codes.length);
  for (let n = 0; n < codes.length; n++) {
    const code = codes[n], sign = code & 0x8000 ? -1 : 1;
    const exponent = code >> 10 & 31, fraction = code & 1023;
    out[n] = sign * (exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity)
        : (1 + fraction / 1024) * 2 ** (exponent - 15));
  }
  return out;
}

class Network {
  constructor(description) {
    this.own = description;
    this.neutral = new Map();
    this.take(description.weights);
  }

  /** Takes the numbers of all parameters, in the order of the description: a tree, and by path. */
  take(weights) {
    const all = halves(weights);
    this.tree = {};
    this.values = new Map();
    let at = 0;
    for (const [path, shape] of this.own.shapes) {
      const size = shape.reduce((a, b) => a * b, 1);
      this.values.set(path, all.subarray(at, at + size));
      this.put(path, Engine.array(this.values.get(path), shape));
      at += size;
    }
  }

  /** The same model with other numbers: what is compiled is shared. */
  with(weights) {
    const other = Object.create(this);
    other.take(weights);
    return other;
  }

  put(path, array) {
    const names = path.split("/"), last = names.pop();
    let node = this.tree;
    for (const name of names) node = node[name] ??= {};
    node[last] = array;
  }

  under(p, path) {
    return path ? path.split("/").reduce((node, name) => node?.[name], p) : undefined;
  }

  free() {
    Engine.free(this.tree);
    for (const own of this.neutral.values()) Engine.free(own);
  }

  /** Edits of all layers of a place as arrays; `given` is null, or {off, sharpness, pins}. */
  editsOf(place, layers, heads, t, s, given) {
    const own = given && {
      sharpness: given.sharpness ?? 1,
      off: (given.off ?? []).filter(x => x.place === place),
      pins: (given.pins ?? []).filter(x => x.place === place),
    };
    const isPlain = !own || (own.sharpness === 1 && !own.off.length && !own.pins.length);
    const name = [place, layers, heads, t, s].join();
    if (isPlain && this.neutral.has(name)) return {edits: this.neutral.get(name), isKept: true};
    const edits = Array.from({length: layers}, (_, layer) => {
      const gate = new Float32Array(heads).fill(1);
      const is = new Float32Array(heads * t * s), value = new Float32Array(heads * t * s);
      if (!isPlain) {
        for (const x of own.off) if (x.layer === layer) gate[x.head] = 0;
        for (const x of own.pins) {
          if (x.layer !== layer || x.row >= t || x.column >= s) continue;
          const at = (x.head * t + x.row) * s + x.column;
          [is[at], value[at]] = [1, x.weight];
        }
      }
      return {gate: Engine.array(gate), sharpness: Engine.array([isPlain ? 1 : own.sharpness], []),
        is: Engine.array(is, [heads, t, s]), value: Engine.array(value, [heads, t, s])};
    });
    if (isPlain) this.neutral.set(name, edits);
    return {edits, isKept: isPlain};
  }

  /** Frames as functions that are traced have them: numbers above 0 are true. */
  withFrames(given) {
    const framed = frame => frame && {
      visible: Engine.ops.greater(frame.visible, 0), apart: frame.apart};
    return {...given, frame: framed(given.frame), crossFrame: framed(given.crossFrame)};
  }
}

/** Arrays [h t s] or [h t d] as numbers with their shapes; they are let go. */
const numbersOf = found => Object.fromEntries(Object.entries(found).map(([name, x]) => {
  const shape = [...x.shape];
  return [name, {shape, data: Engine.numbers(x)}];
}));

/** Which of t x s pairs may be seen, and how far apart they are, as numbers. */
function frameOf(t, s, sees) {
  const numbers = f => Engine.array(Float32Array.from({length: t * s}, (_, n) =>
    f(Math.floor(n / s), n % s)), [t, s]);
  return {visible: numbers((i, j) => sees(i, j) ? 1 : 0), apart: numbers((i, j) => Math.abs(i - j))};
}

function addSinusoids(out, i, width, {rates, layout, offset}) {
  const pairs = rates.length;
  rates.forEach((rate, c) => {
    const angle = (i + offset) * rate;
    const [sin, cos] = layout === "pairs" ? [2 * c, 2 * c + 1] : [c, pairs + c];
    out[i * width + sin] += Math.sin(angle);
    out[i * width + cos] += Math.cos(angle);
  });
}
