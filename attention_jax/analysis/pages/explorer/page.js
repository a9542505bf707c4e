// ---- The page ---------------------------------------------------------------------------------

async function show() {
  await Promise.all(panels.map(panel => panel.show()));
  const count = panels.reduce((sum, panel) => sum + panel.hiddenCount, 0);
  $("hidden").textContent = count ? `${count} of the rows and columns hidden; the rest is not rescaled` : "";
  document.body.dataset.ready = `${state.sentence} ${state.place}`;
  keepLink();
}

function select(place, focus = false) {
  state.place = place;
  for (const tab of $("tabs").children) {
    const chosen = tab.id === `tab-${place}`;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen) $("runs").setAttribute("aria-labelledby", tab.id);
    if (chosen && focus) tab.focus();
  }
  return show();
}

function start() {
  const readings = data.sentences.flatMap(sentence => sentence.readings);
  const places = PLACES.filter(place => readings.some(reading => reading.maps[place]));
  for (const node of document.querySelectorAll("[data-word]")) {
    node.textContent = words[node.dataset.word];
  }
  $("runs").classList.toggle("alone", data.runs.length === 1);
  // A picture has no tokens that one could hide.
  $("hide").hidden = data.of === "picture";
  document.title = `Attention: ${data.runs.map(run => run.name).join(" and ")}`;
  panels = data.runs.map((_, run) => new Panel(run));
  for (const place of places) {
    const tab = make("button", {type: "button", role: "tab", id: `tab-${place}`,
      "aria-controls": "runs"}, words.titles[place]);
    tab.addEventListener("click", () => select(place));
    $("tabs").append(tab);
  }
  $("tabs").hidden = !places.length;
  $("tabs").addEventListener("keydown", event => {
    const n = places.length, at = places.indexOf(state.place);
    const to = {ArrowLeft: at + n - 1, ArrowRight: at + 1, Home: 0, End: n - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(places[to % n], true);
  });
  data.sentences.forEach(({text}, number) => $("sentence").append(
    make("option", {value: number}, text.length > 90 ? `${text.slice(0, 89)}…` : text)));
  $("sentence").addEventListener("change", event => {
    state.sentence = Number(event.target.value);
    show();
  });
  for (const id of ["punctuation", "special", "words"]) $(id).addEventListener("input", show);
  document.querySelector("form").addEventListener("submit", event => event.preventDefault());
  $("download").addEventListener("click", download);
  $("largest").addEventListener("input", event => {
    state.scale = event.target.checked ? "largest" : "whole";
    for (const panel of panels) panel.redraw();
    keepLink();
  });
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    for (const panel of panels) if (panel.options) panel.point(null, false);
    keepLink();
  });
  const redraw = () => panels.forEach(panel => panel.redraw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(redraw);
  });
  addEventListener("hashchange", () => select(readLink(places) || state.place));
  select(readLink(places) || (places.includes("cross") ? "cross" : places[0]));
}

start();
