"use strict";
// Why RNNs fall short: the trained models on lists that grow, beyond the longest of training.
(() => {
  const {make, curves} = Lab.draw;
  const {SETTINGS} = Lab.training;
  const LONGEST = 16, EACH = 128;
  const DIGITS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3];
  const growing = Array.from({length: LONGEST}, (_, at) => DIGITS.slice(0, at + 1));

  /** The shares of lists right by length, from 1, and the reverses of the lists that grow. */
  async function measured(trainee, random) {
    const shares = [];
    for (let length = 1; length <= LONGEST; length++) {
      let right = 0;
      for (let at = 0; at < EACH; at += SETTINGS.batch) {
        const lists = Array.from({length: SETTINGS.batch}, () => Lab.lists.list(random, length));
        right += (await trainee.exact(lists, LONGEST)).filter(is => is).length;
        await Lab.pause();
      }
      shares.push(right / EACH);
    }
    // As many lists as above, so that nothing is compiled anew.
    const lists = Array.from({length: SETTINGS.batch}, (_, at) => growing[at % LONGEST]);
    return {shares, written: (await trainee.write(lists, LONGEST)).slice(0, LONGEST)};
  }

  async function measure(state) {
    if (state.isMeasuring || !state.models.length) return;
    state.isMeasuring = true;
    Lab.refresh(state);
    const models = state.models, steps = state.steps, found = [];
    try {
      await Lab.pause();
      for (const {name, trainee, broken} of models) {
        if (broken || state.models !== models) continue;
        found.push({name, ...await measured(trainee, Lab.random(9))});
      }
      if (state.models === models) state.lengths = {steps, found};
    } catch (error) {
      // Models that were let go while they were measured; new ones train now.
      if (state.models === models) throw error;
    } finally {
      state.isMeasuring = false;
      Lab.refresh(state);
    }
  }

  function build(state) {
    const {text} = state.say;
    const button = make("button", {type: "button", id: "lab-measure"}, text("measure"));
    const status = make("output", {id: "lab-lengths-status"});
    const figure = make("figure"), table = make("div", {className: "grown"});
    const value = state.grown ?? SETTINGS.longest;
    const slider = make("input", {id: "lab-grow", type: "range", min: 1, max: LONGEST, value});
    const shown = make("output", {htmlFor: "lab-grow"});
    const grow = make("label", {}, `${text("grow")} `, slider, shown);
    const after = make("p", {}, text("lengthsAfter", {longest: SETTINGS.longest}));
    button.addEventListener("click", () => measure(state));
    slider.addEventListener("input", () => { state.grown = Number(slider.value); refresh(state); });
    state.parts.lengths.append(make("h3", {}, text("lengths")),
      make("p", {className: "faint"}, text("lengthsLead", {longest: SETTINGS.longest, most: LONGEST})),
      make("p", {className: "buttons"}, button, status), figure, grow, table, after);
    state.parts.growth = {button, status, figure, slider, shown, grow, table, after};
  }

  function refresh(state) {
    const {say: {text}, parts: {growth}, lengths} = state;
    growth.button.disabled = !state.steps || state.isMeasuring;
    growth.status.textContent = state.isMeasuring ? text("measuring")
      : lengths ? text("lengthsDone", {steps: lengths.steps, count: EACH})
      : state.steps ? "" : text("lengthsFirst");
    for (const part of ["figure", "grow", "table", "after"]) growth[part].hidden = !lengths;
    if (!lengths) return;
    if (growth.drawn !== lengths) paint(state);
    paintList(state);
    growth.drawn = lengths;
  }

  function paint(state) {
    const {say: {text, number}, parts: {growth: {figure}}, lengths} = state;
    const series = lengths.found.map(({name, shares}) => ({name: text(`short.${name}`), kind: name,
      points: shares.map((share, at) => [at + 1, 100 * share])}));
    const place = make("div"), title = text("curveLengths");
    const last = lengths.found.map(({name, shares}) =>
      `${text(`short.${name}`)} ${shares.map(share => number(100 * share)).join(" ")}`).join("; ");
    curves(place, series, {x: text("length"), most: LONGEST, top: 100, dots: true,
      number: y => number(y), label: text("curveSays", {title, x: text("length"), last}),
      mark: {x: SETTINGS.longest, text: text("trained")}});
    figure.replaceChildren(make("figcaption", {}, title), place);
  }

  const sign = symbol => symbol === undefined ? "·" : symbol === Lab.lists.BEGIN ? "?" : symbol;

  /** The list as long as the slider says, and what each model writes, mistakes marked. */
  function paintList(state) {
    const {say: {text}, parts: {growth: {slider, shown, table}}, lengths} = state;
    const length = Number(slider.value), list = growing[length - 1], wanted = [...list].reverse();
    shown.textContent = String(length);
    const row = (name, digits, note = "") => make("tr", {}, make("th", {scope: "row"}, name),
      make("td", {className: "digits"}, ...digits), make("td", {}, note));
    const rows = [row(text("list"), [list.join(" ")]), row(text("wanted"), [wanted.join(" ")])];
    for (const {name, written} of lengths.found) {
      const found = written[length - 1], size = Math.max(found.length, length);
      const digits = [];
      let wrong = 0;
      for (let at = 0; at < size; at++) {
        const isRight = found[at] === wanted[at], digit = sign(found[at]);
        wrong += !isRight;
        digits.push(isRight ? `${digit} ` : make("mark", {}, String(digit)), isRight ? "" : " ");
      }
      rows.push(row(text(`names.${name}`), digits, wrong ? text("mistakesHere", {count: wrong}) : text("right")));
    }
    table.replaceChildren(make("table", {}, make("tbody", {}, ...rows)));
  }

  Lab.lengths = {LONGEST, EACH, measured, build, refresh};
})();
