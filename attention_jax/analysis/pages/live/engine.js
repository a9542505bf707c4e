"use strict";
// All that the page asks of jax-js, in one place. Operations of jax-js consume their arguments;
// those of `ops` keep them, which is meant for functions that `jit` traces: there a reference is
// but a mark on a trace. Arrays that live on belong to those who called `array` or a compiled
// function, and are let go by `free`.
const Engine = (() => {
  let jax, np, opening = null;
  const ops = {};

  /** Starts jax-js in WebAssembly, once, which works in every browser and in node. */
  const start = () => opening ??= opened();

  async function opened() {
    const found = globalThis.jaxjs;
    await found.init("wasm", "cpu");
    found.defaultDevice("wasm");
    np = found.numpy;
    for (const name of NAMES) ops[name] = (...given) => np[name](...given.map(keep));
    for (const name of NETWORK) ops[name] = (...given) => found.nn[name](...given.map(keep));
    ops.erf = x => found.lax.erf(keep(x));
    jax = found;
  }

  const NAMES = ["add", "subtract", "multiply", "divide", "matmul", "dot", "exp", "log", "tanh",
    "sqrt", "sin", "cos", "sum", "max", "minimum", "maximum", "where", "reshape", "transpose",
    "concatenate", "stack", "power", "absolute", "square", "broadcastTo", "take", "greater",
    "greaterEqual", "less", "equal", "logicalAnd", "expandDims", "repeat", "negative", "split",
    "mean", "min", "stack", "transpose", "moveaxis", "zeros"];
  const NETWORK = ["relu", "sigmoid", "softplus", "softmax", "logSoftmax"];

  const isArray = x => x !== null && typeof x === "object" && "ref" in x;
  const keep = x => isArray(x) ? x.ref : Array.isArray(x) ? x.map(keep) : x;

  /** A typed array, or nested numbers, as an array of float32 of a shape. */
  function array(values, shape) {
    const flat = values instanceof Float32Array ? values : Float32Array.from(values);
    return np.array(flat, {shape: shape ?? [flat.length]});
  }

  /** `function (q, k)` over all pairs: [t d], [s d] -> [t s]. */
  const pairs = score => jax.vmap(jax.vmap(score, [null, 0]), [0, null]);

  /**
   * Compiles a function of trees of arrays; a call keeps the arrays that it is given. `free` of it
   * lets go what was compiled.
   */
  function compile(f) {
    const compiled = jax.jit(f);
    const call = (...trees) => compiled(...trees.map(tree => jax.tree.ref(tree)));
    call.free = () => compiled.dispose();
    return call;
  }

  /** Lets the arrays of a tree go. */
  const free = tree => jax.tree.dispose(tree);

  /** The numbers of an array, which is let go. */
  const numbers = x => x.dataSync();

  return {start, ops, array, pairs, compile, free, numbers, isArray, keep,
    vmap: (f, axes) => jax.vmap(f, axes)};
})();
