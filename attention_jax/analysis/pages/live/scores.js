"use strict";
// Attention by its equation. A score is a function of ONE query and ONE key; `Engine.pairs` maps it
// over all pairs, as the library does in JAX. A variant is what it does beside that:
//   score: (learned, options) -> (q, k) => a number
//   turn: options -> rotation of queries and keys by their positions
//   modify: (logits [h t s], learned, options, distance [t s]) -> logits
//   sees: (options, distance) -> [t s], which pairs may be seen; beside the caller's mask
//   normalize: (logits, visible, learned, options) -> weights
// Only the variants of this file are computed in the page; LIVE names them.
const Scores = (() => {
  const o = Engine.ops;
  const FAR = -1e30;  // a logit whose exponential is 0

  // ---- Scores of one pair -----------------------------------------------------------------------

  const dot = (q, k) => o.dot(q, k);
  const scaledDot = (q, k) => o.dot(o.multiply(q, q.shape[0] ** -0.5), k);

  function unit(x) {
    const square = o.dot(x, x), is = o.greater(square, 0);
    return o.where(is, o.divide(x, o.sqrt(o.where(is, square, 1))), 0);
  }

  const cosine = temperature => (q, k) => o.divide(o.dot(unit(q), unit(k)), temperature);
  // A sum of products, for jax-js 0.1.25 mistakes the axes of a dot product of a dot product.
  const general = w => (q, k) => o.sum(o.multiply(o.dot(o.transpose(w), q), k));
  const additive = ({w_q, w_k, w}) => (q, k) =>
    o.dot(w, o.tanh(o.add(o.dot(w_q, q), o.dot(w_k, k))));

  function concat({w, v}) {
    const [ofQuery, ofKey] = o.split(w, 2, 1);
    return additive({w_q: ofQuery, w_k: ofKey, w: v});
  }

  const distance = width => (q, k) => {
    const apart = o.subtract(q, k);
    return o.multiply(o.dot(apart, apart), width === null ? -(q.shape[0] ** -0.5) : -0.5 / width ** 2);
  };

  const capped = cap => (q, k) => o.multiply(o.tanh(o.divide(scaledDot(q, k), cap)), cap);

  // ---- Weights of logits [h t s], where `visible` [t s] ------------------------------------------

  const last = (f, x) => f(x, -1, {keepdims: true});
  const shown = (logits, visible) => o.where(visible, logits, FAR);

  /** exp(x_j) / sum_k exp(x_k); `sink` [h] is one more logit, whose share goes to no key. */
  function softmax(logits, visible, sink) {
    logits = shown(logits, visible);
    let shift = last(o.max, logits);
    const escape = sink && o.reshape(sink, [-1, 1, 1]);
    if (sink) shift = o.maximum(shift, escape);
    const powers = o.where(visible, o.exp(o.subtract(logits, shift)), 0);
    let total = last(o.sum, powers);
    if (sink) total = o.add(total, o.exp(o.subtract(escape, shift)));
    return o.divide(powers, o.where(o.greater(total, 0), total, 1));
  }

  /** For each logit z_j, of those at least as large: how many, and the sum of `f` of them. */
  function above(z, f) {
    const other = o.expandDims(z, -2), own = o.expandDims(z, -1);
    return o.sum(o.where(o.greaterEqual(other, own), f(other), 0), -1);
  }

  /** A softmax over the k largest logits; those that equal the k-th all stay. */
  function topK(logits, visible, k) {
    logits = shown(logits, visible);
    const other = o.expandDims(logits, -2), own = o.expandDims(logits, -1);
    const larger = o.sum(o.where(o.greater(other, own), 1, 0), -1);
    return softmax(logits, o.logicalAnd(o.less(larger, k), visible));
  }

  /** The nearest point of the simplex: z_j minus a threshold, where that is above 0. */
  function sparsemax(logits, visible) {
    const z = o.maximum(o.subtract(shown(logits, visible), last(o.max, shown(logits, visible))), -4);
    const one = () => 1;
    const isIn = o.logicalAnd(
      o.greater(o.add(o.multiply(above(z, one), z), 1), above(z, x => x)), visible);
    const count = last(o.sum, o.where(isIn, 1, 0));
    const threshold = o.divide(
      o.subtract(last(o.sum, o.where(isIn, z, 0)), 1), o.maximum(count, 1));
    return o.where(isIn, o.maximum(o.subtract(z, threshold), 0), 0);
  }

  /** Between softmax and sparsemax: the square of half the logit minus a threshold. */
  function entmax15(logits, visible) {
    const seen = shown(logits, visible);
    const z = o.maximum(o.divide(o.subtract(seen, last(o.max, seen)), 2), -2);
    const count = above(z, () => 1), mean = o.divide(above(z, x => x), count);
    const spread = o.subtract(above(z, x => o.square(x)), o.multiply(count, o.square(mean)));
    const height = o.subtract(mean, o.sqrt(o.maximum(o.divide(o.subtract(1, spread), count), 0)));
    const threshold = last(o.max, o.where(o.greaterEqual(z, height), height, FAR));
    return o.where(visible, o.square(o.maximum(o.subtract(z, threshold), 0)), 0);
  }

  const counted = visible => o.maximum(last(o.sum, o.where(visible, 1, 0)), 1);
  const rectified = (logits, visible) =>
    o.divide(o.where(visible, o.maximum(logits, 0), 0), counted(visible));

  function sigmoids(logits, visible, bias) {
    const raised = bias === null ? o.subtract(logits, o.log(counted(visible))) : o.add(logits, bias);
    return o.where(visible, o.sigmoid(raised), 0);
  }

  // ---- Positions ---------------------------------------------------------------------------------

  /** Slopes of ALiBi, one a head; other numbers than powers of two are filled as the paper's code. */
  function slopes(heads) {
    const power = 2 ** Math.floor(Math.log2(heads));
    const own = Array.from({length: power}, (_, h) => 2 ** (-8 * (h + 1) / power));
    const between = Array.from({length: power}, (_, h) => 2 ** (-4 * (2 * h + 1) / power));
    return [...own, ...between.slice(0, heads - power)];
  }

  const perHead = (x, heads) => o.reshape(x, [heads, 1, 1]);
  const lowered = (logits, learned, options, apart) => o.subtract(logits,
    o.multiply(perHead(Engine.array(slopes(logits.shape[0])), logits.shape[0]), apart));

  /** Angles [t c] of positions, by the rate of each pair of channels. */
  function angles(length, rates, place) {
    return Engine.array(Float32Array.from({length: length * rates.length}, (_, n) =>
      place(Math.floor(n / rates.length)) * rates[n % rates.length]), [length, rates.length]);
  }

  /**
   * Turns pairs of channels of x [h t d] by their positions; `size` multiplies what is turned. On a
   * `grid` {columns, first} half of the channels turn by the row, the others by the column.
   */
  function turned(x, turn) {
    if (!turn.grid) return turnedBy(x, turn, i => i);
    const {columns, first} = turn.grid, [down, across] = o.split(x, 2, 2);
    const place = i => Math.max(i - first, 0);
    return o.concatenate([turnedBy(down, turn, i => Math.floor(place(i) / columns)),
      turnedBy(across, turn, i => place(i) % columns)], 2);
  }

  function turnedBy(x, {rates, layout, size = 1}, place) {
    const [h, t, d] = x.shape, width = 2 * rates.length;
    const angle = angles(t, rates, place);
    const sin = o.multiply(o.sin(angle), size), cos = o.multiply(o.cos(angle), size);
    const parts = width === d ? [x] : o.split(x, [width], 2);
    const pairs = layout === "pairs"
      ? o.split(o.reshape(parts[0], [h, t, width / 2, 2]), 2, 3)
        .map(half => o.reshape(half, [h, t, width / 2]))
      : o.split(parts[0], 2, 2);
    const [one, other] = pairs;
    const both = [o.subtract(o.multiply(one, cos), o.multiply(other, sin)),
      o.add(o.multiply(other, cos), o.multiply(one, sin))];
    const joined = layout === "pairs" ? o.reshape(o.stack(both, 3), [h, t, width])
      : o.concatenate(both, 2);
    return width === d ? joined : o.concatenate([joined, parts[1]], 2);
  }

  const rates = (width, base) =>
    Array.from({length: width / 2}, (_, c) => Math.fround(base ** (-2 * c / width)));

  // ---- Variants ----------------------------------------------------------------------------------

  const near = (size, apart) => o.less(apart, size);
  const VARIANTS = {
    scaled_dot: {},
    dot: {score: () => dot},
    additive: {score: additive},
    general: {score: learned => general(learned.w)},
    concat: {score: concat},
    cosine: {score: (learned, {temperature}) => cosine(temperature)},
    query_key_norm: {score: learned => (q, k) => o.multiply(cosine(1)(q, k), learned.scale)},
    distance: {score: (learned, {width}) => distance(width)},
    soft_cap: {
      score: (learned, {cap}) => capped(cap),
      sees: ({window}, apart) => window === null ? null : near(window, apart),
    },
    alibi: {modify: lowered},
    temperature: {modify: (logits, learned) =>
      o.divide(logits, perHead(o.exp(learned.log_temperature), logits.shape[0]))},
    rope: {turn: ({base}, width) => ({rates: rates(width, base), layout: "pairs"})},
    sliding_window: {sees: ({size}, apart) => near(size, apart)},
    softmax_with_sink: {normalize: (logits, visible, learned) =>
      softmax(logits, visible, learned.sink)},
    softmax_off_by_one: {normalize: (logits, visible) =>
      softmax(logits, visible, Engine.array(new Float32Array(logits.shape[0])))},
    top_k: {normalize: (logits, visible, learned, {k}) => topK(logits, visible, k)},
    sparsemax: {normalize: sparsemax},
    entmax15: {normalize: entmax15},
    relu: {normalize: rectified},
    sigmoid: {normalize: (logits, visible, learned, {bias}) => sigmoids(logits, visible, bias)},
  };

  // ---- A call ------------------------------------------------------------------------------------

  /** Rows [h t s] where some weights are given: the others share what is left as they did. */
  function pinned(weights, {is, value}) {
    const given = last(o.sum, o.where(o.greater(is, 0), value, 0));
    const free = o.multiply(weights, o.subtract(1, is)), total = last(o.sum, free);
    const rest = o.where(o.greater(total, 0),
      o.divide(o.maximum(o.subtract(1, given), 0), o.where(o.greater(total, 0), total, 1)), 0);
    const own = o.add(o.multiply(free, rest), o.multiply(is, value));
    return o.where(o.greater(last(o.max, is), 0), own, weights);
  }

  /**
   * Attention in heads.
   *
   * variant: {name, options}; learned: its parameters; q [h t d], k [h s d], v [h s e];
   * frame: {visible [t s], apart [t s]}, which pairs may be seen, and how far apart they are;
   * edits: {gate [h], sharpness, is [h t s], value [h t s]}: heads times a number, logits times a
   * number, and weights that are given.
   * Gives {out [h t e], weights [h t s], logits [h t s], q, k, visible [1 t s], sink [h 1 1]}:
   * queries and keys as scored, what was seen as 1 and 0, and the sink where there is one.
   */
  function attend(variant, learned, {q, k, v}, frame, edits) {
    const own = VARIANTS[variant.name], options = variant.options;
    if (own.turn) {
      const turn = own.turn(options, q.shape[2]);
      [q, k] = [turned(q, turn), turned(k, turn)];
    }
    const score = own.score ? own.score(learned, options) : scaledDot;
    let logits = Engine.vmap(Engine.pairs(score), [0, 0])(Engine.keep(q), Engine.keep(k));
    if (own.modify) logits = own.modify(logits, learned, options, frame.apart);
    const seen = own.sees?.(options, frame.apart);
    const visible = seen ? o.logicalAnd(seen, frame.visible) : frame.visible;
    const sharp = o.multiply(logits, edits.sharpness);
    const weights = pinned((own.normalize ?? softmax)(sharp, visible, own.normalize && learned,
      options), edits);
    const out = o.multiply(o.matmul(weights, v), perHead(edits.gate, v.shape[0]));
    const found = {out, weights, logits, q, k,
      visible: o.expandDims(o.where(visible, o.broadcastTo(1, visible.shape), 0), 0)};
    return learned.sink ? {...found, sink: perHead(o.add(learned.sink, 0), q.shape[0])} : found;
  }

  return {attend, turned, LIVE: Object.keys(VARIANTS)};
})();
