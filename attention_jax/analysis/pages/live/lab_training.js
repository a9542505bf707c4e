"use strict";
// Loss, Adam, and how many lists a model writes without a mistake.
(() => {
  const {SYMBOLS, batch} = Lab.lists;
  const o = Lab.ops;
  const SETTINGS = {rate: 5e-3, warmup: 50, steady: 400, first: 0.9, second: 0.98, tiny: 1e-8,
    clip: 1, batch: 64, longest: 8};

  /** Mean of -log p(symbol) over the symbols asked. */
  function loss(name, score, p, given) {
    const {logits} = Lab.models.run(name, score, p, given);
    const total = o.sum(o.multiply(o.logSoftmax(logits, -1), given.target));
    return o.negative(o.divide(total, o.sum(given.target)));
  }

  const walk = (f, tree, ...more) => Object.fromEntries(Object.keys(tree).map(key =>
    [key, Lab.isArray(tree[key]) ? f(tree[key], ...more.map(one => one[key]))
      : walk(f, tree[key], ...more.map(one => one[key]))]));
  const leaves = tree => Lab.isArray(tree) ? [tree] : Object.values(tree).flatMap(leaves);

  /**
   * One step of Adam on gradients clipped to a norm of `clip`:
   *   m' = first m + (1 - first) g, v' = second v + (1 - second) g²,
   *   p' = p - rate (m' / (1 - first^t)) / (sqrt(v' / (1 - second^t)) + tiny)
   *
   * @param state {p, m, v}, trees of one shape.
   * @param numbers {rate, ofFirst, ofSecond}: the rate, and 1 / (1 - first^t) and that of second.
   */
  function adam(state, slopes, {rate, ofFirst, ofSecond}, {first, second, tiny, clip}) {
    const size = o.sqrt(leaves(slopes).map(x => o.sum(o.square(x))).reduce((a, b) => o.add(a, b)));
    const share = o.divide(clip, o.maximum(size, clip));
    const g = walk(x => o.multiply(x, share), slopes);
    const mixed = (a, b, share) => o.add(o.multiply(a, share), o.multiply(b, 1 - share));
    const m = walk((a, b) => mixed(a, b, first), state.m, g);
    const v = walk((a, b) => mixed(a, o.square(b), second), state.v, g);
    const p = walk((x, a, b) => o.subtract(x, o.multiply(rate, o.divide(o.multiply(a, ofFirst),
      o.add(o.sqrt(o.multiply(b, ofSecond)), tiny)))), state.p, m, v);
    return {p, m, v};
  }

  /** The rate of step t, from 1: it rises to the full one, stays, then falls as 1 / sqrt(t). */
  const rateAt = (t, {rate, warmup, steady}) =>
    rate * Math.min(t / warmup, 1, Math.sqrt(steady / t));

  /**
   * A model in training. `step(lists)` trains on them and gives the loss; `write(lists, longest)`
   * the reverses that it writes; `exact(lists, longest)` which it writes without a mistake;
   * `look(list, longest)` its weights; `free()` lets its memory go.
   */
  function trainee(name, score, seed, settings = SETTINGS) {
    const p = Lab.models.start(name, score, Lab.random(seed));
    const nothing = () => walk(x => Lab.array(new Float32Array(x.size), x.shape), p);
    return resumed(name, score, {p, m: nothing(), v: nothing()}, settings);
  }

  function resumed(name, score, state, settings = SETTINGS) {
    let steps = 0;
    const train = Lab.compile((state, given, numbers) => {
      const [cost, slopes] = jaxjs.valueAndGrad(p => loss(name, score, p, given))(state.p);
      return [cost, adam(state, slopes, numbers, settings)];
    });
    const run = Lab.compile((p, given) => {
      const {logits, weights} = Lab.models.run(name, score, p, given);
      return weights ? [logits, weights] : [logits];
    });

    async function step(lists) {
      steps++;
      const given = batch(lists, settings.longest);
      const numbers = {rate: rateAt(steps, settings), ofFirst: 1 / (1 - settings.first ** steps),
        ofSecond: 1 / (1 - settings.second ** steps)};
      for (const key in numbers) numbers[key] = Lab.array(numbers[key]);
      const [cost, after] = train(state, given, numbers);
      Lab.free([state, given, numbers]);
      state = after;
      return (await cost.data())[0];
    }

    /** Logits and weights of lists, as flat arrays. */
    async function passed(lists, longest, written) {
      const given = batch(lists, longest, written);
      const found = run(state.p, given);
      Lab.free(given);
      return Promise.all(found.map(x => x.data()));
    }

    // With the right symbols before it, each symbol is right: by induction, that is when the list
    // written freely, each symbol after the model's own, is right. So one pass tells it.
    async function exact(lists, longest) {
      const [logits] = await passed(lists, longest);
      return lists.map((list, b) => {
        const asked = [...list].reverse().concat(Lab.lists.END);
        return asked.every((symbol, t) => best(logits, b * (longest + 1) + t) === symbol);
      });
    }

    async function write(lists, longest) {
      const written = lists.map(() => []);
      for (let t = 0; t <= longest; t++) {
        const [logits] = await passed(lists, longest, written);
        written.forEach((one, b) => one.push(best(logits, b * (longest + 1) + t)));
      }
      return written.map(one => one.slice(0, (one.indexOf(Lab.lists.END) + 1 || longest + 2) - 1));
    }

    /** Weights of writing the reverse of the first list: rows of written symbols, then the end. */
    async function look(lists, longest) {
      const weights = (await passed(lists, longest))[1];
      const places = longest + 1, size = lists[0].length + 1;
      return weights && Array.from({length: size}, (_, t) =>
        Array.from(weights.subarray(t * places, t * places + size)));
    }

    const free = () => { Lab.free(state); train.free(); run.free(); };
    return {name, step, exact, write, look, free, get steps() { return steps; },
      get state() { return state; }};
  }

  function best(logits, row) {
    let found = 0;
    for (let i = 1; i < SYMBOLS; i++) {
      if (logits[row * SYMBOLS + i] > logits[row * SYMBOLS + found]) found = i;
    }
    return found;
  }

  Lab.training = {SETTINGS, loss, adam, rateAt, trainee, resumed};
})();
