"use strict";
// A trained Vision Transformer from its description (`describe_vision.py`): one picture, class by class.
// A picture is numbers from 0 to 1, [y x c] in a row.
class Vision extends Network {
  constructor(description) {
    super(description);
    this.reads = Engine.compile((...given) => this.forward(...given));
  }

  take(weights) {
    super.take(weights);
    this.places = this.placesOf();
  }

  /** What is added to the patches by their row and column, [n m]. */
  placesOf() {
    const {image: {rows, columns}, width, positions} = this.own, half = width / 2;
    const out = new Float32Array(rows * columns * width);
    const learned = ["rows", "columns"].map(name => this.values.get(name));
    for (let n = 0; n < rows * columns; n++) {
      [Math.floor(n / columns), n % columns].forEach((at, axis) => {
        const own = out.subarray(n * width + axis * half, n * width + (axis + 1) * half);
        if (positions) addSinusoids(own, 0, half, {...positions, offset: positions.offset + at});
        if (learned[axis]) own.set(learned[axis].subarray(at * half, (at + 1) * half));
      });
    }
    return out;
  }

  /** Positions before the patches: the class token, and registers. */
  get first() {
    return this.own.tokens;
  }

  get count() {
    return this.own.image.rows * this.own.image.columns;
  }

  /** Pixels as the model reads them. */
  scaled(pixels) {
    const {image: {channels}, pixels: {mean, deviation}} = this.own;
    return pixels.map((x, n) => {
      const c = n % channels % mean.length;
      return (x - mean[c]) / deviation[c];
    });
  }

  /** The input of the stem's linear map, [n pixels]: patches, or what convolutions make of them. */
  patches(pixels) {
    const {image, stem} = this.own;
    if (stem === "linear") return Patches.cut(pixels, image);
    const parts = name => Object.keys(this.tree.embed[name]).sort((a, b) => a - b).map(n =>
      Object.fromEntries(Object.keys(this.tree.embed[name][n]).map(part =>
        [part, this.values.get(`embed/${name}/${n}/${part}`)])));
    return Patches.convolved(pixels, image, parts("convolutions"), parts("norms"), this.own.epsilon);
  }

  /** Logits of the classes, and what attention found, from x [n pixels]. */
  forward(p, x, given) {
    const {own, layers, norm, tokens, stem} = this.own, o = Engine.ops;
    const {frame, edits, places} = this.withFrames(given);
    let inside = o.add(Transformer.linear(stem === "linear" ? p.embed : p.embed.out, x), places);
    const before = [p.token && o.expandDims(p.token, 0), p.registers].filter(Boolean);
    if (tokens) inside = o.concatenate([...before, inside], 0);
    if (this.own.embedding_norm) inside = Transformer.norm(p.embedding_norm, inside, own);
    const {states, encoder} = Transformer.encode(this.under(p, layers), this.under(p, norm), inside,
      own, {frame, edits: edits.encoder, real: given.real});
    const [pooled, cross] = this.pooled(p, states, given, edits);
    return {logits: o.reshape(Transformer.linear(p.head, pooled), [-1]), encoder, cross};
  }

  /** The vector [1 m] that the answer is read from, and what a pooling attention found. */
  pooled(p, states, given, edits) {
    const {pooling, own} = this.own, o = Engine.ops;
    if (pooling.kind !== "attention") return [o.matmul(given.reads, states), []];
    const {frame} = this.withFrames({frame: given.poolFrame});
    const {out, found} = Transformer.attention(p.pool.attention, o.expandDims(p.pool.query, 0), states,
      {...own, kv_heads: own.heads}, {variant: pooling.attention, frame, edits: edits.cross[0]});
    return [out, [found]];
  }

  /** The share of each position in what is pooled, [1 t], where no attention pools. */
  shares(t) {
    const {pooling: {kind}, tokens} = this.own;
    return Float32Array.from({length: t}, (_, j) => kind === "token" ? Number(j === 0)
      : j < tokens ? 0 : 1 / (t - tokens));
  }

