// ---- The picture that the source's positions are parts of ---------------------------------------
// reading.picture: {png: base64, boxes: [s][left, top, width, height] as shares of it, about}

// What is not looked at is covered by so much of a gray that both black and white stand out from.
const VEIL = .82, GRAY = "128 128 128", CLEAR = "Clear: looked at most; veiled: not looked at.";

class Picture {
  /** `on.enter(index)`, `on.leave()` and `on.pick(index, more)` hear of the pointer, where given. */
  constructor({png, boxes, about, caption = `${about} ${CLEAR}`}, on = null) {
    this.boxes = boxes;
    this.image = make("img", {alt: about, src: `data:image/png;base64,${png}`});
    this.canvas = make("canvas", {"aria-hidden": "true"});
    this.node = make("figure", {}, make("div", {class: "picture"}, this.image, this.canvas),
      make("figcaption", {class: "hint"}, caption));
    this.image.addEventListener("load", () => this.draw(this.drawn));
    if (on) this.listen(on);
  }

  listen(on) {
    this.canvas.addEventListener("pointermove", event => {
      const index = this.at(event);
      if (index === null) on.leave(); else on.enter(index);
    });
    this.canvas.addEventListener("pointerleave", () => on.leave());
    this.canvas.addEventListener("click", event => {
      const index = this.at(event);
      if (index !== null) on.pick(index, isMore(event));
    });
  }

  /** Puts the image over the columns of the map, so that both have one axis; or lets it be. */
  align(isShared, left, size) {
    this.node.classList.toggle("aligned", isShared);
    this.image.style.width = isShared ? `${size / this.boxes[0][2]}px` : "";
    this.node.style.marginLeft = isShared ? `${left}px` : "";
    this.draw(this.drawn);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    const index = this.boxes.findIndex(([left, top, width, height]) =>
      x >= left && x < left + width && y >= top && y < top + height);
    return index < 0 ? null : index;
  }

  /** Shows weights [s], of any size, and a frame around the parts of `marked`. */
  draw(drawn) {
    this.drawn = drawn;
    const {clientWidth: width, clientHeight: height} = this.image;
    if (!drawn || !width) return;
    const {weights, marked} = drawn, scale = window.devicePixelRatio || 1, palette = colors();
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const peak = Math.max(...weights.map(Math.abs), 1e-9);
    this.boxes.forEach(([left, top, w, h], index) => {
      if (!w || !h) return;
      const share = Math.abs(weights[index]) / peak;
      context.fillStyle = `rgb(${GRAY} / ${(VEIL * (1 - share)).toFixed(3)})`;
      context.fillRect(left * width, top * height, w * width, h * height);
      if (!marked.includes(index)) return;
      context.strokeStyle = palette.link;
      context.lineWidth = 2;
      context.strokeRect(left * width + 1, top * height + 1, w * width - 2, h * height - 2);
    });
  }
}
