"use strict";
// The three models. Each reads a list and gives the logits of every next symbol. Parameters are a
// tree {name: array}, or {name: {…}} for the learned values of a score.
//   attention:   out_i = softmax_j(score(x_i W_q, m_j W_k)) m_j W_v
//   GRU:         r, z = sigmoid(x W + h U + b), n = tanh(x W + b + r (h U)), h' = n + z (h - n)
//   without attention the decoder has only the encoder's last state, one vector, to start from.
(() => {
  const {SYMBOLS, END} = Lab.lists;
  const o = Lab.ops;
  const WIDTH = 32, INNER = 64, LONGEST = 32;
  const NAMES = ["transformer", "gruAttention", "gru"];

  // ---- Parameters ---------------------------------------------------------------------------------

  function maker(score, random, width) {
    const made = {};
    const normal = (name, shape, scale = shape[0] ** -0.5) =>
      made[name] = Lab.array(random.normals(shape.reduce((a, b) => a * b), scale), shape);
    const same = (name, size, value) =>
      made[name] = Lab.array(new Float32Array(size).fill(value), [size]);
    function attention(name) {
      // Small queries and keys, so that an unscaled score starts far from 0 and 1 too.
      for (const part of ["q", "k"]) normal(`${name}.${part}`, [width, width], 0.5 * width ** -0.5);
      normal(`${name}.v`, [width, width]);
      // A tree without leaves is none to jax-js.
      if (score.learned.length) made[`${name}.score`] = Lab.score.startOf(score, width, random);
    }
    function cell(name) {
      normal(`${name}.x`, [width, 3 * width]);
      normal(`${name}.h`, [width, 3 * width]);
      same(`${name}.b`, 3 * width, 0);
    }
    function inner(name) {
      normal(`${name}.in`, [width, INNER]);
      same(`${name}.b`, INNER, 0);
      normal(`${name}.out`, [INNER, width]);
    }
    normal("symbols", [SYMBOLS, width], 1);
    normal("logits", [width, SYMBOLS]);
    return {made, normal, same, attention, cell, inner};
  }

  /** Fresh parameters of a model. */
  function start(name, score, random, width = WIDTH) {
    const {made, normal, same, attention, cell, inner} = maker(score, random, width);
    if (name === "transformer") {
      for (const place of ["read", "write"]) normal(`${place}.places`, [LONGEST, width], 1);
      for (const place of ["read.self", "write.self", "write.cross"]) {
        attention(place);
        normal(`${place}.out`, [width, width]);
      }
      for (const place of ["read.inner", "write.inner"]) inner(place);
      for (const place of GAINS) same(`${place}.gain`, width, 1);
    } else {
      for (const place of ["read", "write"]) cell(place);
      if (name === "gruAttention") attention("write.cross");
      normal("mix", [name === "gruAttention" ? 2 * width : width, width]);
    }
    return made;
  }

  // ---- Parts --------------------------------------------------------------------------------------

  /** The score mapped over all pairs of a batch: [b t d], [b s d] -> [b t s]. */
  function scores(score, q, k, learned = {}) {
    const one = (a, b) => Lab.score.value(score.tree, a, b, learned);
    const pairs = jaxjs.vmap(jaxjs.vmap(one, [null, 0]), [0, null]);
    return jaxjs.vmap(pairs, [0, 0])(Lab.keep(q), Lab.keep(k));
  }

  /** Output and weights [b t s]; `hidden` is added to the logits: 0, or -1e9 where none may look. */
  function attend(score, p, name, x, memory, hidden) {
    const [q, k, v] = [[x, "q"], [memory, "k"], [memory, "v"]]
      .map(([of, part]) => o.matmul(of, p[`${name}.${part}`]));
    const weights = o.softmax(o.add(scores(score, q, k, p[`${name}.score`]), hidden), -1);
    return {out: o.matmul(weights, v), weights};
  }

  function normalized(p, name, x) {
    const apart = o.subtract(x, o.mean(x, -1, {keepdims: true}));
    const spread = o.sqrt(o.add(o.mean(o.square(apart), -1, {keepdims: true}), 1e-5));
    return o.multiply(o.divide(apart, spread), p[`${name}.gain`]);
  }

  const inner = (p, name, x) =>
    o.matmul(o.relu(o.add(o.matmul(x, p[`${name}.in`]), p[`${name}.b`])), p[`${name}.out`]);

  /** All states [b t d] of a cell that reads x [b t d] from the state h [b d]. */
  function states(p, name, x, h) {
    const width = h.shape[1], all = [];
    const given = o.split(o.add(o.matmul(x, p[`${name}.x`]), p[`${name}.b`]), x.shape[1], 1);
    for (const piece of given) {
      const [xr, xz, xn] = o.split(o.reshape(piece, [-1, 3 * width]), 3, 1);
      const [hr, hz, hn] = o.split(o.matmul(h, p[`${name}.h`]), 3, 1);
      const n = o.tanh(o.add(xn, o.multiply(o.sigmoid(o.add(xr, hr)), hn)));
      h = o.add(n, o.multiply(o.sigmoid(o.add(xz, hz)), o.subtract(h, n)));
      all.push(h);
    }
    return o.stack(all, 1);
  }

  // ---- Models: (score, p, batch) -> {logits [b t symbols], weights [b t s] or none} -----------------

  const GAINS = ["read.self", "read.inner", "read.end",
    "write.self", "write.cross", "write.inner", "write.end"];
  const FAR = -1e9;

  /** 0 where the source may be seen, [b 1 s]. */
  function hiding(visible) {
    const [b, s] = visible.shape;
    return o.reshape(o.multiply(o.subtract(1, visible), FAR), [b, 1, s]);
  }

  function transformer(score, p, {source, input, visible}) {
    const places = source.shape[1];
    const hidden = hiding(visible);
    const later = Lab.array(Float32Array.from({length: places ** 2},
      (_, at) => at % places > Math.floor(at / places) ? FAR : 0), [places, places]);
    const embedded = (x, name) =>
      o.add(o.matmul(x, p.symbols), Lab.keep(p[`${name}.places`]).slice([0, places]));
    function looked(x, name, memory, mask) {
      const normal = normalized(p, name, x);
      const {out, weights} = attend(score, p, name, normal, memory ?? normal, mask);
      return {x: o.add(x, o.matmul(out, p[`${name}.out`])), weights};
    }
    const thought = (x, name) => o.add(x, inner(p, name, normalized(p, name, x)));
    let x = looked(embedded(source, "read"), "read.self", null, hidden).x;
    const memory = normalized(p, "read.end", thought(x, "read.inner"));
    x = looked(embedded(input, "write"), "write.self", null, later).x;
    const cross = looked(x, "write.cross", memory, hidden);
    x = normalized(p, "write.end", thought(cross.x, "write.inner"));
    return {logits: o.matmul(x, p.logits), weights: cross.weights};
  }

  function recurrent(score, p, {source, input, visible}) {
    const [b, s] = visible.shape, width = p.symbols.shape[1];
    const read = states(p, "read", o.matmul(source, p.symbols), o.zeros([b, width]));
    // The state after the end of the list, which stands at the last visible place.
    const isEnd = o.multiply(Lab.keep(source).slice([], [], END), visible);
    const last = o.sum(o.multiply(read, o.reshape(isEnd, [b, s, 1])), 1);
    let x = states(p, "write", o.matmul(input, p.symbols), last);
    let weights;
    if (p["write.cross.q"]) {
      const found = attend(score, p, "write.cross", x, read, hiding(visible));
      weights = found.weights;
      x = o.concatenate([x, found.out], -1);
    }
    return {logits: o.matmul(o.tanh(o.matmul(x, p.mix)), p.logits), weights};
  }

  const run = (name, score, p, batch) =>
    (name === "transformer" ? transformer : recurrent)(score, p, batch);

  Lab.models = {NAMES, WIDTH, LONGEST, start, run};
})();