  /** What the model makes of a picture: {logits, probabilities, encoder, cross}. */
  classify(pixels, edits = null) {
    const {own, tokens, pooling} = this.own, t = tokens + this.count, x = this.patches(this.scaled(pixels));
    const self = this.editsOf("encoder", own.attention.length, own.heads, t, t, edits);
    const cross = this.editsOf("cross", 1, own.heads, 1, t, edits);
    const given = {
      x: Engine.array(x, [this.count, x.length / this.count]),
      more: {
        frame: frameOf(t, t, () => true), poolFrame: frameOf(1, t, (i, j) => j >= tokens),
        real: Engine.array(new Float32Array(t).fill(1), [t, 1]),
        reads: Engine.array(this.shares(t), [1, t]),
        places: Engine.array(this.places, [this.count, this.own.width]),
        edits: {encoder: self.edits, cross: cross.edits},
      },
    };
    const found = this.reads(this.tree, given.x, given.more);
    if (self.isKept) delete given.more.edits.encoder;
    if (cross.isKept) delete given.more.edits.cross;
    Engine.free(given);
    const logits = Engine.numbers(found.logits);
    return {logits, probabilities: Patches.softmax(logits), encoder: found.encoder.map(numbersOf),
      cross: pooling.kind === "attention" ? found.cross.map(numbersOf) : []};
  }
}

// ---- Pictures in plain numbers ---------------------------------------------------------------------
const Patches = (() => {
  /** Square patches, row by row; their pixels row by row, channels last. */
  function cut(pixels, {rows, columns, patch, channels}) {
    const size = patch * patch * channels, across = columns * patch;
    return Float32Array.from({length: rows * columns * size}, (_, n) => {
      const at = Math.floor(n / size), inside = n % size, c = inside % channels;
      const y = Math.floor(at / columns) * patch + Math.floor(inside / channels / patch);
      const x = at % columns * patch + Math.floor(inside / channels) % patch;
      return pixels[(y * across + x) * channels + c];
    });
  }

  /** The picture in which the patches of a set show the mean color of the whole, as occlusion does. */
  function covered(pixels, hidden, {rows, columns, patch, channels}) {
    const across = columns * patch, mean = new Array(channels).fill(0);
    pixels.forEach((x, n) => { mean[n % channels] += x * channels / pixels.length; });
    return pixels.map((value, n) => {
      const at = Math.floor(n / channels), y = Math.floor(at / across), x = at % across;
      const index = Math.floor(y / patch) * columns + Math.floor(x / patch);
      return hidden.has(index) && y < rows * patch ? mean[n % channels] : value;
    });
  }

  /** A convolution of 3 x 3 and stride 2 with a border of zeros, [y x c] of `size` -> [y/2 x/2 k]. */
  function halved(values, [height, width], {kernel, bias}) {
    const outside = bias.length, inside = kernel.length / 9 / outside;
    const [rows, columns] = [Math.ceil(height / 2), Math.ceil(width / 2)];
    const out = new Float32Array(rows * columns * outside);
    for (let n = 0; n < rows * columns; n++) {
      const own = out.subarray(n * outside, (n + 1) * outside);
      own.set(bias);
      for (let tap = 0; tap < 9; tap++) {
        const y = 2 * Math.floor(n / columns) + Math.floor(tap / 3) - 1;
        const x = 2 * (n % columns) + tap % 3 - 1;
        if (y < 0 || x < 0 || y >= height || x >= width) continue;
        for (let c = 0; c < inside; c++) {
          const value = values[(y * width + x) * inside + c], from = (tap * inside + c) * outside;
          for (let k = 0; k < outside; k++) own[k] += value * kernel[from + k];
        }
      }
    }
    return out;
  }

  /** relu of the layer norm of each row of channels, in place. */
  function normed(values, {scale, bias}, epsilon) {
    const size = scale.length;
    for (let at = 0; at < values.length; at += size) {
      const own = values.subarray(at, at + size), mean = own.reduce((a, b) => a + b, 0) / size;
      const spread = own.reduce((sum, x) => sum + (x - mean) ** 2, 0) / size;
      own.forEach((x, c) => {
        own[c] = Math.max((x - mean) / Math.sqrt(spread + epsilon) * scale[c] + (bias?.[c] ?? 0), 0);
      });
    }
    return values;
  }

  /** Convolutions that halve the picture until each patch is one vector. */
  function convolved(pixels, {rows, columns, patch}, convolutions, norms, epsilon) {
    let values = pixels, size = [rows * patch, columns * patch];
    convolutions.forEach((own, n) => {
      values = normed(halved(values, size, own), norms[n], epsilon);
      size = size.map(length => Math.ceil(length / 2));
    });
    return values;
  }

  function softmax(logits) {
    const most = Math.max(...logits), powers = Float64Array.from(logits, x => Math.exp(x - most));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map(x => x / sum);
  }

  return {cut, covered, convolved, softmax};
})();
