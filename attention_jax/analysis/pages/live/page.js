"use strict";
// Reads the page's data, and starts what a page of its kind consists of; the page's two languages.
const Page = (() => {
  const {own} = App;
  const heard = [];  // functions of a code, called when the language changes

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
    for (const f of heard) f(code);
    if (own.base) App.render();
  }

  /** `live` starts a page whose model computes, `recorded` one of what was computed before. */
  async function start({live, recorded}) {
    own.data = JSON.parse($("data").textContent);
    for (const button of document.querySelectorAll("[data-language]")) {
      button.addEventListener("click", () => speak(button.dataset.language));
    }
    Look.start();
    speak(language);
    if (own.data.model) {
      await Engine.start();
      await live();
    } else recorded();
    document.body.dataset.ready = "yes";
  }

  return {start, heard};
})();
