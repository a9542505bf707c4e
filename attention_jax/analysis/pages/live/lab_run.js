"use strict";
// Training in slices: what the buttons of the lab do to its state. The page lives between two steps.
(() => {
  const {NAMES} = Lab.models;
  const {SETTINGS} = Lab.training;
  const EXAMPLE = [3, 1, 4, 1, 5, 9, 2], EVERY = 25, FRESH = 256, MOST = 3000, TARGET = 0.95;
  const pause = () => new Promise(after => setTimeout(after));

  async function begin(state) {
    if (state.phase === "training") return;
    if (!state.score) await Lab.judge(state);
    if (!state.models.length && !prepare(state)) return Lab.refresh(state);
    state.phase = "training";
    Lab.refresh(state);
    state.loop = run(state);
  }

  async function halt(state) {
    if (state.phase === "training") state.phase = "stopped";
    Lab.refresh(state);
    await state.loop;
  }

  async function restart(state) {
    await halt(state);
    for (const {trainee} of state.models) trainee.free();
    Object.assign(state, {models: [], steps: 0, seconds: 0, lengths: null, phase: "idle"});
    await begin(state);
  }

  /** New models of the line; false if it is no score, or no model is chosen. */
  function prepare(state) {
    const names = NAMES.filter(name => state.chosen[name]);
    if (!state.score || !names.length) return false;
    state.seed++;
    state.trained = state.score.text;
    state.random = Lab.random(1000 + state.seed);
    state.judges = Lab.random(2000 + state.seed);
    state.models = names.map(name => ({name, trainee: Lab.training.trainee(name, state.score, state.seed),
      losses: [], recent: [], exact: [], weights: null, reached: null, broken: false}));
    return true;
  }

  /** Trains until it is stopped, all models on the same lists; the page lives between two steps. */
  async function run(state) {
    try {
      await pause();
      while (state.phase === "training" && state.steps < MOST) {
        const from = performance.now();
        const lists = Lab.lists.lists(state.random, SETTINGS.batch, SETTINGS.longest);
        for (const model of working(state)) {
          note(model, await model.trainee.step(lists), state.steps + 1);
          await pause();
        }
        state.steps++;
        state.seconds += (performance.now() - from) / 1000;
        if (!working(state).length) break;
        if (state.steps % EVERY === 0 || state.steps === 5) await measure(state);
        Lab.redraw(state);
      }
      if (state.phase === "training") state.phase = "ended";
      await measure(state);
    } catch (error) {
      Object.assign(state, {phase: "failed", failure: String(error.message ?? error)});
    }
    Lab.refresh(state);
  }

  const working = state => state.models.filter(model => !model.broken);

  function note(model, loss, step) {
    if (!Number.isFinite(loss)) { model.broken = true; return; }
    model.recent.push(loss);
    if (model.recent.length < 5 && model.losses.length) return;
    model.losses.push([step, model.recent.reduce((a, b) => a + b) / model.recent.length]);
    model.recent = [];
  }

  /** Exactness on fresh lists, and the weights of the example. */
  async function measure(state) {
    const tests = Lab.lists.lists(state.judges, FRESH, SETTINGS.longest);
    for (const model of working(state)) {
      let right = 0;
      for (let at = 0; at < FRESH; at += SETTINGS.batch) {
        const found = await model.trainee.exact(tests.slice(at, at + SETTINGS.batch), SETTINGS.longest);
        right += found.filter(is => is).length;
        await pause();
      }
      const share = right / FRESH;
      if (model.exact.at(-1)?.[0] === state.steps) model.exact.pop();
      model.exact.push([state.steps, share]);
      model.reached ??= share >= TARGET ? {steps: state.steps, seconds: state.seconds} : null;
      const example = [EXAMPLE, ...tests.slice(1, SETTINGS.batch)];
      model.weights = await model.trainee.look(example, SETTINGS.longest);
      model.loss = model.losses.at(-1)?.[1];
    }
  }

  Lab.pause = pause;
  Lab.run = {EXAMPLE, FRESH, MOST, begin, halt, restart};
})();
