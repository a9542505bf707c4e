// ---- One run ----------------------------------------------------------------------------------

class Panel {
  constructor(run) {
    this.run = run;
    this.head = {};  // of each place, [layer, head]
    this.asked = {};  // places whose head was chosen, here or by the link
    this.kept = null;  // what the link selects, until it is shown
    this.node = make("section", {"aria-label": data.runs[run].name});
    $("runs").append(this.node);
  }

  async show() {
    const reading = data.sentences[state.sentence].readings[this.run], place = state.place;
    const map = reading.maps[place] && await open(reading.maps[place]);
    if (place !== state.place || reading !== data.sentences[state.sentence].readings[this.run]) return;
    this.map = map;
    this.active = this.locked = this.options = this.matrix = null;
    this.side = make("div", {class: "side"}, this.alternatives(reading));
    this.node.replaceChildren(make("header", {}, make("h2", {dir: "auto"}, data.runs[this.run].name),
      make("p", {class: "about", dir: "auto"}, data.runs[this.run].about)), this.side);
    this.hiddenCount = 0;
    if (!map) {
      this.map = null;
      this.node.append(make("p", {class: "warning"}, Object.keys(reading.maps).length
        ? `This model has no ${words.titles[place].toLowerCase()} attention.`
        : "This model has no attention."));
      return;
    }
    const before = reading.target.slice(0, -1);
    this.tokens = place === "encoder" || data.of === "text" ? [reading.source, reading.source]
      : [reading.target, place === "cross" ? reading.source : ["<bos>", ...before]];
    this.counts = this.tokens.map(counted);
    this.seen = this.tokens.map(visible);
    this.hiddenCount = this.tokens[0].length + this.tokens[1].length
      - this.seen[0].length - this.seen[1].length;
    this.telling = mostTelling(map);
    const [l, h] = this.asked[place] ? this.head[place] : this.telling;
    this.head[place] = [Math.min(l, map.shape[0] - 1), Math.min(h, map.shape[1] - 1)];
    this.view = make("div", {class: "view"});
    this.lists = make("div");
    this.side.append(this.heads(), this.lists);
    this.node.append(this.view);
    this.drawHeads();
    this.showHead();
    if (this.kept && this.options) this.point(this.kept, true);
    this.kept = null;
  }

  alternatives(reading) {
    const rows = reading.alternatives.map(([text, score]) =>
      make("tr", {}, make("td", {}, score.toFixed(3)), make("td", {dir: "auto"}, text || "(empty)")));
    return make("table", {class: "beam"},
      make("thead", {}, make("tr", {}, make("th", {scope: "col"}, words.score),
        make("th", {scope: "col"}, words.answer))), make("tbody", {}, ...rows));
  }

