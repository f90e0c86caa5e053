// Drawing and correcting: what a visitor does to cells, sent to the server, which keeps it.
import { paint, toImage } from "./paint.js";

// name, words, key, what to do, whether it needs chosen cells (one, several), whether it draws
const TOOLS = [
  ["select", "Select", "Escape", "Click a cell, or several with Shift.", 0, false],
  ["add", "Add by click", "a", "Click a cell that was missed: the model is asked there.", 0, false],
  ["draw", "Draw", "d", "Draw around a cell that was missed.", 0, true],
  ["redraw", "Redraw", "r", "Draw the chosen cell anew.", 1, true],
  ["split", "Split", "s", "Draw a line right through the chosen cell.", 1, true],
];
const ACTS = [
  ["merge", "Merge", "m", 2],
  ["delete", "Delete", "Delete", 1],
  ["undo", "Undo", "u", 0],
];

export class Tools {
  constructor(viewer) {
    this.v = viewer;
    this.drawn = [];
    this.reset();
    const bar = viewer.find(".tools");
    bar.append(...TOOLS.map(([name, words, key]) => this.button(name, words, key, () => this.take(name))));
    bar.append(...ACTS.map(([name, words, key]) => this.button(name, words, key, () => this.act(name))));
    this.pencil = document.createElement("label");
    this.pencil.innerHTML = '<input type="checkbox" class="pencil" checked> pencil';
    this.pencil.firstChild.onchange = () => this.arrange();
    bar.append(this.pencil, this.button("undo-drawn", "Take last outline back", "u", () => this.back()));
  }

  button(name, words, key, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = name;
    button.textContent = words;
    button.title = `${words} (key ${key})`;
    button.onclick = act;
    return button;
  }

  reset() {
    this.tool = "select";
    this.drawing = null;
    this.cursor = null;
    this.drawn = [];
  }

  draws() { return this.v.data?.draw ? this.v.option("pencil") : !!TOOLS.find(([name]) => name === this.tool)[5]; }

  help() {
    if (this.v.data.draw) return " With the pencil, arrows move a cross, space sets a corner and Enter closes the outline.";
    return this.v.data.correct ? " Keys: a adds by click, d draws, r redraws, s splits, m merges, Delete deletes, u undoes; "
      + "while drawing, arrows move a cross, space sets a corner and Enter ends it." : "";
  }

  arrange() {
    const { data, chosen } = this.v, bar = this.v.find(".tools");
    bar.hidden = !data || !(data.correct || data.draw);
    if (bar.hidden) { this.v.canvas.style.touchAction = "pan-y"; return; }
    for (const [name, , , , needs] of TOOLS) {
      const button = bar.querySelector(`.${name}`);
      button.hidden = data.draw;
      button.setAttribute("aria-pressed", name === this.tool);
      button.disabled = needs > chosen.size && this.tool !== name;
    }
    for (const [name, , , needs] of ACTS) {
      const button = bar.querySelector(`.${name}`);
      button.hidden = data.draw;
      button.disabled = name === "undo" ? !data.undo : chosen.size < needs;
    }
    this.pencil.hidden = bar.querySelector(".undo-drawn").hidden = !data.draw;
    bar.querySelector(".undo-drawn").disabled = !this.drawn.length;
    this.v.canvas.style.touchAction = this.draws() ? "none" : "pan-y";
    this.v.canvas.style.cursor = this.draws() || this.tool === "add" ? "crosshair" : "grab";
    const told = TOOLS.find(([name]) => name === this.tool)[3];
    this.v.find(".keys").textContent = data.draw ? "Draw around each cell with the pencil." : told;
  }

  take(name) {
    this.tool = name;
    this.drawing = this.cursor = null;
    this.arrange();
    paint(this.v);
  }

  act(name) {
    const ids = [...this.v.chosen];
    if (name !== "undo" && !ids.length) return;
    this.send({ op: name, ids });
    if (name === "delete") this.v.chosen.clear();
  }

  send(action) {
    this.sent = true;
    this.v.trigger("edit", { ...action, key: this.v.data.key });
    this.take("select");
  }

