// The picture: the image, its cells, what is drawn, the scale bar; and how it is zoomed and moved.
const OVERLAP = "#CC79A7"; // purple of the palette, as in overlays
const MOST_PAIRS = 5000;
const ROUND = [1, 2, 5];

export function fit(v) {
  const area = v.canvas, box = area.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  area.dataset.w = v.data.width;
  area.dataset.h = v.data.height;
  area.width = Math.max(1, Math.round(box.width * ratio));
  area.height = Math.max(1, Math.round(box.height * ratio));
  v.view.scale = smallest(v);
  v.view.x = v.view.y = 0;
  clamp(v);
}

function smallest(v) { return Math.min(v.canvas.width / v.data.width, v.canvas.height / v.data.height); }

// The image stays in view: it fills the canvas, or lies in its middle where it is smaller.
export function clamp(v) {
  for (const [axis, side, length] of [["x", v.canvas.width, v.data.width], ["y", v.canvas.height, v.data.height]]) {
    const extent = length * v.view.scale;
    v.view[axis] = extent <= side ? (side - extent) / 2 : Math.min(0, Math.max(side - extent, v.view[axis]));
  }
}

export function zoom(v, factor, cx = v.canvas.width / 2, cy = v.canvas.height / 2) {
  const scale = Math.min(Math.max(v.view.scale * factor, smallest(v)), 40);
  v.view.x = cx - ((cx - v.view.x) * scale) / v.view.scale;
  v.view.y = cy - ((cy - v.view.y) * scale) / v.view.scale;
  v.view.scale = scale;
  clamp(v);
  paint(v);
}

export function move(v, dx, dy) {
  v.view.x += dx;
  v.view.y += dy;
  clamp(v);
  paint(v);
}

// To a cell, so that it takes about a fifth of the picture.
export function zoomTo(v, cell) {
  if (!cell) return;
  const side = Math.min(v.canvas.width, v.canvas.height);
  const wanted = side / (5 * Math.max(Math.sqrt(cell.area), cell.major_axis ?? 0, 1));
  v.view.scale = Math.min(Math.max(wanted, smallest(v)), 12);
  v.view.x = v.canvas.width / 2 - cell.x * v.view.scale;
  v.view.y = v.canvas.height / 2 - cell.y * v.view.scale;
  clamp(v);
}

export function toImage(v, [x, y]) { return [(x - v.view.x) / v.view.scale, (y - v.view.y) / v.view.scale]; }

// The smallest cell at a place, so that one on top of another can be reached.
export function cellAt(v, [x, y]) {
  const pen = v.canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  return v.shown().filter((c) => pen.isPointInPath(c.path, x, y, "evenodd")).sort((a, b) => a.area - b.area)[0];
}

export function paint(v) {
  if (!v.data || !v.picture) return;
  const pen = v.canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
  const line = (width) => (width * ratio) / v.view.scale;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, v.canvas.width, v.canvas.height);
  pen.setTransform(v.view.scale, 0, 0, v.view.scale, v.view.x, v.view.y);
  pen.imageSmoothingEnabled = v.view.scale < 3;
  if (v.picture.complete && v.picture.naturalWidth) pen.drawImage(v.picture, 0, 0, v.data.width, v.data.height);
  const now = v.shown();
  if (v.option("overlaps")) overlaps(v, pen, now);
  const colour = (c) => (v.option("types") ? c.colour : v.data.plain) || c.colour;
  for (const c of now) {
    if (v.option("fill")) {
      pen.globalAlpha = 0.3; // where two cells overlap their fills add up
      pen.fillStyle = colour(c);
      pen.fill(c.path, "evenodd");
      pen.globalAlpha = 1;
    }
    if (v.option("outlines")) {
      pen.lineWidth = line(1.8);
      pen.strokeStyle = colour(c);
      pen.setLineDash(c.dashed ? [line(5), line(4)] : []);
      pen.stroke(c.path);
    }
  }
  if (v.option("truth")) {
    pen.setLineDash([line(4), line(3)]);
    pen.lineWidth = line(1.4);
    pen.strokeStyle = "#fff";
    for (const path of v.truth) pen.stroke(path);
  }
  pen.setLineDash([]);
  for (const c of now) {
    const chosen = v.chosen.has(c.id);
    if (!chosen && c.id !== v.hovered) continue;
    for (const [width, stroke] of chosen ? [[5, "#000"], [2.5, "#fff"]] : [[3, "#fff"]]) {
      pen.lineWidth = line(width);
      pen.strokeStyle = stroke;
      pen.stroke(c.path);
    }
  }
  v.tools.paint(pen, line);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  if (v.option("scores") && v.data.scored) labels(v, pen, now, ratio);
  scaleBar(v, pen, ratio);
}

