// The viewer of cells over their image. Gradio gives `element`, `props`, `trigger` and `watch`; `props.value` is the
// JSON that shown.py's `payload` makes. What a visitor does in the picture is in hands.js, correcting in tools.js.
import { paint, fit, zoomTo } from "./paint.js";
import { tabulate, chart, follow, number } from "./table.js";
import { listen } from "./hands.js";
import { Tools } from "./tools.js";

const TEMPLATE = `
  <p class="caption"></p>
  <p class="summary" role="status" aria-live="polite"></p>
  <div class="toggles">
    <label class="scored">Score from <input type="range" class="threshold" min="0.1" max="0.95" step="0.01" aria-label="Score from which a cell is shown"> <output class="value"></output></label>
    <label class="with-outlines"><input type="checkbox" class="outlines" checked> outlines</label>
    <label class="with-outlines"><input type="checkbox" class="fill"> fill</label>
    <label class="with-overlaps"><input type="checkbox" class="overlaps" checked> overlaps</label>
    <label class="with-somata"><input type="checkbox" class="somata" checked> somata</label>
    <label class="with-types"><input type="checkbox" class="types" checked> colours</label>
    <label class="with-scores"><input type="checkbox" class="scores"> scores</label>
    <label class="with-truth"><input type="checkbox" class="truth"> true outlines</label>
    <span class="zoom"><button type="button" class="out" aria-label="Zoom out">−</button><button type="button" class="in" aria-label="Zoom in">+</button><button type="button" class="whole">Whole image</button></span>
  </div>
  <div class="tools" role="toolbar" aria-label="Correct the cells"></div>
  <div class="stage"><canvas tabindex="0" role="application"></canvas><div class="tip" hidden></div></div>
  <p class="keys"></p>
  <div class="legend"></div>
  <div class="measures">
    <div class="charts"><div class="chart area"></div><div class="chart axis_ratio"></div><div class="chart solidity"></div></div>
    <div class="table" tabindex="0" role="region" aria-label="Measures of each cell"><table><thead><tr></tr></thead><tbody></tbody></table></div>
  </div>`;
const SETTLED = 900; // milliseconds after the last change, before the downloads follow

export class Viewer {
  constructor(element, props, trigger) {
    Object.assign(this, { element, props, trigger });
    this.main = document.createElement("div");
    this.main.className = "main";
    this.main.hidden = true;
    this.main.innerHTML = TEMPLATE;
    this.view = { scale: 1, x: 0, y: 0 };
    this.chosen = new Set();
    this.hovered = null;
    this.sort = ["id", 1];
    this.threshold = 0;
    this.cells = [];
    this.data = null;
    this.picture = null;
    this.attach();
    this.canvas = this.find("canvas");
    this.tools = new Tools(this);
    listen(this);
    this.find(".threshold").oninput = (event) => { this.threshold = Number(event.target.value); this.refresh(); };
    this.find(".threshold").onchange = () => this.settle(300); // keys come quickly: the files follow the last
    for (const box of this.main.querySelectorAll(".toggles input[type=checkbox]")) box.onchange = () => this.refresh();
    this.build();
  }

  find(selector) { return this.main.querySelector(selector); }
  option(name) { return !!this.find("." + name)?.checked; }
  visible(c) { return c.kind !== "soma" || !this.data.cells.some((o) => o.kind === "soma") || this.option("somata"); }
  shown() { return this.cells.filter((c) => (c.score ?? 1) >= this.threshold && this.visible(c)); }
  unit() { return this.data.pixel || 1; }

  // Gradio may render its template anew at any time.
  attach() {
    const place = this.element.querySelector(".cells-viewer");
    if (place && this.main.parentElement !== place) place.append(this.main);
    const empty = place?.querySelector(".empty");
    if (empty) empty.hidden = !this.main.hidden;
  }

  build() {
    const data = this.props.value ? JSON.parse(this.props.value) : null;
    if (data && !data.image && data.key !== this.data?.key) return; // of an image that is no longer shown
    const other = !data || !!data.image;
    this.data = data;
    this.main.hidden = !data;
    this.attach();
    if (!data) { this.picture = null; this.cells = []; return; }
    this.cells = data.cells.map((c) => ({ ...c, path: pathOf(c.rings) }));
    this.truth = (data.truth || []).map((ring) => pathOf([ring]));
    this.pairs = null;
    if (other) {
      this.chosen.clear();
      this.hovered = null;
      this.tools.reset();
      this.threshold = data.threshold ?? 0;
    } else {
      for (const id of this.chosen) if (!this.cells.some((c) => c.id === id)) this.chosen.delete(id);
      if (this.tools.sent) this.settle(SETTLED);
    }
    this.tools.sent = false;
    this.arrange();
    if (other) {
      this.picture = new Image();
      this.picture.onload = () => { fit(this); this.refresh(); };
      this.picture.src = data.image;
    }
    this.refresh();
  }

