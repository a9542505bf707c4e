"use strict";
// Pictures, and how probable each class is. A reading is {logits, probabilities, maps, ms}.
// own.data.pictures: {png, pixels: base64 of bytes [y x c], number, name, label}, or with a `reading`
// where the model does not compute here; own.data.grid: {rows, columns, tokens, registers}.
const Pictures = (() => {
  const {state, own} = App;
  const MOVED = .01;  // of a probability, from which on a change marks it
  const MOST = 12;  // classes that are shown, the most probable ones
  const pixels = new Map();

  const picture = () => own.data.pictures[state.picture];

  function pixelsOf(n) {
    if (!pixels.has(n)) pixels.set(n, Float32Array.from(atob(own.data.pictures[n].pixels),
      letter => letter.charCodeAt(0) / 255));
    return pixels.get(n);
  }

  function read(edits) {
    const begun = performance.now(), {image} = own.model.own;
    const given = edits?.hidden.length
      ? Patches.covered(pixelsOf(state.picture), new Set(edits.hidden), image) : pixelsOf(state.picture);
    const {encoder, cross, ...found} = own.model.classify(given, edits);
    return {...found, maps: {encoder, cross}, ms: performance.now() - begun};
  }

  /** Names of the positions: what stands before the patches, then row and column of each patch. */
  function names() {
    const {rows, columns, tokens, registers} = own.data.grid;
    const before = Array.from({length: tokens}, (_, n) => n < tokens - registers ? say("classToken")
      : say("register", {number: n - (tokens - registers) + 1}));
    return [...before, ...Array.from({length: rows * columns}, (_, n) => columns === 1
      ? say("rowPatch", {row: n + 1}) : `(${Math.floor(n / columns) + 1}, ${n % columns + 1})`)];
  }

  const KIND = {
    places: ["cross", "encoder"],
    state: () => ({picture: 0, place: "encoder"}),
    edits: () => ({hidden: []}),
    isEdited: ({hidden}) => hidden.length > 0,
    read, free: () => {},
    labels: place => [place === "cross" ? [say("answer")] : names(), names()],
    variantOf: (place, layer) => place === "cross" ? own.model.own.pooling.attention
      : own.model.own.own.attention[layer],
    wholeOf: (reading, place, layer) => reading.maps[place][layer],
  };

  // ---- Which picture -------------------------------------------------------------------------------

  const about = ({number, name, label}) => number === null ? name
    : say("testPicture", {number, label});

  function choose(n) {
    Object.assign(state, {picture: n});
    Object.assign(App.edits, {hidden: [], pins: []});
    if (own.model) App.schedule();
    else {
      own.base = own.data.pictures[n].reading;
      App.render();
    }
  }

  function choices() {
    const buttons = own.data.pictures.map((one, n) => make("button", {type: "button", "data-picture": n,
      "aria-pressed": n === state.picture, onclick: () => choose(n)},
    make("img", {src: `data:image/png;base64,${one.png}`, alt: about(one)})));
    roving(buttons, state.picture);
    keeping($("pictures"), "data-picture", buttons);
  }

  // ---- Classes -------------------------------------------------------------------------------------

  function row(name, now, before) {
    const hasMoved = before !== null && Math.abs(now - before) >= MOVED;
    return make("tr", {class: hasMoved ? "moved" : ""}, make("th", {scope: "row"}, name),
      make("td", {class: "share"}, make("i", {style: `width: ${100 * now}%`}),
        before === null ? null : make("b", {style: `left: ${100 * before}%`})),
      make("td", {class: "number"}, percent(now, 1)),
      make("td", {class: "number faint"}, before === null ? "" : percent(before, 1)));
  }

  function classes(reading) {
    const {base, edited} = own, known = own.data.classes;
    const order = known.map((_, n) => n).sort((a, b) => base.probabilities[b] - base.probabilities[a]);
    // Few classes keep their place, so that one sees them move.
    const shown = known.length <= MOST ? known.map((_, n) => n) : order.slice(0, MOST);
    $("class-rows").replaceChildren(...shown.map(n => row(known[n], reading.probabilities[n],
      edited ? base.probabilities[n] : null)));
    const best = [...reading.probabilities].reduce((best, x, n, all) => x > all[best] ? n : best, 0);
    $("answer").textContent = say("said", {name: known[best],
      share: percent(reading.probabilities[best], 1)});
    $("before-head").textContent = edited ? say("before") : "";
    $("timing").textContent = own.model ? say("timing", {ms: Math.round(own.base.ms)}) : "";
  }

  function render(reading) {
    choices();
    $("about-picture").textContent = about(picture());
    classes(reading);
  }

  const start = () => App.panels.push(render);
  App.use(KIND);
  return {start, choose, picture, about};
})();