  hover(id) {
    if (id === this.v.hovered) return;
    this.v.hovered = id;
    paint(this.v);
  }

  // -- drawing
  begin(at) { this.drawing = [...at]; }
  extend(at) { this.drawing.push(...at); paint(this.v); }
  drop() { this.drawing = null; this.cursor = null; paint(this.v); }

  end() {
    const outline = this.drawing.map((n) => Math.round(n * 10) / 10);
    this.drawing = this.cursor = null;
    const least = this.tool === "split" && !this.v.data.draw ? 4 : 6;
    if (outline.length < least) return paint(this.v);
    if (this.v.data.draw) {
      this.drawn.push(outline);
      this.tell();
    } else this.send({ op: this.tool, id: [...this.v.chosen][0] ?? null, outline });
    this.v.refresh();
  }

  back() {
    this.drawn.pop();
    this.tell();
    this.v.refresh();
  }

  tell() {
    this.v.trigger("edit", { outlines: this.drawn });
    this.arrange();
  }

  // A click on a place; true where it was this tool's.
  pointed([x, y]) {
    if (this.tool !== "add") return false;
    this.send({ op: "add", x, y });
    return true;
  }

  // -- by keyboard: a cross that arrows move, space sets a corner, Enter ends
  key(event) {
    const { data } = this.v;
    if (!data || event.altKey) return false;
    if ((event.ctrlKey || event.metaKey) && event.key !== "z") return false;
    if (event.key === "z" && !(event.ctrlKey || event.metaKey)) return false;
    if ((this.draws() || this.tool === "add") && this.crossed(event)) return true;
    const name = event.key === "Backspace" ? "Delete" : event.key === "z" ? "u" : event.key;
    if (data.draw) {
      if (name !== "u" || !this.drawn.length) return false;
      this.back();
      return true;
    }
    if (!data.correct) return false;
    const tool = TOOLS.find(([, , key]) => key === name), act = ACTS.find(([, , key]) => key === name);
    if (tool && tool[4] <= this.v.chosen.size) { this.take(tool[0]); this.v.canvas.focus({ preventScroll: true }); }
    else if (act && (act[0] === "undo" ? data.undo : this.v.chosen.size >= act[3])) this.act(act[0]);
    else return false;
    return true;
  }

  crossed(event) {
    const area = this.v.canvas, step = (event.shiftKey ? 1 : 8) / 1;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!arrows && event.key !== " " && event.key !== "Enter") {
      if (event.key === "Escape" && this.drawing) { this.drop(); return true; }
      return false;
    }
    if (event.target !== area) return false;
    this.cursor ??= toImage(this.v, [area.width / 2, area.height / 2]);
    const at = () => [...this.cursor];
    if (arrows) this.cursor = [this.cursor[0] + arrows[0] * step, this.cursor[1] + arrows[1] * step];
    else if (this.tool === "add" && !this.v.data.draw) this.pointed(at());
    else if (event.key === " ") this.drawing ? this.drawing.push(...at()) : this.begin(at());
    else if (this.drawing) this.end();
    paint(this.v);
    return true;
  }

  paint(pen, line) {
    pen.lineWidth = line(2);
    pen.strokeStyle = "#F0E442";
    for (const outline of [...this.drawn, ...(this.drawing ? [this.drawing] : [])]) {
      pen.beginPath();
      outline.forEach((n, i) => i % 2 === 0 && (i ? pen.lineTo(n, outline[i + 1]) : pen.moveTo(n, outline[1])));
      if (outline !== this.drawing) pen.closePath();
      pen.stroke();
    }
    if (!this.cursor) return;
    const [x, y] = this.cursor, long = line(10);
    for (const [width, stroke] of [[3, "#000"], [1.5, "#F0E442"]]) {
      pen.lineWidth = line(width);
      pen.strokeStyle = stroke;
      pen.beginPath();
      pen.moveTo(x - long, y);
      pen.lineTo(x + long, y);
      pen.moveTo(x, y - long);
      pen.lineTo(x, y + long);
      pen.stroke();
    }
  }
}
