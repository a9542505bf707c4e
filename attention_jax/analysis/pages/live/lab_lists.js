"use strict";
// The task: lists of digits, to be written backwards.
//   source 3 1 4 <end>   written 4 1 3 <end>, where each next symbol is asked with those before it
(() => {
  const DIGITS = 10, END = 10, BEGIN = 11, SYMBOLS = 12;

  /** Random numbers from a seed (mulberry32): `next` in [0, 1), `below(n)`, `normals(n, scale)`. */
  function random(seed) {
    let state = seed >>> 0;
    function next() {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    }
    const below = n => Math.floor(next() * n);
    function normals(count, scale = 1) {
      const found = new Float32Array(count);
      for (let i = 0; i < count; i++) {
        found[i] = scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      }
      return found;
    }
    return {next, below, normals};
  }

  /** A list of so many random digits. */
  const list = (random, length) => Array.from({length}, () => random.below(DIGITS));

  /** `count` lists of 1 to `longest` digits, each length as likely. */
  const lists = (random, count, longest) =>
    Array.from({length: count}, () => list(random, 1 + random.below(longest)));

  /**
   * Lists as a model reads them, with room for `longest` digits and the end.
   *
   * @param written for each list the symbols after which the next is asked; its reverse, if none.
   * @returns arrays: source, input and target [b s symbols], of which each row has one 1 or, where
   *   nothing is asked, none; visible [b s], 1 up to the end of the source.
   */
  function batch(all, longest, written = all.map(one => [...one].reverse())) {
    const places = longest + 1, shape = [all.length, places, SYMBOLS];
    const blank = () => new Float32Array(all.length * places * SYMBOLS);
    const source = blank(), input = blank(), target = blank();
    const visible = new Float32Array(all.length * places);
    all.forEach((one, b) => {
      if (one.length > longest) {
        throw new Error(`a list must have ${longest} digits at most; got ${one.length}`);
      }
      for (let s = 0; s < places; s++) {
        const at = (b * places + s) * SYMBOLS;
        source[at + (one[s] ?? END)] = 1;
        input[at + (s ? written[b][s - 1] ?? END : BEGIN)] = 1;
        if (s <= one.length) {
          visible[b * places + s] = 1;
          target[at + (one[one.length - 1 - s] ?? END)] = 1;
        }
      }
    });
    const three = {source, input, target};
    for (const name in three) three[name] = Lab.array(three[name], shape);
    return {...three, visible: Lab.array(visible, [all.length, places])};
  }

  Lab.random = random;
  Lab.lists = {DIGITS, END, BEGIN, SYMBOLS, list, lists, batch};
})();