  // The thumbnails: a group of radio buttons, a row a layer.
  heads() {
    const [layers, heads] = this.map.shape;
    const group = make("div", {class: "heads", role: "radiogroup", "aria-label": "Head",
      style: `grid-template-columns: auto repeat(${heads}, max-content)`});
    this.thumbs = [];
    for (let l = 0; l < layers; l++) {
      group.append(make("span", {}, `Layer ${l + 1}`));
      for (let h = 0; h < heads; h++) group.append(this.thumb(l, h));
    }
    group.addEventListener("click", event => {
      const node = event.target.closest("[role=radio]");
      if (node) this.choose(...node.place);
    });
    group.addEventListener("keydown", event => {
      const [l, h] = this.head[state.place];
      const move = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
        Home: [0, -h], End: [0, heads - 1 - h]}[event.key];
      if (!move) return;
      event.preventDefault();
      this.choose((l + move[0] + layers) % layers, (h + move[1] + heads) % heads, true);
    });
    return make("div", {}, make("h3", {}, "Heads"),
      make("p", {class: "hint"}, `${words.about[state.place]} Opens at the head that says most: of `
        + "the largest I, the bits that knowing the row tells of the column; of a single row, of the "
        + `least H. H: entropy of a row, in bits${words.distance}; means of a head. Small maps are `
        + "colored up to the largest weight of each."), group);
  }

  thumb(l, h) {
    const facts = this.facts(l, h), exact = this.map.exact[l][h];
    const node = make("div", {role: "radio", "aria-checked": "false", tabindex: "-1",
      "aria-label": `Layer ${l + 1}, head ${h + 1}: ${facts.join(", ")}`},
    exact ? make("canvas", {"aria-hidden": "true"}) : make("div", {class: "none"}, "no weights"));
    if (exact) {
      node.append(make("span", {}, `I ${this.map.information[l][h].toFixed(2)}`),
        make("span", {}, `H ${this.map.entropy[l][h].toFixed(2)}`));
      if (words.distance) {
        node.append(make("span", {}, `d ${this.map.distance[l][h].toFixed(1)}`));
      }
    }
    node.place = [l, h];
    this.thumbs.push(node);
    return node;
  }

  facts(l, h) {
    if (!this.map.exact[l][h]) return ["no weights"];
    const facts = [`information ${this.map.information[l][h].toFixed(2)} bits`,
      `entropy ${this.map.entropy[l][h].toFixed(2)} bits`];
    return words.distance
      ? [...facts, `distance ${this.map.distance[l][h].toFixed(1)} ${words.parts}`] : facts;
  }

  drawHeads() {
    const palette = colors(), [rows, columns] = this.seen;
    const longest = Math.max(rows.length, columns.length, 1);
    const room = Math.floor((this.side.clientWidth - 80) / this.map.shape[1]) - 14;
    const side = Math.max(LEAST_THUMB, Math.min(THUMB, room));
    for (const node of this.thumbs) {
      const canvas = node.querySelector("canvas");
      if (!canvas) continue;
      pixels(canvas, this.map, node.place, rows, columns,
        peakOf(this.map, node.place, rows, columns).peak, palette, THUMB);
      canvas.style.width = `${Math.max(8, side * columns.length / longest)}px`;
      canvas.style.height = `${Math.max(8, side * rows.length / longest)}px`;
    }
  }

  choose(l, h, focus = false) {
    this.head[state.place] = [l, h];
    this.asked[state.place] = true;
    const {active, locked} = this;
    this.showHead();
    if (active && this.options) this.point(active, locked);
    keepLink();
    if (focus) this.thumbs.find(node => node.tabIndex === 0).focus();
  }

  // The large view of the chosen head.
  showHead() {
    const [l, h] = this.head[state.place], map = this.map;
    for (const node of this.thumbs) {
      const chosen = node.place[0] === l && node.place[1] === h;
      node.setAttribute("aria-checked", chosen);
      node.tabIndex = chosen ? 0 : -1;
    }
    this.active = this.locked = this.options = this.matrix = null;
    const most = l === this.telling[0] && h === this.telling[1] && this.thumbs.length > 1;
    this.view.replaceChildren(make("h3", {}, `Layer ${l + 1}, head ${h + 1}`,
      ...(most ? [make("span", {class: "hint"}, " says most")] : [])));
    if (!map.exact[l][h]) {
      const error = map.error[l][h];
      this.view.append(make("p", {class: "warning"}, "This head has no weights to show: its output "
        + "is not a sum of the values. " + (error < 0 ? "It is not finite."
        : `The sum by its weights is off by ${Math.round(100 * error)} % of the largest entry.`)));
      return;
    }
    const rest = map.rest[l][h];
    if (rest > 1e-4) this.view.append(make("p", {class: "hint"}, "The output also holds a part that "
      + `no value brings, of up to ${(100 * rest).toPrecision(2)} % of its largest entry.`));
    const [rows, columns] = this.seen;
    if (!rows.length || !columns.length) {
      this.view.append(make("p", {class: "warning"}, "All is hidden."));
      return;
    }
    this.said = make("output", {class: "said", "aria-live": "polite"});
    this.options = [0, 1].map(axis => this.list(axis));
    const lists = this.options.map((list, axis) =>
      make("div", {class: "axis"}, make("span", {}, words.says[state.place][axis]), list));
    // Long lists of parts stand beside their picture.
    this.lists.replaceChildren();
    (data.of === "picture" || data.of === "recording" ? this.lists : this.view).append(...lists);
    this.view.append(this.said);
    this.showPicture();
    this.matrix = new Matrix(this);
    this.view.append(this.matrix.frame, this.matrix.legend);
    this.matrix.draw();
    this.point(null, false);
  }

  // Where the source is an image or a sound.
  showPicture() {
    const {picture} = data.sentences[state.sentence].readings[this.run];
    this.picture = null;
    if (!picture || state.place === "decoder") return;
    // Parts that look at parts: a click asks what that part looks at.
    const axis = state.place === "encoder" && data.of === "picture" ? 0 : 1;
    const enter = index => {
      if (!this.locked && this.seen[axis].includes(index)) this.share({axis, indices: [index]}, false);
    };
    const leave = () => { if (!this.locked) this.share(null, false); };
    const pick = (index, more) => this.toggle(axis, index, more);
    this.picture = new Picture(picture, {enter, leave, pick});
    this.view.append(this.picture.node);
  }

  /** The weights of the chosen rows together; those of all rows where none is chosen. */
  drawPicture() {
    if (!this.picture) return;
    const [l, h] = this.head[state.place], {active} = this, [rows] = this.seen;
    const of = active && active.axis === 0 ? active.indices : rows;
    const weights = range(this.tokens[1].length).map(j =>
      of.reduce((sum, i) => sum + this.map.at(l, h, i, j), 0));
    const own = active && state.place === "encoder" && active.axis === 0 ? active.indices : [];
    this.picture.draw({weights, marked: active && active.axis === 1 ? active.indices : own});
  }

  list(axis) {
    const list = make("div", {role: "listbox", "aria-multiselectable": "true",
      "aria-label": `Tokens: ${words.says[state.place][axis]}`},
    ...this.seen[axis].map((index, order) => {
      const node = make("span", {role: "option", "aria-selected": "false", dir: "auto",
        tabindex: order ? "-1" : "0"}, shown(this.tokens[axis][index]));
      node.index = index;
      return node;
    }));
    const target = event => event.target.closest("[role=option]");
    const over = event => {
      const node = target(event);
      if (node && !this.locked) this.share({axis, indices: [node.index]}, false);
    };
    list.addEventListener("pointerover", over);
    list.addEventListener("pointerleave", () => { if (!this.locked) this.share(null, false); });
    list.addEventListener("focusin", event => {
      const node = target(event);
      if (!node) return;
      for (const other of list.children) other.tabIndex = other === node ? 0 : -1;
      over(event);
    });
    list.addEventListener("focusout", () => { if (!this.locked) this.share(null, false); });
    list.addEventListener("click", event => {
      if (target(event)) this.toggle(axis, target(event).index, isMore(event));
    });
    list.addEventListener("keydown", event => this.key(event, axis, target(event)));
    return list;
  }

  key(event, axis, node) {
    if (!node) return;
    const nodes = [...this.options[axis].children], at = nodes.indexOf(node);
    const to = {ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1,
      Home: 0, End: nodes.length - 1}[event.key];
    if (to !== undefined) {
      event.preventDefault();
      nodes[Math.max(0, Math.min(nodes.length - 1, to))].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.toggle(axis, node.index, event.key === " " || isMore(event));
    }
  }

  /** Keeps one token, or with `more` one more or less; what was kept alone is let go. */
  toggle(axis, index, more = false) {
    const kept = this.locked && this.active.axis === axis ? this.active.indices : [];
    const rest = kept.filter(other => other !== index), had = rest.length < kept.length;
    const indices = more ? (had ? rest : [...kept, index].sort((a, b) => a - b))
      : had && !rest.length ? [] : [index];
    this.share(indices.length ? {axis, indices} : {axis, indices: [index]}, indices.length > 0);
    keepLink();
  }

  /** Points here, and in the other runs where the axis has the same tokens. */
  share(active, locked) {
    for (const panel of panels) {
      if (!panel.options) continue;
      const axis = active ? active.axis : 0;
      const alike = panel === this
        || (active && panel.tokens[axis].join("\n") === this.tokens[axis].join("\n"));
      panel.point(alike ? (panel === this ? active : active && {axis, indices: active.indices}) : null,
        alike && locked);
    }
  }

  point(active, locked) {
    const indices = active ? active.indices.filter(i => this.seen[active.axis].includes(i)) : [];
    active = indices.length ? {...active, indices} : null;
    this.active = active;
    this.locked = locked && active !== null;
    const [l, h] = this.head[state.place];
    const one = active && active.axis === 0 ? (i, j) => this.map.at(l, h, i, j)
      : (i, j) => this.map.at(l, h, j, i);
    const weight = other => active.indices.reduce((sum, index) => sum + one(index, other), 0);
    this.options.forEach((list, axis) => {
      const isOther = active && axis !== active.axis;
      const weights = isOther ? this.seen[axis].map(weight) : [];
      const full = state.scale === "whole" && active ? this.matrix.whole * active.indices.length
        : Math.max(...weights.map(Math.abs), 1e-9);
      [...list.children].forEach((node, order) => {
        const chosen = active && !isOther && active.indices.includes(node.index);
        node.classList.toggle("active", Boolean(chosen || (isOther && active.cell === node.index)));
        node.setAttribute("aria-selected", Boolean(chosen && this.locked));
        const w = weights[order];
        node.style.backgroundColor = w ? `rgb(var(--shade-${w < 0 ? "less" : "more"}) / `
          + `${Math.min(1, Math.abs(w) / full).toFixed(3)})` : "";
      });
    });
    this.said.textContent = active ? sentenceOf(this, weight) : words.point;
    this.matrix.overlay();
    this.drawPicture();
  }

  redraw() {
    if (!this.map) return;
    this.drawHeads();
    if (!this.matrix) return;
    this.matrix.draw();
    this.point(this.active, this.locked);
  }
}

const isMore = event => event.shiftKey || event.ctrlKey || event.metaKey;

/** The head of the most information; where no head has any, as of a single row, of least entropy. */
function mostTelling(map) {
  const [layers, heads] = map.shape;
  const own = range(layers * heads).map(n => [Math.floor(n / heads), n % heads])
    .filter(([l, h]) => map.exact[l][h]);
  const value = ([l, h]) => map.shape[2] > 1 ? map.information[l][h] : -map.entropy[l][h];
  return own.reduce((best, head) => value(head) > value(best) ? head : best, own[0] || [0, 0]);
}
