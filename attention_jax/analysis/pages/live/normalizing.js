"use strict";
// One row of scores becomes weights, step by step, in plain numbers. scores.js has the same equations
// for all rows at once; here each has the numbers in between, which a reader can check.
// A step is {name, values, columns}: `values` go in its sentence, and a column is {word, numbers} of
// all keys, with `sink` where the sink has a number there too. Keys that are not seen have NaN.
const Normalizing = (() => {
  const total = numbers => numbers.reduce((sum, x) => sum + (x || 0), 0);
  const where = (seen, numbers, f) => numbers.map((x, j) => seen[j] ? f(x, j) : NaN);
  const weightsOf = numbers => numbers.map(x => x || 0);
  const column = (word, numbers, sink) => ({word, numbers, sink});
  const largestOf = (scores, seen) => Math.max(...scores.filter((_, j) => seen[j]), -Infinity);

  /** For each key, of those whose number is at least as large: how many, and the sum of `f`. */
  const above = (z, f) => z.map(own => total(z.map(x => x >= own ? f(x) : 0)));

  /** Powers of e, and the share of each; `sink` is one more score, whose share goes to no key. */
  function shares(scores, seen, sink) {
    const all = sink === undefined ? largestOf(scores, seen) : Math.max(largestOf(scores, seen), sink);
    const shifted = where(seen, scores, x => Math.exp(x - all));  // e^1000 is no number
    const rest = sink === undefined ? 0 : Math.exp(sink - all), sum = total(shifted) + rest;
    return {powers: where(seen, scores, Math.exp), rest: sum ? rest / sum : 0,
      weights: weightsOf(shifted).map(x => sum ? x / sum : 0)};
  }

  function softmax(scores, seen) {
    const {powers, weights} = shares(scores, seen);
    return [{name: "softmax", values: {total: total(weights)},
      columns: [column("power", powers), column("weight", weights)]}];
  }

  function withSink(scores, seen, {sink}) {
    const {powers, weights, rest} = shares(scores, seen, sink), power = Math.exp(sink);
    return [
      {name: "sinkPowers", values: {sink, power, sum: total(powers) + power},
        columns: [column("power", powers, power)]},
      {name: "sinkShares", values: {total: total(weights), rest, sum: total(powers) + power},
        columns: [column("weight", weights, rest)]}];
  }

  function topK(scores, seen, {k}) {
    const larger = where(seen, scores, own => scores.filter((x, j) => seen[j] && x > own).length);
    const stays = larger.map(count => count < k), {powers, weights} = shares(scores, stays);
    return [
      {name: "largest", values: {k, count: stays.filter(Boolean).length},
        columns: [column("larger", larger), column("stays", where(seen, larger, x => x < k))]},
      {name: "softmaxOfThese", values: {total: total(weights)},
        columns: [column("power", powers), column("weight", weights)]}];
  }

  function sparsemax(scores, seen) {
    const largest = largestOf(scores, seen), z = where(seen, scores, x => x - largest);
    const count = where(seen, above(z, () => 1), x => x), sum = where(seen, above(z, x => x), x => x);
    const test = z.map((x, j) => 1 + count[j] * x), stays = where(seen, test, (x, j) => x > sum[j]);
    const inside = z.filter((_, j) => stays[j] === true);
    const threshold = (total(inside) - 1) / Math.max(inside.length, 1);
    const weights = z.map((x, j) => stays[j] === true ? Math.max(x - threshold, 0) : 0);
    return [
      {name: "shifted", values: {largest}, columns: [column("z", z)]},
      {name: "support", values: {count: inside.length}, columns: [column("count", count),
        column("sum", sum), column("test", test), column("stays", stays)]},
      {name: "threshold", values: {sum: total(inside), count: inside.length, threshold,
        total: total(weights)}, columns: [column("weight", weights)]}];
  }

  function entmax15(scores, seen) {
    const largest = largestOf(scores, seen), z = where(seen, scores, x => (x - largest) / 2);
    const count = above(z, () => 1), mean = where(seen, above(z, x => x), (x, j) => x / count[j]);
    const spread = above(z, x => x * x).map((x, j) => x - count[j] * mean[j] ** 2);
    const height = where(seen, mean, (x, j) => x - Math.sqrt(Math.max((1 - spread[j]) / count[j], 0)));
    const stays = where(seen, z, (x, j) => x >= height[j]);
    const threshold = Math.max(...height.filter((_, j) => stays[j] === true));
    const weights = weightsOf(where(seen, z, x => Math.max(x - threshold, 0) ** 2));
    return [
      {name: "halved", values: {largest}, columns: [column("z", z)]},
      {name: "heights", values: {threshold}, columns: [column("count", where(seen, count, x => x)),
        column("mean", mean), column("height", height), column("stays", stays)]},
      {name: "squares", values: {threshold, total: total(weights)},
        columns: [column("weight", weights)]}];
  }

  const counted = seen => Math.max(seen.filter(Boolean).length, 1);

  function relu(scores, seen) {
    const positive = where(seen, scores, x => Math.max(x, 0)), count = counted(seen);
    const weights = weightsOf(positive).map(x => x / count);
    return [{name: "positive", values: {}, columns: [column("positive", positive)]},
      {name: "divided", values: {count, total: total(weights)}, columns: [column("weight", weights)]}];
  }

  function sigmoid(scores, seen, {bias}) {
    const count = counted(seen), raised = where(seen, scores, x => x + (bias ?? -Math.log(count)));
    const weights = weightsOf(raised.map(x => 1 / (1 + Math.exp(-x))));
    return [
      {name: bias === null ? "lessLog" : "raised", values: {count, bias: bias ?? -Math.log(count)},
        columns: [column("raised", raised)]},
      {name: "sigmoid", values: {total: total(weights)}, columns: [column("weight", weights)]}];
  }

  const OWN = {softmax_with_sink: withSink, top_k: topK, sparsemax, entmax15, relu, sigmoid,
    softmax_off_by_one: (scores, seen) => withSink(scores, seen, {sink: 0})};

  /** The steps of a variant {name, options}: scores and what is seen of one row, and its sink. */
  const steps = ({name, options}, scores, seen, sink) =>
    (OWN[name] ?? softmax)([...scores], [...seen], {...options, sink});

  /** The weights in which steps end. */
  const weights = found => found.at(-1).columns.at(-1).numbers;

  return {steps, weights};
})();
