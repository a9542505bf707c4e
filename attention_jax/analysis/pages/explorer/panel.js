// ---- One run ----------------------------------------------------------------------------------

class Panel {
  constructor(run) {
    this.run = run;
    this.head = {};  // of each place, [layer, head]
    this.node = make("section", {"aria-label": data.runs[run].name});
    $("runs").append(this.node);
  }

  async show() {
    const reading = data.sentences[state.sentence].readings[this.run], place = state.place;
    const map = reading.maps[place] && await open(reading.maps[place]);
    if (place !== state.place || reading !== data.sentences[state.sentence].readings[this.run]) return;
    this.map = map;
    this.active = this.locked = this.options = this.base = null;
    this.node.replaceChildren(make("h2", {dir: "auto"}, data.runs[this.run].name),
      make("p", {class: "about", dir: "auto"}, data.runs[this.run].about), this.alternatives(reading));
    this.hiddenCount = 0;
    if (!map) {
      this.map = null;
      this.node.append(make("p", {class: "warning"}, Object.keys(reading.maps).length
        ? `This model has no ${words.titles[place].toLowerCase()} attention.`
        : "This model has no attention."));
      return;
    }
    const before = reading.target.slice(0, -1);
    this.tokens = place === "encoder" ? [reading.source, reading.source]
      : [reading.target, place === "cross" ? reading.source : ["<bos>", ...before]];
    this.seen = this.tokens.map(visible);
    this.hiddenCount = this.tokens[0].length + this.tokens[1].length
      - this.seen[0].length - this.seen[1].length;
    const [l, h] = this.head[place] || [0, 0];
    this.head[place] = [Math.min(l, map.shape[0] - 1), Math.min(h, map.shape[1] - 1)];
    this.view = make("div");
    this.node.append(this.heads(), this.view);
    this.drawHeads();
    this.showHead();
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
      make("p", {class: "hint"}, words.about[state.place]
        + ` H: entropy of a row, in bits${words.distance}; means of a head.`), group);
  }

  thumb(l, h) {
    const facts = this.facts(l, h), exact = this.map.exact[l][h];
    const node = make("div", {role: "radio", "aria-checked": "false", tabindex: "-1",
      "aria-label": `Layer ${l + 1}, head ${h + 1}: ${facts.join(", ")}`},
    exact ? make("canvas", {"aria-hidden": "true"}) : make("div", {class: "none"}, "no weights"));
    if (exact) {
      node.append(make("span", {}, `H ${this.map.entropy[l][h].toFixed(2)}`));
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
    const entropy = `entropy ${this.map.entropy[l][h].toFixed(2)} bits`;
    return words.distance
      ? [entropy, `distance ${this.map.distance[l][h].toFixed(1)} ${words.parts}`] : [entropy];
  }

  drawHeads() {
    const palette = colors(), [rows, columns] = this.seen;
    const longest = Math.max(rows.length, columns.length, 1);
    const room = Math.floor((this.node.clientWidth - 110) / this.map.shape[1]) - 21;
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
    const {active, locked} = this;
    this.showHead();
    if (active && this.options) this.point(active, locked);
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
    this.active = this.locked = this.options = this.base = null;
    this.view.replaceChildren(make("h3", {}, `Layer ${l + 1}, head ${h + 1}`));
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
    this.view.append(...this.options.map((list, axis) =>
      make("div", {class: "axis"}, make("span", {}, words.says[state.place][axis]), list)), this.said);
    this.showPicture();
    this.matrix();
    this.point(null, false);
  }

  // Where the source is an image or a sound.
  showPicture() {
    const {picture} = data.sentences[state.sentence].readings[this.run];
    this.picture = null;
    if (!picture || state.place === "decoder") return;
    const enter = index => {
      if (!this.locked && this.seen[1].includes(index)) this.share({axis: 1, index}, false);
    };
    const leave = () => { if (!this.locked) this.share(null, false); };
    this.picture = new Picture(picture, {enter, leave, pick: index => this.toggle(1, index)});
    this.view.append(this.picture.node);
  }

  /** The weights of one row; those of all rows together where none is chosen. */
  drawPicture() {
    if (!this.picture) return;
    const [l, h] = this.head[state.place], {active} = this, [rows] = this.seen;
    const of = active && active.axis === 0 ? [active.index] : rows;
    const weights = range(this.tokens[1].length).map(j =>
      of.reduce((sum, i) => sum + this.map.at(l, h, i, j), 0));
    const own = active && state.place === "encoder" && active.axis === 0 ? [active.index] : [];
    this.picture.draw({weights, marked: active && active.axis === 1 ? [active.index] : own});
  }

  list(axis) {
    const list = make("div", {role: "listbox", "aria-label": `Tokens: ${words.says[state.place][axis]}`},
      ...this.seen[axis].map((index, order) => {
        const node = make("span", {role: "option", "aria-selected": "false", dir: "auto",
          tabindex: order ? "-1" : "0"}, shown(this.tokens[axis][index]));
        node.index = index;
        return node;
      }));
    const target = event => event.target.closest("[role=option]");
    const over = event => {
      const node = target(event);
      if (node && !this.locked) this.share({axis, index: node.index}, false);
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
    list.addEventListener("click", event => { if (target(event)) this.toggle(axis, target(event).index); });
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
      this.toggle(axis, node.index);
    }
  }

  toggle(axis, index) {
    const same = this.locked && this.active.axis === axis && this.active.index === index;
    this.share({axis, index}, !same);
  }

  /** Points here, and in the other runs where the axis has the same tokens. */
  share(active, locked) {
    for (const panel of panels) {
      if (!panel.options) continue;
      const axis = active ? active.axis : 0;
      const alike = panel === this
        || (active && panel.tokens[axis].join("\n") === this.tokens[axis].join("\n"));
      panel.point(alike ? (panel === this ? active : active && {axis, index: active.index}) : null,
        alike && locked);
    }
  }

  point(active, locked) {
    if (active && !this.seen[active.axis].includes(active.index)) active = null;
    this.active = active;
    this.locked = locked && active !== null;
    const [l, h] = this.head[state.place];
    const weight = (axis, index) => axis === active.axis ? null : active.axis === 0
      ? this.map.at(l, h, active.index, index) : this.map.at(l, h, index, active.index);
    this.options.forEach((list, axis) => {
      const weights = active ? this.seen[axis].map(index => weight(axis, index)) : [];
      const peak = Math.max(...weights.map(Math.abs), 1e-9);
      [...list.children].forEach((node, order) => {
        const chosen = active && active.axis === axis && node.index === active.index;
        node.classList.toggle("active", chosen || Boolean(active && active.cell === node.index
          && active.axis !== axis));
        node.setAttribute("aria-selected", Boolean(chosen && this.locked));
        const w = weights[order];
        node.style.backgroundColor = w ? `rgb(var(--shade-${w < 0 ? "less" : "more"}) / `
          + `${(Math.abs(w) / peak).toFixed(3)})` : "";
      });
    });
    this.say(active, weight);
    this.overlay();
    this.drawPicture();
  }

  say(active, weight) {
    if (!active) {
      this.said.textContent = words.point;
      return;
    }
    const other = 1 - active.axis, tokens = this.tokens[other];
    const all = this.seen[other].map(index => [index, weight(other, index)]);
    const sum = all.reduce((total, [, w]) => total + w, 0);
    const best = all.filter(([, w]) => w).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 5);
    const list = best.map(([index, w]) => `${quoted(tokens[index])} ${w.toFixed(3)}`).join(", ");
    const cell = active.cell === undefined ? "" : `${quoted(tokens[active.cell])}: `
      + `${weight(other, active.cell).toFixed(4)}. `;
    const verb = active.axis ? "gives most to" : "draws most from";
    this.said.textContent = `${quoted(this.tokens[active.axis][active.index])} ${cell}`
      + (best.length ? `${verb} ${list}; all that is shown: ${sum.toFixed(2)}` : "has no weights")
      + (this.locked ? " (kept)" : "");
  }

  // The heat map: cells and labels on one canvas, the cross on another above it.
  matrix() {
    const frame = make("div", {class: "matrix"});
    this.base = make("canvas", {role: "img", "aria-label": "Heat map of the weights; the lists of "
      + "tokens above give the same weights as text"});
    this.cross = make("canvas", {"aria-hidden": "true"});
    frame.append(this.base, this.cross);
    this.legend = make("div", {class: "legend"});
    this.view.append(frame, this.legend);
    const cell = event => {
      const {left, top, size} = this.layout, box = this.cross.getBoundingClientRect();
      const row = this.seen[0][Math.floor((event.clientY - box.top - top) / size)];
      const column = this.seen[1][Math.floor((event.clientX - box.left - left) / size)];
      return row === undefined || column === undefined ? null : {axis: 0, index: row, cell: column};
    };
    this.cross.addEventListener("pointermove", event => {
      if (!this.locked) this.share(cell(event), false);
    });
    this.cross.addEventListener("pointerleave", () => { if (!this.locked) this.share(null, false); });
    this.cross.addEventListener("click", event => {
      const found = cell(event);
      if (found) this.toggle(0, found.index);
    });
    this.drawMatrix();
  }

  drawMatrix() {
    const palette = colors(), [rows, columns] = this.seen, head = this.head[state.place];
    const context = this.base.getContext("2d"), labels = this.labels();
    context.font = "13px system-ui, sans-serif";
    const widest = texts => Math.min(130, Math.max(...texts.map(t => context.measureText(t).width)) + 10);
    const left = widest(labels[0]), room = this.node.clientWidth - 40 - left;
    const size = Math.max(LEAST_CELL, Math.min(MOST_CELL, Math.floor(room / columns.length),
      Math.floor(TALLEST / rows.length)));
    const upright = size >= 14 && labels[1].every(text => text.length < 3);
    const top = upright ? 22 : widest(labels[1]);
    this.layout = {left, top, size, upright, font: `${Math.min(13, Math.max(size, LEAST_TEXT))}px `
      + "system-ui, sans-serif"};
    const width = left + size * columns.length + 2, height = top + size * rows.length + 2;
    for (const canvas of [this.base, this.cross]) {
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
    const cells = make("canvas"), found = peakOf(this.map, head, rows, columns);
    pixels(cells, this.map, head, rows, columns, found.peak, palette);
    context.imageSmoothingEnabled = false;
    context.drawImage(cells, left, top, size * columns.length, size * rows.length);
    context.strokeStyle = palette.line;
    context.strokeRect(left - .5, top - .5, size * columns.length + 1, size * rows.length + 1);
    if (size >= LEAST_TEXT) for (const axis of [0, 1]) {
      this.seen[axis].forEach((_, order) => this.label(context, axis, order, palette.ink));
    }
    const from = found.least < 0 ? palette.less : palette.card;
    const stops = [from, ...(found.least < 0 ? [palette.card] : []), palette.more];
    this.legend.replaceChildren((found.least < 0 ? -found.peak : 0).toFixed(2), make("i", {style:
      `background: linear-gradient(to right, ${stops.map(c => `rgb(${c})`).join(", ")})`}),
    found.peak.toFixed(2));
  }

  labels() {
    return this.seen.map((list, axis) => list.map(index => shown(this.tokens[axis][index])));
  }

  label(context, axis, order, color) {
    const {left, top, size, upright, font} = this.layout;
    const text = shown(this.tokens[axis][this.seen[axis][order]]), middle = (order + .5) * size;
    context.save();
    context.font = font;
    context.fillStyle = color;
    context.textBaseline = "middle";
    if (axis === 0) {
      context.textAlign = "right";
      context.fillText(text, left - 5, top + middle, left - 8);
    } else {
      context.translate(left + middle, top - 5);
      if (upright) {
        context.textAlign = "center";
        context.textBaseline = "bottom";
      } else context.rotate(-Math.PI / 2);
      context.fillText(text, 0, 0, upright ? size : top - 8);
    }
    context.restore();
  }

  overlay() {
    const {left, top, size} = this.layout, [rows, columns] = this.seen, palette = colors();
    const context = this.cross.getContext("2d");
    context.clearRect(0, 0, this.cross.width, this.cross.height);
    if (!this.active) return;
    const {axis, index, cell} = this.active;
    const mark = (axis, index) => {
      const order = this.seen[axis].indexOf(index);
      if (order < 0) return;
      context.strokeStyle = palette.link;
      context.lineWidth = this.locked && size >= LEAST_TEXT ? 2.5 : 1.5;
      // Around small cells, so that the line does not cover them.
      const out = size < LEAST_TEXT ? 1 : 0, at = order * size - out, across = size + 2 * out;
      if (axis === 0) context.strokeRect(left, top + at, size * columns.length, across);
      else context.strokeRect(left + at, top, across, size * rows.length);
      if (size < LEAST_TEXT) this.label(context, axis, order, palette.ink);
    };
    mark(axis, index);
    if (cell !== undefined) mark(1 - axis, cell);
  }

  redraw() {
    if (!this.map) return;
    this.drawHeads();
    if (!this.base) return;
    this.drawMatrix();
    this.overlay();
    this.drawPicture();
  }
}