// Where two cells overlap, in purple.
function overlaps(v, pen, now) {
  if (!v.pairs) v.pairs = pairs(v.cells);
  const there = new Set(now);
  pen.fillStyle = OVERLAP;
  pen.globalAlpha = 0.5;
  for (const [a, b] of v.pairs) {
    if (!there.has(a) || !there.has(b)) continue;
    pen.save();
    pen.clip(a.path, "evenodd");
    pen.fill(b.path, "evenodd");
    pen.restore();
  }
  pen.globalAlpha = 1;
}

// Of cells whose boxes meet.
function pairs(cells) {
  const boxed = cells.map((c) => {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const ring of c.rings) for (let i = 0; i < ring.length; i += 1) {
      box[i % 2] = Math.min(box[i % 2], ring[i]);
      box[2 + (i % 2)] = Math.max(box[2 + (i % 2)], ring[i]);
    }
    return [c, box];
  }).sort((a, b) => a[1][0] - b[1][0]);
  const found = [];
  for (let i = 0; i < boxed.length; i += 1) {
    const [a, p] = boxed[i];
    for (let j = i + 1; j < boxed.length && boxed[j][1][0] < p[2] && found.length < MOST_PAIRS; j += 1) {
      const [b, q] = boxed[j];
      if (q[1] < p[3] && p[1] < q[3] && a.kind === b.kind) found.push([a, b]);
    }
  }
  return found;
}

// Scores, where there is room: one that would lie on another is left out until the picture is larger.
function labels(v, pen, now, ratio) {
  const size = 12 * ratio, taken = [];
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const c of [...now].sort((a, b) => v.chosen.has(b.id) - v.chosen.has(a.id))) {
    const x = c.x * v.view.scale + v.view.x, y = c.y * v.view.scale + v.view.y, w = 2.6 * size, h = 1.2 * size;
    if (taken.some(([p, q]) => Math.abs(p - x) < w && Math.abs(q - y) < h)) continue;
    taken.push([x, y]);
    pen.lineWidth = 3 * ratio;
    pen.strokeStyle = "#000";
    pen.strokeText(c.score.toFixed(2), x, y);
    pen.fillStyle = "#fff";
    pen.fillText(c.score.toFixed(2), x, y);
  }
}

function scaleBar(v, pen, ratio) {
  const unit = v.unit(), most = (0.25 * v.canvas.width * unit) / v.view.scale;
  if (!(most > 0)) return;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = Math.max(...ROUND.map((n) => n * power).filter((n) => n <= most));
  const wide = (length / unit) * v.view.scale, x = v.canvas.width - wide - 14 * ratio, y = v.canvas.height - 14 * ratio;
  pen.fillStyle = "rgba(0, 0, 0, 0.65)";
  pen.fillRect(x - 8 * ratio, y - 22 * ratio, wide + 16 * ratio, 32 * ratio);
  pen.fillStyle = "#fff";
  pen.fillRect(x, y, wide, 3 * ratio);
  pen.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  const words = `${Number(length.toPrecision(3))} ${v.data.pixel ? "µm" : "px"}`;
  pen.fillText(words, x + wide / 2, y - 6 * ratio);
  v.canvas.dataset.bar = words;
}
