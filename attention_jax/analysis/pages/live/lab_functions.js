"use strict";
// Functions that a score may call, and the value of a score's tree. Values are numbers, or arrays of
// jax-js of shape [], [d] or [d, d].
(() => {
  const {Mistake} = Lab.score;
  const o = Lab.ops;
  const shape = x => Lab.isArray(x) ? x.shape : [];
  const said = x => shape(x).length ? `[${shape(x).join(", ")}]` : "1";

  function fit(name, at, ...values) {
    const full = values.filter(x => shape(x).length);
    for (const x of full) {
      if (said(x) === said(full[0])) continue;
      throw new Mistake("shapes", {name, at, left: said(full[0]), right: said(x)});
    }
  }

  // By name: how many values it takes, in jax-js, and in numbers if it takes numbers.
  const each = (name, number) => ({count: 1, array: x => o[name](x), number});
  const pair = (name, number) => ({count: 2, fit: true, array: (a, b) => o[name](a, b), number});
  const whole = (array, number) => ({count: 1, array, number});
  const sigmoid = x => 1 / (1 + Math.exp(-x));
  // A length of 0 has no gradient: the smallest of what is added keeps it finite.
  const norm = x => o.sqrt(o.add(o.sum(o.square(x)), 1e-12));

  // By products and sums: the slope of jax-js's own `dot` is wrong where one side is mapped over
  // and the other, a learned matrix, is not.
  function dot(a, b, at) {
    const [left, right] = [shape(a), shape(b)];
    if (!left.length || !right.length || left.at(-1) !== right[0]) {
      throw new Mistake("shapes", {name: "dot", at, left: said(a), right: said(b)});
    }
    const wide = right.length > 1 ? o.reshape(a, [...left, 1]) : a;
    return o.sum(o.multiply(wide, b), left.length - 1);
  }

  function power(a, b) {
    const whole = typeof b === "number" && Number.isInteger(b) && b >= 1 && b <= 8;
    if (!whole) return o.power(a, b);
    // Products, since the power of a negative number goes through its logarithm.
    let found = a;
    for (let n = 1; n < b; n++) found = o.multiply(found, a);
    return found;
  }

  const FUNCTIONS = {
    dot: {count: 2, array: dot},
    sum: whole(x => o.sum(x), x => x),
    mean: whole(x => o.mean(x), x => x),
    norm: whole(norm, Math.abs),
    max: {...pair("maximum", Math.max), count: [1, 2], one: x => o.max(x)},
    min: {...pair("minimum", Math.min), count: [1, 2], one: x => o.min(x)},
    exp: each("exp", Math.exp), log: each("log", Math.log), sqrt: each("sqrt", Math.sqrt),
    abs: each("absolute", Math.abs), square: each("square", x => x * x),
    tanh: each("tanh", Math.tanh), sigmoid: each("sigmoid", sigmoid),
    relu: each("relu", x => Math.max(x, 0)), sin: each("sin", Math.sin), cos: each("cos", Math.cos),
    add: pair("add", (a, b) => a + b), sub: pair("subtract", (a, b) => a - b),
    mul: pair("multiply", (a, b) => a * b), div: pair("divide", (a, b) => a / b),
    pow: {count: 2, fit: true, array: power, number: (a, b) => a ** b},
  };
  // By which names else people call them.
  const ALSO = {matmul: "dot", subtract: "sub", multiply: "mul", divide: "div", power: "pow",
    maximum: "max", minimum: "min", absolute: "abs"};
  const usual = name => Object.hasOwn(ALSO, name) ? ALSO[name] : name;
  const OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow"};

  function call(name, given, at, shown = name) {
    const f = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : null;
    if (!f) throw new Mistake("unknown", {name: shown, at, near: nearest(name)});
    const counts = [f.count].flat();
    if (!counts.includes(given.length)) {
      throw new Mistake("given", {name: shown, at, count: counts.join("–"), got: given.length});
    }
    if (f.fit) fit(shown, at, ...given);
    if (f.number && given.every(x => typeof x === "number")) return f.number(...given);
    return f.one && given.length === 1 ? f.one(...given) : f.array(...given, at);
  }

  /** The known name that was likely meant, or "". */
  function nearest(name) {
    const letters = text => [...text].sort().join("");
    const known = [...Object.keys(FUNCTIONS), ...Object.keys(ALSO), "d"];
    const turned = known.find(one => letters(one) === letters(name));
    if (turned) return turned;
    const far = Object.fromEntries(known.map(one => [one, changes(name, one)]));
    const best = known.reduce((a, b) => far[b] < far[a] ? b : a);
    return far[best] <= (name.length - 1) / 2 && far[best] <= 2 ? best : "";
  }

  function changes(a, b) {
    let row = [...b, ""].map((_, j) => j);
    for (let i = 1; i <= a.length; i++) {
      const above = row;
      row = [i];
      for (let j = 1; j <= b.length; j++) {
        row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] !== b[j - 1]));
      }
    }
    return row.at(-1);
  }

  /** The score of one query and one key, [d] and [d], with its learned values by name. */
  function value(tree, q, k, learned) {
    const [ofQuery, ofKey, ofLearned] = tree.names, d = q.shape[0];
    const known = {d, PI: Math.PI, E: Math.E, [ofQuery]: q, [ofKey]: k};
    const find = node => {
      if ("number" in node) return node.number;
      if (node.operator) {
        const both = [find(node.left), find(node.right)];
        return call(OPERATORS[node.operator], both, node.at, node.operator);
      }
      if (node.call) return call(usual(node.call), node.given.map(find), node.at, node.call);
      if (node.member) return member(node);
      if (node.name === ofLearned) throw new Mistake("bare", {name: node.name, at: node.at});
      if (Object.hasOwn(known, node.name)) return known[node.name];
      if (Object.hasOwn(FUNCTIONS, node.name)) {
        throw new Mistake("uncalled", {name: node.name, at: node.at});
      }
      throw new Mistake("unknown", {name: node.name, at: node.at, near: nearest(node.name)});
    };
    const member = node => {
      if (ofLearned && node.of.name === ofLearned) return learned[node.member];
      if (node.member === "ref") return find(node.of);  // a habit of those who know jax-js
      if (node.member === "length" && shape(find(node.of)).length) return shape(find(node.of))[0];
      throw new Mistake("member", {name: node.member, at: node.at});
    };
    for (const {name, value} of tree.lets) known[name] = find(value);
    const found = find(tree.body);
    if (shape(found).length) {
      throw new Mistake("many", {count: shape(found).reduce((a, b) => a * b), shape: said(found)});
    }
    // A number that q and k do not change would not be mapped over them.
    return o.add(found, o.multiply(o.add(o.sum(q), o.sum(k)), 0));
  }

  /** Whether a tree uses both query and key: a score of less gives weights that say less. */
  function uses(tree) {
    const seen = new Set();
    Lab.score.visit(tree, node => node.name && seen.add(node.name));
    return tree.names.slice(0, 2).map(name => seen.has(name));
  }

  Object.assign(Lab.score, {FUNCTIONS, value, uses});
})();
