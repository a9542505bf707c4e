"use strict";
// What the lab shows of its state: buttons, words beside the line, cards, curves.
(() => {
  const {make, curves, matrix} = Lab.draw;
  const {NAMES, WIDTH} = Lab.models;
  const {SETTINGS} = Lab.training;
  const {EXAMPLE, FRESH, MOST} = Lab.run;

  /** `refresh`, at most four times a second. */
  function redraw(state) {
    if (performance.now() - (state.drawn ?? 0) < 250) return;
    state.drawn = performance.now();
    refresh(state);
  }

  function refresh(state) {
    const {parts, say: {text, number}} = state;
    const {phase, steps, seed} = state, isRunning = phase === "training";
    parts.train.textContent = text(isRunning ? "stop" : state.models.length ? "go" : "train");
    const begins = state.models.length > 0, may = state.score && anyChosen(state);
    parts.train.disabled = phase === "failed" || steps >= MOST || (!begins && !may);
    parts.again.disabled = !begins || !may;
    const values = {steps, seed, seconds: number(state.seconds, 0), message: state.failure};
    set(parts.status, text(isRunning && !steps ? "starting" : phase, values));
    remark(state);
    paintCards(state);
    paintCurves(state);
    Lab.lengths.refresh(state);
  }

  const anyChosen = state => NAMES.some(name => state.chosen[name]);
  const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  function remark(state) {
    const {parts: {line, message}, say} = state;
    const {score, mistake} = state;
    message.classList.toggle("bad", Boolean(mistake));
    line.setAttribute("aria-invalid", String(Boolean(mistake)));
    if (mistake) return set(message, say.mistake(mistake));
    if (!score) return set(message, say.text("checking"));
    const unused = score.tree.names.slice(0, 2).filter((_, at) => !score.uses[at]).join(", ");
    const names = score.learned.map(name => `${score.tree.names[2]}.${name}`).join(", ");
    const said = unused ? say.text("unused", {names: unused})
      : names ? say.text("goodLearned", {names}) : say.text("good");
    const isOther = state.models.length && state.trained !== score.text;
    set(message, isOther ? `${said} ${say.text("other", {text: state.trained})}` : said);
  }

  const blankCard = () => make("article", {}, make("h3"),
    ...["about", "exact", "now"].map(className => make("p", {className})), make("figure"));

  function paintCards(state) {
    const {parts, say: {text, number, percent}} = state;
    const chosen = NAMES.filter(name => state.chosen[name]).map(name => ({name}));
    const shown = state.models.length ? state.models : chosen;
    while (parts.cards.children.length > shown.length) parts.cards.lastChild.remove();
    shown.forEach((model, at) => {
      const card = parts.cards.children[at] ?? parts.cards.appendChild(blankCard());
      const [title, about, exact, now, figure] = card.children;
      card.className = model.name;
      set(title, text(`names.${model.name}`));
      set(about, text(`about.${model.name}`, {d: WIDTH}));
      const last = model.exact?.at(-1), loss = model.losses?.at(-1);
      set(exact, last ? text("exact", {share: percent(last[1])}) : text("exactNone"));
      exact.title = text("exactHelp", {count: FRESH, longest: SETTINGS.longest});
      const notes = [loss && text("loss", {loss: number(loss[1], 3)}), model.reached && text("reached",
        {steps: model.reached.steps, seconds: number(model.reached.seconds, 0)})];
      set(now, model.broken ? text("broken") : notes.filter(note => note).join("; "));
      paintMatrix(state, model, figure);
    });
  }

  function paintMatrix(state, model, figure) {
    const {say: {text, number}} = state;
    if (model.name === "gru") return figure.replaceChildren(make("figcaption", {}, text("noMatrix")));
    if (!model.weights) return figure.replaceChildren();
    if (figure.weights === model.weights && figure.say === state.say) return;
    Object.assign(figure, {weights: model.weights, say: state.say});
    const end = text("end"), columns = [...EXAMPLE, end], rows = [...[...EXAMPLE].reverse(), end];
    const most = model.weights.map(row => row.indexOf(Math.max(...row)));
    const pairs = rows.map((row, t) => text("matrixPair",
      {row, column: columns[most[t]], weight: number(model.weights[t][most[t]], 2)})).join("; ");
    const label = text("matrixSays", {name: text(`names.${model.name}`), pairs});
    const place = make("div");
    matrix(place, {rows, columns, weights: model.weights, kind: model.name, label, number});
    figure.replaceChildren(make("figcaption", {}, text("matrix", {list: EXAMPLE.join(" ")})), place,
      make("figcaption", {}, `${text("matrixAxes")}; ${text("legend")}`));
  }

  function paintCurves(state) {
    const {parts, say: {text, number}} = state;
    const most = Math.max(100, state.steps);
    const both = [["loss", "losses", 3, 1, 1], ["exact", "exact", 100, 100, 0]];
    for (const [part, what, top, scale, digits] of both) {
      const title = text(what === "losses" ? "curveLoss" : "curveExact");
      const series = state.models.map(model => ({name: text(`short.${model.name}`), kind: model.name,
        points: model[what].map(([x, y]) => [x, scale * y])}));
      const place = make("div");
      curves(place, series, {x: text("steps"), most, top, number: y => number(y, digits),
        label: spoken(state, title, text("steps"), series, digits)});
      parts[part].hidden = !state.models.length;
      parts[part].replaceChildren(make("figcaption", {}, title), place);
    }
  }

  /** A picture of curves in words: their last values. */
  function spoken({say: {text, number}}, title, x, series, digits) {
    const last = series.filter(({points}) => points.length)
      .map(({name, points}) => `${name} ${number(points.at(-1)[1], Math.max(digits, 1))}`).join("; ");
    return text("curveSays", {title, x, last: last || "–"});
  }

  Object.assign(Lab, {refresh, redraw, spoken});
})();
