"use strict";
// A score that a person writes: one line of JavaScript, an arrow function of a query and a key. It is
// read here and not handed to the browser, for three reasons: `+ - * / **` then work on vectors,
// which JavaScript cannot; a mistake is said with its place; the page needs no right to run text.
//   arrow := ( name , name [, name] ) => expression   |   … => { const name = …; return expression }
(() => {
  /** A mistake in a score: a key of `Lab.words[…].mistakes`, and what its text names. */
  class Mistake extends Error {
    constructor(kind, values = {}) {
      super(`${kind} ${JSON.stringify(values)}`);
      Object.assign(this, {kind, values});
    }
  }

  const TOKEN = /\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([\p{L}_$][\p{L}\p{N}_$]*)|(=>|\*\*|[-+*\/().,;{}=]))/uy;

  function tokens(text) {
    const found = [];
    TOKEN.lastIndex = 0;
    while (text.slice(TOKEN.lastIndex).trim()) {
      const from = TOKEN.lastIndex, match = TOKEN.exec(text);
      if (!match) {
        const at = from + text.slice(from).search(/\S/);
        throw new Mistake("character", {found: String.fromCodePoint(text.codePointAt(at)), at: at + 1});
      }
      const [all, number, name, mark] = match, at = from + all.search(/\S/) + 1;
      found.push({kind: number ? "number" : name ? "name" : mark, text: number ?? name ?? mark, at});
    }
    return found;
  }

  /**
   * The tree of a score.
   *
   * @param text such as "(q, k) => dot(q, k) / sqrt(d)".
   * @returns {names, lets, body}: the arguments, named values, and an expression of nodes
   *   {number}, {name}, {member, of}, {operator, left, right}, {call, given}.
   * @throws Mistake with the place, from 1.
   */
  function read(text) {
    const list = tokens(text);
    let next = 0;
    if (!list.length) throw new Mistake("empty");
    const is = kind => list[next]?.kind === kind;
    const take = kind => is(kind) ? list[next++] : null;
    function expect(kind, wanted = kind) {
      if (next >= list.length) throw new Mistake("end", {wanted});
      return take(kind) ?? fail(wanted);
    }
    function fail(wanted) {
      if (next >= list.length) throw new Mistake("end", {wanted});
      throw new Mistake("expected", {wanted, found: list[next].text, at: list[next].at});
    }

    function series(kinds, part) {
      let left = part();
      for (let mark; (mark = kinds.map(take).find(found => found));) {
        left = {operator: mark.kind, left, right: part(), at: mark.at};
      }
      return left;
    }
    const sum = () => series(["+", "-"], product);
    const product = () => series(["*", "/"], signed);
    function signed() {
      const mark = take("-") ?? take("+");
      if (!mark) return power();
      const of = signed();
      return mark.kind === "-" ? {operator: "-", left: {number: 0}, right: of, at: mark.at} : of;
    }
    function power() {
      const left = postfix(), mark = take("**");
      return mark ? {operator: "**", left, right: signed(), at: mark.at} : left;
    }
    function postfix() {
      let node = primary();
      while (take(".")) {
        const {text: name, at} = expect("name", "name");
        node = take("(") ? {call: name, given: [node, ...given()], at} : {member: name, of: node, at};
      }
      return node;
    }
    function primary() {
      const number = take("number");
      if (number) return {number: Number(number.text)};
      if (take("(")) {
        const inner = sum();
        expect(")");
        return inner;
      }
      const name = take("name");
      if (!name) fail("value");
      // `Math.sqrt` and `np.sqrt` are `sqrt`.
      const bare = ["Math", "np", "jnp"].includes(name.text) && take(".") ? expect("name", "name") : name;
      if (take("(")) return {call: bare.text, given: given(), at: bare.at};
      return {name: bare.text, at: bare.at};
    }
    function given() {
      const values = [];
      if (take(")")) return values;
      do values.push(sum()); while (take(","));
      expect(")");
      return values;
    }

    const names = header({take, expect, is});
    const lets = [];
    let body;
    if (take("{")) {
      while (is("name") && ["const", "let"].includes(list[next].text)) {
        next++;
        const name = expect("name", "name").text;
        expect("=");
        lets.push({name, value: sum()});
        take(";");
      }
      if (expect("name", "return").text !== "return") { next--; fail("return"); }
      body = sum();
      take(";");
      expect("}");
    } else body = sum();
    take(";");
    if (next < list.length) throw new Mistake("rest", {found: list[next].text, at: list[next].at});
    return {names, lets, body};
  }

  function header({take, expect, is}) {
    if (!is("(")) throw new Mistake("arrow");
    take("(");
    const names = [];
    do {
      const name = take("name");
      if (!name) throw new Mistake("arrow");
      names.push(name.text);
    } while (take(","));
    if (!take(")") || !take("=>")) throw new Mistake("arrow");
    if (names.length < 2 || names.length > 3) throw new Mistake("count", {count: names.length});
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice) throw new Mistake("twice", {name: twice});
    return names;
  }

  /** Visits every node of a tree. */
  function visit({lets, body}, f) {
    const each = node => {
      f(node);
      for (const part of [node.of, node.left, node.right, ...(node.given ?? [])]) part && each(part);
    };
    for (const {value} of lets) each(value);
    each(body);
  }

  /** The learned values that a tree names, `p.v` as "v": a vector, or a matrix if capital. */
  function learned(tree) {
    const names = new Set();
    visit(tree, node => {
      if (node.member && node.of.name && node.of.name === tree.names[2]) names.add(node.member);
    });
    return [...names].sort();
  }

  /** Whether a learned value is a matrix. */
  const isMatrix = name => name[0] !== name[0].toLowerCase();

  Lab.score = {Mistake, read, visit, learned, isMatrix};
})();
