"use strict";
// Greedy decoding and a small beam, as the library's own: from BOS to EOS, never PAD or BOS.
const Search = (() => {
  const FEW = 32;  // tokens, which are waited for whatever the time

  /** How many tokens a translation may have, as the library's `Translator` says it. */
  const limit = (source, model) => Math.min(2 * 8 * Math.ceil(source / 8) + 16, model.places);

  function best(logits) {
    let at = EOS;
    for (let id = EOS; id < logits.length; id++) if (logits[id] > logits[at]) at = id;
    return at;
  }

  function logProbabilities(logits) {
    let most = -Infinity, sum = 0;
    for (const x of logits) most = Math.max(most, x);
    for (const x of logits) sum += Math.exp(x - most);
    const total = most + Math.log(sum);
    return Float64Array.from(logits, x => x - total);
  }

  /**
   * The most probable token at every position: {ids, rows: logits, found}; ids end with EOS, unless
   * there are `maxLength`, or more than `FEW` at a time `until`, by the clock of `performance`.
   */
  function greedy(model, memory, {maxLength = limit(memory.source.length, model),
    until = Infinity} = {}) {
    const ids = [], rows = [];
    let found, isLast = false;
    while (!isLast) {
      found = model.next(memory, [BOS, ...ids], {wants: logits => {
        isLast = best(logits) === EOS || ids.length + 1 === maxLength
          || (ids.length > FEW && performance.now() > until);
        return isLast;
      }});
      rows.push(found.logits);
      ids.push(best(found.logits));
    }
    return {ids, rows, found};
  }

  const divisor = (length, penalty) => ((5 + length) / 6) ** penalty;

  /** The `count` best sentences: [{ids, score, logProbability}], by Wu's length penalty. */
  function beam(model, memory, {count = 4, penalty = 1,
    maxLength = limit(memory.source.length, model)} = {}) {
    let open = [{ids: [], score: 0}], done = [];
    const most = divisor(maxLength, penalty);
    for (let at = 0; at < maxLength; at++) {
      const more = [];
      const ends = [];
      for (const one of open) {
        const {logits} = model.next(memory, [BOS, ...one.ids], {wants: () => false});
        const logP = logProbabilities(logits);
        for (let id = EOS + 1; id < logP.length; id++) {
          more.push({from: one, id, score: one.score + logP[id]});
        }
        ends.push({ids: [...one.ids, EOS], score: one.score + logP[EOS]});
      }
      const byScore = (a, b) => b.score - a.score;
      const next = more.sort(byScore).slice(0, count);
      const last = [...next, ...ends].sort(byScore)[Math.min(count, next.length + ends.length) - 1];
      for (const one of ends) {
        if (one.score < last.score) continue;
        done.push({ids: one.ids, logProbability: one.score,
          score: one.score / divisor(at + 1, penalty)});
      }
      done = done.sort(byScore).slice(0, count);
      open = next.map(({from, id, score}) => ({ids: [...from.ids, id], score}));
      if (done.length === count && open[0].score / most <= done[count - 1].score) break;
    }
    const cut = open.map(one => ({ids: one.ids, logProbability: one.score, score: one.score / most}));
    return [...done, ...cut].slice(0, count);
  }

  return {greedy, beam, best, logProbabilities, limit};
})();
