"use strict";
// Training lab of the live page. All its names stand under `Lab`; a page includes jax-js, then the
// scripts `lab_*.js` in the order of lab.py, and calls `Lab.start(element, language)`.
//
// An operation of jax-js consumes its arguments. Those of `Lab.ops` keep them, which is meant for
// functions that `jit` traces: a reference there is a mark on a trace, and no memory. Arrays that
// live on belong to the caller of `Lab.array` or of a compiled function.
const Lab = {};

(() => {
  const NAMES = ["add", "subtract", "multiply", "divide", "power", "matmul", "dot", "exp", "log",
    "tanh", "sqrt", "sin", "cos", "absolute", "square", "negative", "sum", "mean", "max", "min",
    "maximum", "minimum", "where", "reshape", "transpose", "concatenate", "stack", "split",
    "moveaxis", "zeros"];
  const NETWORK = ["relu", "sigmoid", "logSoftmax", "softmax"];
  const ops = {};

  const isArray = x => x !== null && typeof x === "object" && "ref" in x;
  const keep = x => isArray(x) ? x.ref : Array.isArray(x) ? x.map(keep) : x;

  let opening = null;
  /** Starts jax-js in WebAssembly, once; every browser has it, and node. */
  const open = () => opening ??= opened();

  async function opened() {
    await jaxjs.init("wasm", "cpu");
    jaxjs.defaultDevice("wasm");
    const lifted = f => (...given) => f(...given.map(keep));
    for (const name of NETWORK) ops[name] = lifted(jaxjs.nn[name]);
    for (const name of NAMES) ops[name] = lifted(jaxjs.numpy[name]);
  }

  /** A Float32Array as an array of a shape; a number as one of none. */
  const array = (values, shape = []) =>
    jaxjs.numpy.array(typeof values === "number" ? Float32Array.of(values) : values, {shape});

  /** Compiles a function of trees of arrays; a call keeps the arrays that it is given. */
  function compile(f) {
    const compiled = jaxjs.jit(f);
    const call = (...trees) => compiled(...trees.map(tree => jaxjs.tree.ref(tree)));
    call.free = () => compiled.dispose();
    return call;
  }

  const free = tree => jaxjs.tree.dispose(tree);

  Object.assign(Lab, {ops, open, array, compile, free, isArray, keep});
})();