  arrange() {
    const { data } = this;
    this.canvas.style.aspectRatio = `${data.width} / ${data.height}`;
    this.find(".threshold").value = this.threshold;
    this.find(".scored").hidden = this.find(".with-scores").hidden = !data.scored;
    this.find(".with-somata").hidden = !data.cells.some((c) => c.kind === "soma");
    this.find(".with-types").hidden = !data.cells.length || !!data.counts;
    for (const name of ["outlines", "overlaps"]) {
      for (const label of this.main.querySelectorAll(`.with-${name}`)) label.hidden = !data.cells.length;
    }
    this.find(".with-truth").hidden = !data.truth;
    this.find(".measures").hidden = !data.cells.length;
    const legend = this.find(".legend");
    legend.replaceChildren(...data.legend.map(([name, colour]) => {
      const item = document.createElement("span"), swatch = document.createElement("i");
      swatch.style.background = colour;
      item.append(swatch, document.createTextNode(name));
      return item;
    }));
    this.canvas.setAttribute("aria-label", "The image with its cells. Plus and minus zoom, zero shows the whole image, "
      + "full stop and comma go from cell to cell, arrows move." + this.tools.help());
    this.tools.arrange();
  }

  refresh() {
    if (!this.data) return;
    paint(this);
    this.caption();
    this.summarise();
    tabulate(this);
    chart(this);
  }

  caption() {
    const { caption, pixel, scored, width, height } = this.data;
    const words = [];
    if (caption) {
      words.push(caption.file + (caption.plane ? ` (${caption.plane})` : ""));
      if (caption.date) {
        words.push(caption.model, `score from ${this.threshold.toFixed(2)}`);
      }
      words.push(pixel ? `${pixel} µm per pixel` : "pixel size unknown");
      words.push(caption.date ? new Date(caption.date).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })
        : `${width} x ${height} pixels, cells not found yet`);
      if (caption.corrections) words.push(`${caption.corrections} ${caption.corrections === 1 ? "correction" : "corrections"} by hand`);
    }
    this.find(".caption").textContent = words.join(" · ");
    this.find(".caption").hidden = !words.length;
  }

  summarise() {
    const { data } = this, now = this.shown();
    const counted = now.filter((c) => c.kind !== "soma");
    const words = [];
    if (data.counts) {
      for (const [kind, word] of data.counts) {
        const number = now.filter((c) => c.kind === kind).length;
        words.push(`${number} ${number === 1 ? data.words[kind] : word}`);
      }
    } else if (data.draw) {
      const number = this.tools.drawn.length + this.cells.length;
      words.push(`${number} ${number === 1 ? "outline" : "outlines"}`);
    } else if (this.cells.length || !data.caption || data.caption.date) {
      words.push(`${counted.length} ${counted.length === 1 ? "cell" : "cells"}`);
      const somata = now.length - counted.length;
      if (somata) words.push(`${somata} somata`);
      const density = (counted.length / (data.width * data.height)) * (data.pixel ? 1e6 / data.pixel ** 2 : 1e6);
      words.push(`${density.toFixed(0)} per ${data.pixel ? "mm²" : "megapixel"}`);
      const mean = (counted.reduce((sum, c) => sum + c.area, 0) / (counted.length || 1)) * this.unit() ** 2;
      if (counted.length) words.push(`mean area ${number(mean)} ${data.pixel ? "µm²" : "px²"}`);
    }
    this.find(".summary").textContent = words.join(" · ");
    this.find(".summary").hidden = !words.length;
    this.find(".value").textContent = this.threshold.toFixed(2);
  }

  // One cell is chosen, or with `more` one more or less; from the table the picture goes to it.
  choose(id, fromPicture, more = false) {
    const again = this.chosen.has(id);
    if (!more) this.chosen.clear();
    if (id !== null && !(again && (more || fromPicture))) this.chosen.add(id);
    else this.chosen.delete(id);
    if (!fromPicture && this.chosen.has(id)) zoomTo(this, this.cells.find((c) => c.id === id));
    follow(this, fromPicture ? id : null);
    this.tools.arrange();
    paint(this);
  }

  // The downloads follow what was changed, once no more is.
  settle(after) {
    clearTimeout(this.timer);
    const key = this.data.key;
    this.timer = setTimeout(() => {
      if (this.data?.key === key) this.trigger("release", { threshold: this.threshold, key });
    }, after);
  }
}

function pathOf(rings) {
  const path = new Path2D();
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i += 2) i ? path.lineTo(ring[i], ring[i + 1]) : path.moveTo(ring[0], ring[1]);
    path.closePath();
  }
  return path;
}

export function start(element, props, trigger, watch) {
  const viewer = new Viewer(element, props, trigger);
  watch("value", () => viewer.build());
  new MutationObserver(() => viewer.attach()).observe(element, { childList: true, subtree: false });
  let seen = "";
  new ResizeObserver(() => {
    const box = viewer.canvas.getBoundingClientRect();
    const size = `${box.width} ${box.height}`;
    if (viewer.data && viewer.picture && size !== seen && box.width) { fit(viewer); paint(viewer); }
    seen = size;
  }).observe(element);
}
