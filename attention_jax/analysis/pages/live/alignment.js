"use strict";
// Spectrogram and alignment on one axis of time, and a cursor that goes with the sound.
const colors = () => ({link: getComputedStyle(document.documentElement).getPropertyValue("--mark")});

const Alignment = (() => {
  const {state, own} = App;
  const TALL = 26;  // pixels of a row with a token beside it, as in recordings.css
  const LEAST = 3, HIGH = 240;  // pixels of a row without, and of the whole map of few rows
  let spectrogram = null, shownOf = "", isPlaying = false, drawnRow = -1;

  const weights = reading => headOf(reading.maps[state.place][state.layer].weights, state.head);
  const counts = reading => App.labels(state.place, reading).map(labels => labels.length);

  /** Where each position stands, as shares of the width: left, top, width, height. */
  function strips({seconds, step}, count) {
    return Array.from({length: count}, (_, j) => {
      const left = Math.min(j * step / seconds, 1);
      return [left, 0, Math.min(step / seconds, 1 - left), 1];
    });
  }

  function frame(count) {
    const one = Recordings.recording(), name = `${state.recording} ${language}`;
    if (name === shownOf) return;
    shownOf = name;
    spectrogram = new Picture({png: one.png, boxes: strips(one, count), about: say("spectrogram"),
      caption: ""});
    $("spectrogram").replaceChildren(spectrogram.node);
  }

  /** The whole map, a row of pixels a query; the largest weight of the head has the full color. */
  function map(reading) {
    const at = weights(reading), [t, s] = counts(reading), canvas = $("alignment");
    const width = canvas.clientWidth || 300, height = state.place === "cross" ? TALL
      : Math.min(Math.max(LEAST, Math.round(HIGH / t)), TALL);
    const scale = devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
    canvas.style.height = `${t * height}px`;
    [canvas.width, canvas.height] = [width * scale, t * height * scale].map(Math.round);
    const context = canvas.getContext("2d"), boxes = strips(Recordings.recording(), s);
    let peak = 1e-9;
    for (let i = 0; i < t; i++) for (let j = 0; j < s; j++) peak = Math.max(peak, at(i, j));
    context.scale(scale, scale);
    context.fillStyle = style.getPropertyValue("--more");
    for (let i = 0; i < t; i++) boxes.forEach(([left, , share], j) => {
      context.globalAlpha = Math.min(Math.max(at(i, j) / peak, 0), 1);
      context.fillRect(left * width, i * height, share * width + .5, height - (height > 4 ? 1 : 0));
    });
    canvas.setAttribute("aria-label", say("mapSaid", {rows: t, columns: s, peak: percent(peak)}));
  }

  /** The place in time at which a row looks most, in seconds. */
  function placeOf(row, reading) {
    const at = weights(reading), [, s] = counts(reading), {step} = Recordings.recording();
    let best = 0;
    for (let j = 1; j < s; j++) if (at(row, j) > at(row, best)) best = j;
    return (best + .5) * step;
  }

  function tokens(reading) {
    const isCross = state.place === "cross";
    const buttons = !isCross ? [] : reading.target.map((label, i) => make("button", {type: "button",
      "data-row": i, "aria-pressed": i === state.row, onclick: () => {
        $("sound").currentTime = Math.min(placeOf(i, reading), Recordings.recording().seconds);
        App.look({row: i});
        move();
      }}, plainToken(label)));
    roving(buttons, state.row, {down: 1});
    $("tokens-heard").hidden = !isCross;
    $("score").style.gridTemplateColumns = isCross ? "" : "1fr";
    keeping($("tokens-heard"), "data-row", buttons.map(button => make("li", {}, button)));
  }

  /** The position that sounds now. */
  function now(reading) {
    const [, s] = counts(reading);
    return Math.min(Math.floor($("sound").currentTime / Recordings.recording().step), s - 1);
  }

  /** A row as a veil over the spectrogram. */
  function veil(row, reading) {
    const at = weights(reading), [, s] = counts(reading);
    spectrogram.draw({weights: Array.from({length: s}, (_, j) => at(row, j)), marked: []});
    drawnRow = row;
  }

  /** Puts the cursor where the sound is, and says who looks there. */
  function move() {
    const reading = own.base, {seconds} = Recordings.recording(), at = weights(reading);
    $("cursor").style.left = `${100 * Math.min($("sound").currentTime / seconds, 1)}%`;
    const j = now(reading), [t] = counts(reading), time = fixed($("sound").currentTime);
    if (state.place === "encoder") {
      if (drawnRow !== j) veil(j, reading);
      $("moment").textContent = say("momentLooks", {time, place: fixed(placeOf(j, reading))});
      return;
    }
    let best = 0;
    for (let i = 1; i < t; i++) if (at(i, j) > at(best, j)) best = i;
    $("moment").textContent = say("momentSeen",
      {time, token: plainToken(reading.target[best]), weight: percent(at(best, j))});
    for (const button of $("tokens-heard").querySelectorAll("button")) {
      button.classList.toggle("now", Number(button.dataset.row) === best);
    }
  }

  function follow() {
    if (!isPlaying) return;
    move();
    requestAnimationFrame(follow);
  }

  function render(reading) {
    if (!reading.maps[state.place]?.length) return;
    const [t, s] = counts(reading);
    frame(s);
    tokens(reading);
    map(reading);
    drawnRow = -1;
    if (state.place === "cross") veil(Math.min(state.row, t - 1), reading);
    move();
  }

  function start() {
    App.panels.push(render);
    const sound = $("sound");
    sound.addEventListener("play", () => {
      isPlaying = true;
      follow();
    });
    for (const name of ["pause", "ended"]) sound.addEventListener(name, () => { isPlaying = false; });
    for (const name of ["seeked", "timeupdate"]) sound.addEventListener(name, () => move());
    $("time").addEventListener("click", event => {
      const box = $("time").getBoundingClientRect();
      sound.currentTime = (event.clientX - box.left) / box.width * Recordings.recording().seconds;
      move();
    });
    addEventListener("resize", () => { if (own.base) App.render(); });
  }

  return {start};
})();
