"use strict";
// A score tried before anything is trained: on random queries and keys, with its gradient.
(() => {
  const {Mistake} = Lab.score;
  const COUNT = 16;  // random pairs

  // The equations by name; "own" is the line that a person wrote.
  const PRESETS = {
    dot: "(q, k) => dot(q, k)",
    scaled: "(q, k) => dot(q, k) / sqrt(d)",
    additive: "(q, k, p) => dot(p.v, tanh(q + k))",
    distance: "(q, k) => -sum((q - k) ** 2) / sqrt(d)",
    cosine: "(q, k) => 10 * dot(q, k) / (norm(q) * norm(k))",
  };

  /**
   * The score of a line.
   *
   * @param width of queries and keys.
   * @returns {text, tree, learned, uses}: what `Lab.models` takes.
   * @throws Mistake if it can't be read, gives no finite number, or has no finite gradient.
   */
  async function check(text, width) {
    await Lab.open();
    const tree = Lab.score.read(text);
    const score = {text, tree, learned: Lab.score.learned(tree), uses: Lab.score.uses(tree)};
    const random = Lab.random(1);
    const pairs = Lab.array(random.normals(2 * COUNT * width), [2, COUNT, width]);
    const learned = startOf(score, width, random);
    const [numbers, slopes] = await tried(score, {pairs, learned});
    for (const [kind, found] of [["value", numbers], ["gradient", slopes]]) {
      const bad = found.find(x => !Number.isFinite(x));
      if (bad !== undefined) throw new Mistake(kind, {found: String(bad)});
    }
    return score;
  }

  async function tried(score, given) {
    const ofAll = ({pairs, learned}) => {
      const [q, k] = Lab.ops.split(pairs, 2, 0);
      const each = (a, b) => Lab.score.value(score.tree, a, b, learned);
      const flat = x => Lab.ops.reshape(x, x.shape.slice(1));
      const all = jaxjs.vmap(each, [0, 0])(flat(q), flat(k));
      return [Lab.ops.sum(all), all];
    };
    const run = Lab.compile(tree => jaxjs.valueAndGrad(ofAll, {hasAux: true})(tree));
    try {
      const [[total, all], slopes] = run(given);
      const found = [await all.data(), await slopes.pairs.data()];
      Lab.free([total, slopes.learned]);
      run.free();
      return found;
    } catch (error) {
      if (error instanceof Mistake) throw error;
      throw new Mistake("failed", {message: String(error.message ?? error).split("\n")[0]});
    } finally {
      Lab.free(given);
    }
  }

  /** Fresh learned values of a score: vectors [d] and matrices [d, d]. */
  function startOf({learned}, width, random) {
    const scale = width ** -0.5;
    return Object.fromEntries(learned.map(name => {
      const shape = Lab.score.isMatrix(name) ? [width, width] : [width];
      return [name, Lab.array(random.normals(shape.reduce((a, b) => a * b), scale), shape)];
    }));
  }

  Object.assign(Lab.score, {PRESETS, check, startOf});
})();
