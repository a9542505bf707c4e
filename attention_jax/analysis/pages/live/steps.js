"use strict";
// One row of one head, number by number: query, keys, products, scale, mask, the steps in which scores
// become weights (normalizing.js), weighted sum.
const Steps = (() => {
  const {state, own} = App;
  const FIRST = ["query", "keys", "products", "scale", "mask"];
  // Variants whose score is a dot product of what is shown as q and k, but for what comes after it.
  const DOTS = new Set(["scaled_dot", "dot", "alibi", "temperature", "rope", "sliding_window",
    "softmax_with_sink", "softmax_off_by_one", "top_k", "sparsemax", "entmax15", "relu", "sigmoid",
    "soft_cap"]);
  const SCALED = new Set([...DOTS].filter(name => !["dot", "alibi", "temperature", "soft_cap"].includes(name)));
  let timer = 0;

  const vector = ({shape: [, n, d], data}, head, i) =>
    data.subarray((head * n + i) * d, (head * n + i + 1) * d);

  /** All numbers of the row: of each key its k, v, q · k, score and weight, and the steps between. */
  function rowOf(reading) {
    const {head, row, place, layer} = state, found = App.kind.wholeOf(reading, place, layer);
    const [rows, columns] = App.labels(place, reading);
    const q = vector(found.q, head, row), score = headOf(found.logits, head);
    const weight = headOf(found.weights, head), seen = headOf(found.visible, 0);
    const sharpness = own.edited ? App.edits.sharpness : 1;
    const keys = columns.map((label, j) => {
      const k = vector(found.k, head, j), v = vector(found.v, head, j);
      return {label: plainToken(label), k, v, product: q.reduce((sum, x, c) => sum + x * k[c], 0),
        score: score(row, j) * sharpness, weight: weight(row, j), seen: seen(row, j) > 0};
    });
    const out = Float32Array.from({length: keys[0].v.length}, (_, c) =>
      keys.reduce((sum, key) => sum + key.weight * key.v[c], 0));
    const variant = App.kind.variantOf(place, layer);
    return {q, keys, out, token: plainToken(rows[row]), name: variant.name,
      between: between(variant, keys, found.sink && headOf(found.sink, head)(0, 0))};
  }

  /** The steps from scores to weights; one more where weights of the row are held by hand. */
  function between(variant, keys, sink) {
    const steps = Normalizing.steps(variant, keys.map(key => key.score), keys.map(key => key.seen), sink);
    if (!App.edits.pins.some(App.isOfRow) || !own.edited) return steps;
    const numbers = keys.map(key => key.weight);
    return [...steps, {name: "held", values: {total: numbers.reduce((sum, x) => sum + x, 0)},
      columns: [{word: "held", numbers}]}];
  }

  const namesOf = ({between}) => [...FIRST, ...between.map(step => step.name), "sum"];

  /** Numbers of a step as its sentence says them. */
  const said = values => Object.fromEntries(Object.entries(values).map(([name, x]) =>
    [name, Number.isInteger(x) && name !== "total" ? x : short(x)]));

  function sentenceOf(name, {token, q, name: variant, between}) {
    const other = (name === "products" && !DOTS.has(variant))
      || (name === "scale" && !SCALED.has(variant));
    return say(`aboutSteps.${name}${other ? "Other" : ""}`, {token, width: q.length, name: variant,
      ...said(between[state.step - FIRST.length]?.values ?? {})});
  }

  const short = x => x === 0 ? "0" : Math.abs(x) >= 1e4 || Math.abs(x) < 1e-2 ? x.toExponential(1)
    : fixed(x);
  const WHOLE = new Set(["larger", "count"]);

  /** A number of a column of the steps in between. */
  function cell(word, x) {
    if (word === "stays") return x === true ? say("stays.yes") : say("stays.no");
    if (Number.isNaN(x)) return "·";
    if (WHOLE.has(word)) return String(x);
    return word === "weight" || word === "held" ? fixed(x, 3) : word === "power" ? short(x) : fixed(x);
  }

  /** Columns of the table: from which step on, their word, and what stands at a key or at the sink. */
  function columnsOf(row) {
    const dot = DOTS.has(row.name);
    return [
      {from: 2, word: say("product"), at: j => dot ? fixed(row.keys[j].product) : "·"},
      {from: 3, word: say("scoreColumn"), at: j => fixed(row.keys[j].score)},
      {from: 4, word: say("seen"), at: j => say(row.keys[j].seen ? "yes" : "no")},
      ...row.between.flatMap(({columns}, n) => columns.map(({word, numbers, sink}) => ({
        from: FIRST.length + n, word: say(`columns.${word}`), at: j => cell(word, numbers[j]),
        sink: sink === undefined ? null : cell(word, sink)}))),
    ].filter(({from}) => state.step >= from);
  }

  function table(row) {
    const shown = columnsOf(row), isLast = state.step === namesOf(row).length - 1;
    const now = from => from === state.step ? "now" : "";
    const head = make("tr", {}, make("th", {scope: "col"}, say("token")),
      state.step === 1 ? make("th", {scope: "col"}, "k") : null,
      shown.map(({from, word}) => make("th", {scope: "col", class: now(from)}, word)),
      isLast ? make("th", {scope: "col", class: "now"}, say("value")) : null);
    const body = row.keys.map((key, j) => make("tr", {class: j === state.column ? "chosen" : ""},
      make("th", {scope: "row"}, make("button", {type: "button", "aria-pressed": j === state.column,
        onclick: () => App.look({column: j})}, key.label)),
      state.step === 1 ? make("td", {}, strip(key.k)) : null,
      shown.map(({from, at}) => make("td", {class: `number ${now(from)}`}, at(j))),
      isLast ? make("td", {}, strip(key.v)) : null));
    const sink = shown.some(column => column.sink) ? [make("tr", {},
      make("th", {scope: "row"}, say("sink")), shown.map(({from, sink}) =>
        make("td", {class: `number ${now(from)}`}, sink ?? "")), isLast ? make("td") : null)] : [];
    return make("div", {class: "wide", tabindex: 0, role: "group", "aria-label": say("step")},
      make("table", {}, make("thead", {}, head), make("tbody", {}, body, sink)));
  }

  function vectors(row, step) {
    const {q, keys, out, name} = row, key = keys[state.column];
    const line = (label, numbers) =>
      make("p", {class: "vector"}, make("b", {}, label), strip(numbers));
    if (step === "products" && DOTS.has(name)) {
      return [line(say("queryRow"), q), line(`k: ${key.label}`, key.k),
        line(say("productsOf", {token: key.label}), q.map((x, c) => x * key.k[c])),
        make("p", {}, `${say("sumOf")}: ${fixed(key.product, 3)}`)];
    }
    if (step === "sum") return [line(say("output"), out)];
    return state.step < 3 ? [line(say("queryRow"), q)] : [];
  }

  function draw(reading) {
    const row = rowOf(reading), names = namesOf(row);
    state.step = Math.min(state.step, names.length - 1);
    const name = names[state.step];
    $("step-lead").textContent = say("stepLead", {token: row.token});
    $("step-name").textContent = say("stepName",
      {number: state.step + 1, count: names.length, name: say(`steps.${name}`)});
    $("step-about").textContent = sentenceOf(name, row);
    const held = $("step-body").contains(document.activeElement)
      ? [...$("step-body").querySelectorAll("button")].indexOf(document.activeElement) : -1;
    $("step-body").replaceChildren(...(name === "sum" ? [table(row), ...vectors(row, name)]
      : state.step === 0 ? vectors(row, name) : [...vectors(row, name), table(row)]));
    $("step-body").querySelectorAll("button")[held]?.focus();
    $("back").disabled = state.step === 0;
    $("next").disabled = name === "sum";
    const tokens = App.labels(state.place, reading)[0];
    $("row").replaceChildren(...tokens.map((token, i) =>
      make("option", {value: i}, `${i + 1}: ${plainToken(token)}`)));
    $("row").value = state.row;
    document.body.dataset.steps = Number(document.body.dataset.steps ?? 0) + 1;
  }

  /** Drawn a moment after the rest, which does not wait for it. */
  function render(reading) {
    const hasOne = own.model && reading && reading.maps[state.place]?.length;
    $("step").hidden = !hasOne;
    clearTimeout(timer);
    if (hasOne) timer = setTimeout(() => draw(reading), 60);
  }

  function start() {
    App.panels.push(render);
    $("back").addEventListener("click", () => go(-1));
    $("next").addEventListener("click", () => go(1));
    $("row").addEventListener("change", event => App.look({row: Number(event.target.value)}));
  }

  function go(by) {
    state.step = Math.max(state.step + by, 0);
    draw(App.shown());
  }

  return {start};
})();
