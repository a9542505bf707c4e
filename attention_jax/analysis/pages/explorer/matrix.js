// ---- The heat map of one head: cells and labels on one canvas, marks on another above it --------

class Matrix {
  constructor(panel) {
    this.panel = panel;
    this.frame = make("div", {class: "matrix"});
    this.legend = make("div", {class: "legend"});
    this.base = make("canvas", {role: "img", "aria-label": "Heat map of the weights; the lists of "
      + "tokens above give the same weights as text"});
    this.cross = make("canvas", {"aria-hidden": "true"});
    this.frame.append(this.base, this.cross);
    const cell = event => {
      const {left, top, size} = this.layout, box = this.cross.getBoundingClientRect();
      const row = panel.seen[0][Math.floor((event.clientY - box.top - top) / size)];
      const column = panel.seen[1][Math.floor((event.clientX - box.left - left) / size)];
      return row === undefined || column === undefined ? null
        : {axis: 0, indices: [row], cell: column};
    };
    this.cross.addEventListener("pointermove", event => {
      if (!panel.locked) panel.share(cell(event), false);
    });
    this.cross.addEventListener("pointerleave", () => { if (!panel.locked) panel.share(null, false); });
    this.cross.addEventListener("click", event => {
      const found = cell(event);
      if (found) panel.toggle(0, found.indices[0], isMore(event));
    });
  }

  /** What full color stands for on the fixed scale: 1, or the largest where some are above it. */
  get whole() {
    return Math.max(1, this.found ? this.found.peak : 1);
  }

  draw() {
    const {panel} = this, palette = colors(), [rows, columns] = panel.seen;
    const head = panel.head[state.place], context = this.base.getContext("2d");
    const labels = this.labels();
    context.font = "13px system-ui, sans-serif";
    const widest = texts => Math.min(130, Math.max(...texts.map(t => context.measureText(t).width)) + 10);
    const left = widest(labels[0]), room = panel.view.clientWidth - 4 - left;
    const size = Math.max(LEAST_CELL, Math.min(MOST_CELL, Math.floor(room / columns.length),
      Math.floor(TALLEST / rows.length)));
    const upright = size >= 14 && labels[1].every(text => context.measureText(text).width < size - 2);
    const top = upright ? 22 : widest(labels[1]);
    this.layout = {left, top, size, upright, font: `${Math.min(13, Math.max(size, LEAST_TEXT))}px `
      + "system-ui, sans-serif"};
    this.resize(left + size * columns.length + 2, top + size * rows.length + 2);
    this.found = peakOf(panel.map, head, rows, columns);
    const full = state.scale === "whole" ? this.whole : this.found.peak;
    const cells = make("canvas");
    pixels(cells, panel.map, head, rows, columns, full, palette);
    context.imageSmoothingEnabled = false;
    context.drawImage(cells, left, top, size * columns.length, size * rows.length);
    context.strokeStyle = palette.line;
    context.strokeRect(left - .5, top - .5, size * columns.length + 1, size * rows.length + 1);
    if (size >= LEAST_TEXT) for (const axis of [0, 1]) {
      panel.seen[axis].forEach((_, order) => this.label(context, axis, order, palette.ink));
    }
    this.drawLegend(full, palette);
    if (panel.picture) panel.picture.align(this.shared(), left, size);
  }

  resize(width, height) {
    for (const canvas of [this.base, this.cross]) {
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
  }

  /** True where the columns are all moments of a recording, whose spectrogram has the same axis. */
  shared() {
    return data.of === "recording" && this.panel.seen[1].length === this.panel.tokens[1].length;
  }

  drawLegend(full, palette) {
    const {peak, least} = this.found, signed = least < 0, columns = this.panel.tokens[1].length;
    const causal = state.place === "decoder", equal = 1 / columns;
    const stops = [signed ? palette.less : palette.card, ...(signed ? [palette.card] : []), palette.more];
    const bar = make("i", {style: "background: linear-gradient(to right, "
      + `${stops.map(c => `rgb(${c})`).join(", ")})`});
    const place = signed ? (1 + equal / full) / 2 : equal / full;
    if (place <= 1) bar.append(make("b", {style: `left: ${(100 * place).toFixed(2)}%`}));
    const scale = state.scale === "whole" ? (full > 1 ? "colors up to the largest, above 1" : "")
      : "colors up to the largest of this head";
    this.legend.replaceChildren(signed ? (-full).toFixed(2) : "0", bar, full.toFixed(2),
      make("span", {}, [`mark: equal weights${causal ? " of the last row" : ""}, ${equal.toFixed(3)}`,
        `largest ${peak.toFixed(3)}`, scale].filter(text => text).join("; ")));
  }

  labels() {
    const {seen, tokens} = this.panel;
    return seen.map((list, axis) => list.map(index => shown(tokens[axis][index])));
  }

  label(context, axis, order, color) {
    const {left, top, size, upright, font} = this.layout, {tokens, seen} = this.panel;
    const text = shown(tokens[axis][seen[axis][order]]), middle = (order + .5) * size;
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
    const {left, top, size} = this.layout, {panel} = this, [rows, columns] = panel.seen;
    const context = this.cross.getContext("2d"), palette = colors();
    context.clearRect(0, 0, this.cross.width, this.cross.height);
    if (!panel.active) return;
    const mark = (axis, index) => {
      const order = panel.seen[axis].indexOf(index);
      if (order < 0) return;
      context.strokeStyle = palette.link;
      context.lineWidth = panel.locked && size >= LEAST_TEXT ? 2.5 : 1.5;
      // Around small cells, so that the line does not cover them.
      const out = size < LEAST_TEXT ? 1 : 0, at = order * size - out, across = size + 2 * out;
      if (axis === 0) context.strokeRect(left, top + at, size * columns.length, across);
      else context.strokeRect(left + at, top, across, size * rows.length);
      if (size < LEAST_TEXT) this.label(context, axis, order, palette.ink);
    };
    const {axis, indices, cell} = panel.active;
    for (const index of indices) mark(axis, index);
    if (cell !== undefined) mark(1 - axis, cell);
  }
}
