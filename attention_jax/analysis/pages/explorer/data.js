"use strict";
// data.sentences[n].readings[run].maps[place]: {shape [l h t s], zero, exact, entropy, distance,
// information, error, rest: [l][h]; codes, steps: base64 of zlib}. A weight is (code - zero) * step of its row.
const data = JSON.parse(document.getElementById("data").textContent);
const PLACES = ["encoder", "decoder", "cross"];
const SPECIAL = new Set(["<bos>", "<eos>", "<pad>"]);
const THUMB = 84, LEAST_THUMB = 46, MOST_CELL = 52, LEAST_CELL = 3, LEAST_TEXT = 9, TALLEST = 900;
const $ = id => document.getElementById(id);
const state = {place: null, sentence: 0, scale: "whole"};
let panels = [];

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const plain = token => token.replace(/[▁Ġ]/g, " ").trim();
const shown = token => plain(token) || "␣";
// Text that runs to the left, or asks for it, turns nothing around it.
const LEFTWARD = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\p{Bidi_Control}]/u;
const apart = text => LEFTWARD.test(text)
  ? `\u2068${text.replace(/\p{Bidi_Control}/gu, "")}\u2069` : text;
const listed = texts => texts.length < 2 ? texts.join("")
  : `${texts.slice(0, -1).join(", ")} and ${texts.at(-1)}`;
const quoted = token => `“${apart(shown(token))}”`;

// ---- Data -------------------------------------------------------------------------------------

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** Unpacks a map once; `map.at(l, h, i, j)` is then a weight. */
async function open(map) {
  if (map.at) return map;
  const [codes, steps] = await Promise.all([unpack(map.codes), unpack(map.steps)]);
  const code = new Uint8Array(codes), step = new Float32Array(steps);
  const [, heads, t, s] = map.shape;
  map.at = (l, h, i, j) => {
    const row = (l * heads + h) * t + i;
    return (code[row * s + j] - map.zero) * step[row];
  };
  return map;
}

const range = n => Array.from({length: n}, (_, i) => i);

/** All that the page holds, with weights as numbers; heads without weights have null. */
async function everything() {
  const place = async map => {
    const {at, codes, steps, zero, ...rest} = await open(map);
    const [l, h, t, s] = map.shape;
    const weights = range(l).map(a => range(h).map(b => map.exact[a][b] ? range(t).map(
      i => range(s).map(j => Number(map.at(a, b, i, j).toPrecision(4)))) : null));
    return {...rest, weights};
  };
  const sentences = [];
  for (const {text, readings} of data.sentences) {
    const read = [];
    for (const reading of readings) {
      const maps = {};
      for (const name of Object.keys(reading.maps)) maps[name] = await place(reading.maps[name]);
      read.push({...reading, maps});
    }
    sentences.push({text, readings: read});
  }
  return {runs: data.runs, sentences};
}

async function download() {
  const blob = new Blob([JSON.stringify(await everything())], {type: "application/json"});
  const link = make("a", {href: URL.createObjectURL(blob), download: "attention.json"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- Filter -----------------------------------------------------------------------------------

function isHidden(token) {
  const text = plain(token).toLowerCase();
  const words = $("words").value.toLowerCase().split(/\s+/).filter(word => word);
  return ($("punctuation").checked && /^[\p{P}\p{S}]+$/u.test(text) && text !== "")
    || ($("special").checked && SPECIAL.has(text)) || words.includes(text);
}

const visible = tokens => range(tokens.length).filter(i => !isHidden(tokens[i]));

// ---- Colors -----------------------------------------------------------------------------------

function colors() {
  const style = getComputedStyle(document.documentElement);
  const name = key => style.getPropertyValue(`--${key}`).trim();
  const rgb = key => [1, 3, 5].map(at => parseInt(name(key).slice(at, at + 2), 16));
  return {card: rgb("card"), more: rgb("more"), less: rgb("less"), ink: name("ink"),
    faint: name("faint"), link: name("link"), line: name("line")};
}

/**
 * A small canvas with one pixel a weight; `peak` is full color. Of more than `most` rows or columns
 * several share a pixel, which shows the largest.
 */
function pixels(canvas, map, [l, h], rows, columns, peak, palette, most = Infinity) {
  const width = canvas.width = Math.max(Math.min(columns.length, most), 1);
  const height = canvas.height = Math.max(Math.min(rows.length, most), 1);
  const shares = new Float32Array(width * height);
  rows.forEach((i, row) => columns.forEach((j, column) => {
    const at = Math.floor(row * height / rows.length) * width
      + Math.floor(column * width / columns.length);
    const share = peak > 0 ? map.at(l, h, i, j) / peak : 0;
    if (Math.abs(share) > Math.abs(shares[at])) shares[at] = share;
  }));
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  shares.forEach((share, at) => {
    const end = share < 0 ? palette.less : palette.more;
    for (let c = 0; c < 3; c++) {
      image.data[4 * at + c] = palette.card[c] + Math.abs(share) * (end[c] - palette.card[c]);
    }
    image.data[4 * at + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function peakOf(map, [l, h], rows, columns) {
  let most = 0, least = 0;
  for (const i of rows) for (const j of columns) {
    const weight = map.at(l, h, i, j);
    if (weight > most) most = weight;
    if (weight < least) least = weight;
  }
  return {most, least, peak: Math.max(most, -least)};
}

