"use strict";
// Training lab of the live page. All its names stand under `Lab`; a page includes jax-js, engine.js,
// then the scripts `lab_*.js` in the order of lab.py, and calls `Lab.start(element, language)`.
const Lab = (() => {
  const {start: open, ops, compile, free, isArray, keep} = Engine;

  /** Numbers as an array of a shape; a number as one of none. */
  const array = (values, shape = []) =>
    Engine.array(typeof values === "number" ? [values] : values, shape);

  return {ops, open, array, compile, free, isArray, keep};
})();
