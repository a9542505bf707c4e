"use strict";
// The lab in a page: what stands where, and what the buttons do. `Lab.start` may be called again on
// its element, with another language: training goes on.
(() => {
  const {make} = Lab.draw;
  const {NAMES, WIDTH} = Lab.models;

  /** What is known of a lab, apart from its page. */
  const fresh = () => ({preset: "scaled", text: Lab.score.PRESETS.scaled, seed: 0, phase: "idle",
    score: null, mistake: null, chosen: Object.fromEntries(NAMES.map(name => [name, true])),
    models: [], steps: 0, seconds: 0, lengths: null, loop: null, number: 0});

  /** Builds the lab in an element, in a language: "en" or "es". */
  function start(element, language) {
    const state = element.lab ?? (element.lab = fresh());
    state.say = Lab.speaker(language);
    element.classList.add("lab");
    element.lang = language;
    state.parts = build(state);
    element.replaceChildren(...state.parts.all);
    Lab.lengths.build(state);
    Lab.refresh(state);
    if (!state.score && !state.mistake) judge(state);
    return state;
  }

  // ---- What stands in the page --------------------------------------------------------------------

  function build(state) {
    const {text} = state.say;
    const options = [...Object.keys(Lab.score.PRESETS), "own"].map(name =>
      make("option", {value: name, selected: name === state.preset}, text(`presets.${name}`)));
    const preset = make("select", {id: "lab-preset"}, ...options);
    const line = make("input", {id: "lab-line", type: "text", value: state.text, maxLength: 300,
      spellcheck: false, autocomplete: "off", autocapitalize: "off",
      "aria-describedby": "lab-message"});
    const message = make("output", {id: "lab-message", htmlFor: "lab-line"});
    const train = make("button", {type: "submit", id: "lab-train"});
    const again = make("button", {type: "button", id: "lab-again"}, text("again"));
    const status = make("span", {id: "lab-status"});
    const form = make("form", {},
      make("label", {}, text("preset"), preset),
      make("label", {className: "line"}, text("line"), line), message,
      help(state), choice(state),
      make("p", {className: "buttons"}, train, again, status));
    const cards = make("div", {className: "cards"});
    const loss = make("figure"), exact = make("figure");
    const lengths = make("section", {className: "lengths"});
    wire(state, {preset, line, form, again});
    return {preset, line, message, train, again, status, cards, loss, exact, lengths,
      all: [make("p", {className: "faint"}, text("lead")), form, cards,
        make("div", {className: "curves"}, loss, exact), lengths]};
  }

  function help({say: {text}}) {
    const functions = Object.keys(Lab.score.FUNCTIONS).join(", ");
    return make("details", {}, make("summary", {}, text("help")),
      make("p", {}, text("helpText", {d: WIDTH, functions})), make("p", {}, text("where")));
  }

  function choice(state) {
    const {text} = state.say;
    return make("fieldset", {}, make("legend", {}, text("models")), ...NAMES.map(name => {
      const box = make("input", {type: "checkbox", checked: state.chosen[name], value: name});
      box.addEventListener("change", () => { state.chosen[name] = box.checked; Lab.refresh(state); });
      return make("label", {}, box, ` ${text(`names.${name}`)}`);
    }));
  }

  function wire(state, {preset, line, form, again}) {
    preset.addEventListener("change", () => {
      state.preset = preset.value;
      if (preset.value === "own") line.focus();
      else write(state, Lab.score.PRESETS[preset.value]);
    });
    line.addEventListener("input", () => {
      const known = Object.entries(Lab.score.PRESETS).find(([, text]) => text === line.value.trim());
      preset.value = state.preset = known ? known[0] : "own";
      write(state, line.value);
    });
    form.addEventListener("submit", event => {
      event.preventDefault();
      if (state.phase === "training") Lab.run.halt(state); else Lab.run.begin(state);
    });
    again.addEventListener("click", () => Lab.run.restart(state));
  }

  function write(state, text) {
    state.text = text;
    if (state.parts.line.value !== text) state.parts.line.value = text;
    state.score = state.mistake = null;
    clearTimeout(state.waiting);
    state.waiting = setTimeout(() => judge(state), 250);
    Lab.refresh(state);
  }

  /** Tries the line, and says beside it what it found; only the last line counts. */
  async function judge(state) {
    clearTimeout(state.waiting);
    const number = ++state.number;
    let found = null, mistake = null;
    try { found = await Lab.score.check(state.text, WIDTH); } catch (error) { mistake = error; }
    if (number !== state.number) return;
    Object.assign(state, {score: found, mistake});
    Lab.refresh(state);
  }

  Object.assign(Lab, {start, judge});
})();
