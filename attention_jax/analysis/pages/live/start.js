"use strict";
// Reads the page's data, starts the model and the panels.
const Page = (() => {
  const {own, state} = App;

  function examples(texts) {
    $("examples").replaceChildren(...texts.map(text => make("button", {type: "button", onclick: () => {
      $("text").value = text;
      $("text").dispatchEvent(new Event("input"));
    }}, text)));
  }

  /** The languages of the page, and what is said in them. */
  function speak(code) {
    language = code;
    putWords();
    for (const button of document.querySelectorAll("[data-language]")) {
      button.setAttribute("aria-pressed", button.dataset.language === code);
    }
    $("model").textContent = say("model", own.data);
    const reasons = own.data.reasons.map(([key, name]) => say(`reasons.${key}`, {name}));
    $("recorded").hidden = !reasons.length;
    $("recorded").textContent = reasons.length
      ? `${say("recorded")}${reasons.join(" ")} ${say("recordedRest")}` : "";
    if (typeof Lab !== "undefined") Lab.start($("lab"), code);
    if (own.base) App.render();
  }

  /** A page of a model that it cannot compute: the recorded maps of some sentences. */
  function startRecorded() {
    $("live-input").hidden = true;
    $("recorded-input").hidden = false;
    $("recorded-choice").replaceChildren(...own.data.recorded.map(({text}, n) =>
      make("option", {value: n}, text)));
    const choose = n => {
      own.base = own.data.recorded[n].reading;
      App.look({row: 0, column: 0});
    };
    $("recorded-choice").addEventListener("change", event => choose(Number(event.target.value)));
    choose(0);
  }

  async function startLive() {
    $("text").disabled = true;
    await Engine.start();
    own.tokenizer = new Tokenizer(own.data.model.tokenizer);
    own.model = new Model(own.data.model);
    Steps.start();
    Edit.start();
    $("text").disabled = false;
    $("text").value = state.text = own.data.examples[0] ?? "";
    examples(own.data.examples);
    App.compute();
    // The first reading compiles; the second says how long one takes.
    App.compute();
    Replay.start();
    Growth.start();
  }

  async function start() {
    own.data = JSON.parse($("data").textContent);
    $("lab-frame").hidden = typeof Lab === "undefined";
    for (const button of document.querySelectorAll("[data-language]")) {
      button.addEventListener("click", () => speak(button.dataset.language));
    }
    Look.start();
    speak(language);
    if (own.data.model) await startLive();
    else startRecorded();
    document.body.dataset.ready = "yes";
  }

  return {start};
})();

Page.start();
