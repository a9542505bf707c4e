"use strict";
// Encoder and decoder of a Transformer, position by position as the library has them. `p` is a tree
// of parameters by the library's names; `own` is the description of the layers: see the Python file
// beside. Everything is one sentence: x is [t m].
const Transformer = (() => {
  const o = Engine.ops;

  const linear = (p, x) => {
    const y = o.matmul(x, p.kernel);
    return p.bias ? o.add(y, p.bias) : y;
  };

  const mean = x => o.divide(o.sum(x, -1, {keepdims: true}), x.shape[x.shape.length - 1]);

  /** A layer norm, or a norm by the root of the mean square. */
  function norm(p, x, {norm_kind: kind, norm_epsilon: epsilon}) {
    const middle = kind === "rms" ? x : o.subtract(x, mean(x));
    const scaled = o.divide(middle, o.sqrt(o.add(mean(o.square(middle)), epsilon)));
    const y = o.multiply(scaled, p.scale);
    return p.bias ? o.add(y, p.bias) : y;
  }

  const gelu = x => o.multiply(x, o.add(o.multiply(o.erf(o.multiply(x, 0.5 ** 0.5)), 0.5), 0.5));
  const geluTanh = x => o.multiply(o.multiply(x, 0.5), o.add(1, o.tanh(o.multiply(
    o.add(x, o.multiply(o.multiply(o.square(x), x), 0.044715)), Math.sqrt(2 / Math.PI)))));
  const swish = x => o.multiply(x, o.sigmoid(x));
  const ACTIVATIONS = {relu: x => o.maximum(x, 0), gelu, gelu_tanh: geluTanh, swish,
    swiglu: swish, geglu: gelu, geglu_tanh: geluTanh};

  function feedForward(p, x, {activation}) {
    const act = ACTIVATIONS[activation];
    const hidden = p.gate ? o.multiply(act(linear(p.gate, x)), linear(p.up, x))
      : act(linear(p.up, x));
    return linear(p.down, hidden);
  }

  const heads = (x, count) =>
    o.transpose(o.reshape(x, [x.shape[0], count, x.shape[1] / count]), [1, 0, 2]);

  /** Projects to heads, attends, projects back; `turn` turns queries and keys by positions. */
  function attention(p, x, memory, own, {variant, frame, edits, turn}) {
    let q = heads(linear(p.query, x), own.heads), k = heads(linear(p.key, memory), own.kv_heads);
    let v = heads(linear(p.value, memory), own.kv_heads);
    if (p.query_norm) {
      const kind = {norm_kind: "rms", norm_epsilon: own.norm_epsilon};
      [q, k] = [norm(p.query_norm, q, kind), norm(p.key_norm, k, kind)];
    }
    if (turn) [q, k] = [Scores.turned(q, turn), Scores.turned(k, turn)];
    if (own.kv_heads !== own.heads) {
      [k, v] = [k, v].map(one => o.repeat(one, own.heads / own.kv_heads, 0));
    }
    const {out: inHeads, ...found} = Scores.attend(variant, p.learned ?? {}, {q, k, v}, frame, edits);
    const [h, t, e] = inHeads.shape;
    const out = linear(p.out, o.reshape(o.transpose(inHeads, [1, 0, 2]), [t, h * e]));
    return {out, found: {...found, v}};
  }

  /** A sub-layer with its norms and shortcut: before, after, or on both sides. */
  function residual(p, x, own, f) {
    let update = f(own.norm === "post" ? x : norm(p.norm, x, own));
    if (own.norm === "sandwich") update = norm(p.norm_after, update, own);
    if (p.gains) update = o.multiply(update, p.gains);
    const sum = o.add(x, update);
    return own.norm === "post" ? norm(p.norm, sum, own) : sum;
  }

  /** Log of the share that SSRU keeps at each position, and what is added, [t n]. */
  function gates(p, x, real) {
    const z = linear(p.forget_gate, x), is = o.greater(real, 0);
    const added = o.multiply(o.sigmoid(o.negative(z)), linear(p.project, x));
    return [o.where(is, o.negative(o.softplus(o.negative(z))), 0), o.where(is, added, 0)];
  }

  /** h_t = sum over s <= t of add_s times all that is kept from s + 1 to t; out = relu(h). */
  function ssru(p, x, real, backwards) {
    const [logKept, added] = gates(p, x, real), t = x.shape[0];
    const at = (i, j) => backwards ? j >= i : j <= i;
    const square = f => Engine.array(Float32Array.from({length: t * t}, (_, n) =>
      f(Math.floor(n / t), n % t) ? 1 : 0), [t, t]);
    const total = o.matmul(square(at), logKept);
    const between = o.subtract(o.expandDims(total, 1), o.expandDims(total, 0));
    const decay = o.where(o.expandDims(o.greater(square(at), 0), 2), o.exp(o.minimum(between, 0)), 0);
    return o.maximum(o.sum(o.multiply(decay, o.expandDims(added, 0)), 1), 0);
  }

  const recurrence = (p, x, real) => {
    const ways = Object.keys(p.ways).sort().map((way, n) => ssru(p.ways[way], x, real, n === 1));
    return ways.length > 1 ? o.concatenate(ways, 1) : ways[0];
  };

  /** The block of self-attention, or of the recurrence in its place. */
  function selfBlock(p, x, own, call, real, kept) {
    return residual(p.around_attention, x, own, inside => {
      if (own.recurrence) return recurrence(p.recurrence, inside, real);
      const {out, found} = attention(p.attention, inside, inside, own, call);
      kept.push(found);
      return out;
    });
  }

  const layersOf = p => Object.keys(p).sort((a, b) => a - b).map(name => p[name]);
  const lastNorm = (p, x, own) => own.norm === "post" ? x : norm(p, x, own);

  /** Layers of an encoder: x [s m] -> {states [s m], encoder: what each layer's attention found}. */
  function encode(p, finalNorm, x, own, {frame, real, edits}) {
    const kept = [];
    layersOf(p).forEach((layer, n) => {
      const call = {variant: own.attention[n], frame, edits: edits?.[n], turn: own.rotary?.[n]};
      x = selfBlock(layer, x, own, call, real, kept);
      x = residual(layer.around_feed_forward, x, own, y => feedForward(layer.feed_forward, y, own));
    });
    return {states: lastNorm(finalNorm, x, own), encoder: kept};
  }

  /** Layers of a decoder over x [t m], with or without attention to `memory` [s m]. */
  function decode(p, finalNorm, x, memory, own, {frame, crossFrame, real, edits}) {
    const decoder = [], cross = [];
    layersOf(p).forEach((layer, n) => {
      const call = {variant: own.attention[n], frame, edits: edits.decoder?.[n],
        turn: own.rotary?.[n]};
      x = selfBlock(layer, x, own, call, real, decoder);
      if (own.cross) x = residual(layer.around_cross_attention, x, own, inside => {
        const between = {variant: own.cross[n], frame: crossFrame, edits: edits.cross[n]};
        const {out, found} = attention(layer.cross_attention, inside, memory, own, between);
        cross.push(found);
        return out;
      });
      x = residual(layer.around_feed_forward, x, own, y => feedForward(layer.feed_forward, y, own));
    });
    return {states: lastNorm(finalNorm, x, own), decoder, cross};
  }

  return {linear, norm, attention, encode, decode};
})();
