"use strict";
// One row of one head, number by number: query, keys, products, scale, mask, softmax, weighted sum.
const Steps = (() => {
  const {state, own} = App;
  const NAMES = ["query", "keys", "products", "scale", "mask", "softmax", "sum"];
  // Variants whose score is a dot product of what is shown as q and k, but for what comes after it.
  const DOTS = new Set(["scaled_dot", "dot", "alibi", "temperature", "rope", "sliding_window",
    "softmax_with_sink", "softmax_off_by_one", "top_k", "sparsemax", "entmax15", "relu", "sigmoid",
    "soft_cap"]);
  const SCALED = new Set([...DOTS].filter(name => !["dot", "alibi", "temperature", "soft_cap"].includes(name)));
  const OTHER_WEIGHTS = new Set(["softmax_with_sink", "softmax_off_by_one", "top_k", "sparsemax",
    "entmax15", "relu", "sigmoid"]);
  let timer = 0;

  /** Queries, keys, values, scores and weights of the head that is looked at. */
  function wholeOf(reading) {
    const {place, layer} = state;
    if (place === "encoder") return reading.memory.encoder[layer];
    const before = [BOS, ...reading.ids.slice(0, -1)];
    return own.model.next(reading.memory, before, {whole: true})[place][layer];
  }

  const vector = ({shape: [, n, d], data}, head, i) =>
    data.subarray((head * n + i) * d, (head * n + i + 1) * d);

  /** All numbers of the row: of each key its k, v, q · k, score, power and weight. */
  function rowOf(reading) {
    const found = wholeOf(reading), {head, row, place} = state;
    const [rows, columns] = App.labels(place, reading);
    const q = vector(found.q, head, row), score = headOf(found.logits, head);
    const weight = headOf(found.weights, head), sharpness = own.edited ? App.edits.sharpness : 1;
    const keys = columns.map((label, j) => {
      const k = vector(found.k, head, j), v = vector(found.v, head, j);
      return {label: plainToken(label), k, v, product: q.reduce((sum, x, c) => sum + x * k[c], 0),
        score: score(row, j) * sharpness, weight: weight(row, j),
        seen: (place !== "decoder" || j <= row) && isNear(row, j)};
    });
    const out = Float32Array.from({length: keys[0].v.length}, (_, c) =>
      keys.reduce((sum, key) => sum + key.weight * key.v[c], 0));
    return {q, keys, out, token: plainToken(rows[row]), name: App.variantOf(place, state.layer)};
  }

  /** Whether a window, where the attention has one, reaches so far. */
  function isNear(i, j) {
    const {encoder, decoder} = own.model.own, {place, layer} = state;
    if (place === "cross" || (place === "decoder" && decoder.kind === "rnn")) return true;
    const {options} = (place === "encoder" ? encoder.own ?? encoder.above.own : decoder.own)
      .attention[layer];
    const size = options.size ?? options.window ?? null;
    return size === null || Math.abs(i - j) < size;
  }

  function sentenceOf(name, {token, q, name: variant, keys}) {
    const values = {token, width: q.length, name: variant,
      total: fixed(keys.reduce((sum, key) => sum + key.weight, 0))};
    const other = (name === "products" && !DOTS.has(variant))
      || (name === "scale" && !SCALED.has(variant)) || (name === "softmax" && OTHER_WEIGHTS.has(variant));
    return say(`aboutSteps.${name}${other ? "Other" : ""}`, values);
  }

  // Columns of the table: from which step on, and what stands there.
  const COLUMNS = [
    [2, "product", (key, row) => DOTS.has(row.name) ? fixed(key.product) : "·"],
    [3, "scoreColumn", key => fixed(key.score)],
    [4, "seen", key => say(key.seen ? "yes" : "no")],
    [5, "power", key => key.seen ? short(Math.exp(key.score)) : "0"],
    [5, "weight", key => fixed(key.weight, 3)],
  ];
  const short = x => x >= 1e4 || x < 1e-2 ? x.toExponential(1) : x.toFixed(2);

  function table(row) {
    const shown = COLUMNS.filter(([from]) => state.step >= from);
    const head = make("tr", {}, make("th", {scope: "col"}, say("token")),
      state.step === 1 ? make("th", {scope: "col"}, "k") : null,
      shown.map(([from, word]) => make("th", {scope: "col", class: from === state.step ? "now" : ""},
        say(word))),
      state.step === 6 ? make("th", {scope: "col", class: "now"}, say("value")) : null);
    const body = row.keys.map((key, j) => make("tr", {class: j === state.column ? "chosen" : ""},
      make("th", {scope: "row"}, make("button", {type: "button", "aria-pressed": j === state.column,
        onclick: () => App.look({column: j})}, key.label)),
      state.step === 1 ? make("td", {}, strip(key.k)) : null,
      shown.map(([from, , text]) => make("td", {class: from === state.step ? "number now" : "number"},
        text(key, row))),
      state.step === 6 ? make("td", {}, strip(key.v)) : null));
    return make("div", {class: "wide", tabindex: 0, role: "group", "aria-label": say("step")},
      make("table", {}, make("thead", {}, head), make("tbody", {}, body)));
  }

  function vectors(row) {
    const {q, keys, out, name} = row, key = keys[state.column];
    const line = (label, numbers) =>
      make("p", {class: "vector"}, make("b", {}, label), strip(numbers));
    if (state.step === 2 && DOTS.has(name)) {
      return [line(say("queryRow"), q), line(`k: ${key.label}`, key.k),
        line(say("productsOf", {token: key.label}), q.map((x, c) => x * key.k[c])),
        make("p", {}, `${say("sumOf")}: ${fixed(key.product, 3)}`)];
    }
    if (state.step === 6) return [line(say("output"), out)];
    return state.step < 3 ? [line(say("queryRow"), q)] : [];
  }

  function draw(reading) {
    const row = rowOf(reading), name = NAMES[state.step];
    $("step-lead").textContent = say("stepLead", {token: row.token});
    $("step-name").textContent = say("stepName", {number: state.step + 1, name: say(`steps.${name}`)});
    $("step-about").textContent = sentenceOf(name, row);
    const held = $("step-body").contains(document.activeElement)
      ? [...$("step-body").querySelectorAll("button")].indexOf(document.activeElement) : -1;
    $("step-body").replaceChildren(...(state.step === 6 ? [table(row), ...vectors(row)]
      : state.step === 0 ? vectors(row) : [...vectors(row), table(row)]));
    $("step-body").querySelectorAll("button")[held]?.focus();
    $("back").disabled = state.step === 0;
    $("next").disabled = state.step === NAMES.length - 1;
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
    state.step = Math.min(Math.max(state.step + by, 0), NAMES.length - 1);
    draw(App.shown());
  }

  return {start};
})();
