"use strict";
// What the page holds: the model, what it reads, what is looked at, what is changed; and how a change
// of one of them reaches the panels. What is read is of a kind, `App.kind`, that a script beside sets:
//   places: in their order
//   state: () => what else is looked at, as at first; edits: () => its own edits, with nothing changed
//   isEdited: edits => whether one of its own is made
//   read: edits, or null for none => a reading {maps, ...}, or null; free: reading => ()
//   labels: (place, reading) => labels of those that look, and of those that are looked at
//   variantOf: (place, layer) => {name, options}
//   wholeOf: (reading, place, layer) => {q, k, v, logits, weights, visible, sink}
const App = (() => {
  const state = {place: "", layer: 0, head: 0, row: 0, column: 0, step: 0};
  const edits = {off: [], pins: [], sharpness: 1};
  const own = {data: null, model: null, base: null, edited: null};
  const panels = [];
  let asked = 0, kind = null;

  /** Takes the kind of what is read. */
  function use(given) {
    kind = given;
    Object.assign(state, kind.state());
    Object.assign(edits, kind.edits());
  }

  const isEdited = () => edits.off.length > 0 || edits.pins.length > 0 || edits.sharpness !== 1
    || kind.isEdited(edits);

  function reset() {
    Object.assign(edits, {off: [], pins: [], sharpness: 1}, kind.edits());
    schedule();
  }

  function compute() {
    for (const name of ["base", "edited"]) {
      if (own[name]) kind.free(own[name]);
      own[name] = null;
    }
    own.base = kind.read(null);
    if (own.base && isEdited()) own.edited = kind.read(edits);
    render();
  }

  /** Computes once the browser has shown what was typed; the last of several calls counts. */
  function schedule() {
    const number = ++asked;
    setTimeout(() => {
      if (number === asked) compute();
    }, 0);
  }

  const shown = () => own.edited ?? own.base;

  /** Labels of those that look, and of those that are looked at. */
  const labels = (place, reading = shown()) => kind.labels(place, reading);

  /** Keeps what is looked at within what there is. */
  function settle() {
    const reading = shown();
    if (!reading) return;
    const places = kind.places.filter(place => reading.maps[place]?.length);
    if (!places.includes(state.place)) state.place = places.at(-1) ?? kind.places.at(-1);
    const layers = reading.maps[state.place] ?? [];
    state.layer = Math.min(state.layer, Math.max(layers.length - 1, 0));
    state.head = Math.min(state.head, Math.max((layers[state.layer]?.weights.shape[0] ?? 1) - 1, 0));
    const [rows, columns] = labels(state.place);
    state.row = Math.min(state.row, rows.length - 1);
    state.column = Math.min(state.column, columns.length - 1);
  }

  function render() {
    settle();
    for (const panel of panels) panel(shown());
    document.body.dataset.count = Number(document.body.dataset.count ?? 0) + 1;
  }

  /** Looks elsewhere: nothing is computed anew. */
  function look(change) {
    Object.assign(state, change);
    render();
  }

  /** Tells whether a weight that is held is of the row that is looked at. */
  const isOfRow = x => x.place === state.place && x.layer === state.layer && x.head === state.head
    && x.row === state.row;

  /** Holds a weight of the head that is looked at; null lets it go. */
  function pin(column, weight) {
    const {place, layer, head, row} = state;
    edits.pins = edits.pins.filter(x => !isOfRow(x) || x.column !== column);
    if (weight !== null) {
      // A row has no more than 1 to give: those held before make room.
      const held = edits.pins.filter(isOfRow).reduce((sum, x) => sum + x.weight, 0);
      if (held > 1 - weight) edits.pins = edits.pins.map(x =>
        isOfRow(x) ? {...x, weight: x.weight * (1 - weight) / held} : x);
      edits.pins.push({place, layer, head, row, column, weight});
    }
    schedule();
  }

  return {state, edits, own, panels, use, compute, schedule, shown, labels, render, look, isOfRow, pin,
    isEdited, reset, get kind() { return kind; }};
})();
