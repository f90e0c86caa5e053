// The viewer of cells over their image: pan, zoom, threshold, selection, table and histograms, all in the browser.
// Gradio gives `element`, `props`, `trigger` and `watch`. `props.value` is what viewer.py's `payload` makes.
const MARKS = ["area", "axis_ratio", "solidity"];
const view = { scale: 1, x: 0, y: 0, chosen: null, sort: ["id", 1], threshold: 0, drawing: null, drawn: [] };
let data = null;
let cells = [];
let picture = null;

const words = (name) => name.replaceAll("_", " ");
const find = (selector) => element.querySelector(selector);
const shown = () => cells.filter((c) => (c.score ?? 1) >= view.threshold && visible(c));
const visible = (c) => !(c.kind === "soma" && find(".somata") && !find(".somata").checked);
const option = (name) => !!find("." + name)?.checked;

function build() {
  data = props.value;
  arrange();
  if (!data || !data.image) return;
  view.chosen = null;
  view.drawn = [];
  view.threshold = data.threshold ?? 0;
  const slider = find(".threshold");
  slider.value = view.threshold;
  find(".legend").innerHTML = "";
  for (const [name, colour] of data.legend) {
    const item = document.createElement("span");
    const swatch = document.createElement("i");
    swatch.style.background = colour;
    item.append(swatch, document.createTextNode(name));
    find(".legend").append(item);
  }
  cells = data.cells.map((c) => {
    const path = new Path2D();
    for (const ring of c.rings) {
      for (let i = 0; i < ring.length; i += 2) i ? path.lineTo(ring[i], ring[i + 1]) : path.moveTo(ring[0], ring[1]);
      path.closePath();
    }
    return { ...c, path };
  });
  picture = new Image();
  picture.onload = () => { fit(); refresh(); };
  picture.src = data.image;
  refresh();
}

// What is shown depends on the data alone, so it can be set again after Gradio has rendered the template anew.
function arrange() {
  const full = !!(data && data.image);
  find(".empty").hidden = full;
  find(".main").hidden = !full;
  if (!full) return;
  find(".scored").hidden = !data.scored;
  find(".draw-tools").hidden = !data.draw;
  find(".with-somata").hidden = !data.cells.some((c) => c.kind === "soma");
  find(".with-types").hidden = !data.legend.length;
  find(".with-scores").hidden = !data.scored;
  find(".measures").hidden = !data.cells.length;
}

function canvas() { return find("canvas"); }

function fit() {
  const area = canvas();
  const box = area.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  area.dataset.w = data.width;
  area.dataset.h = data.height;
  area.width = Math.max(1, Math.round(box.width * ratio));
  area.height = Math.max(1, Math.round(box.height * ratio));
  view.scale = Math.min(area.width / data.width, area.height / data.height);
  view.x = (area.width - data.width * view.scale) / 2;
  view.y = (area.height - data.height * view.scale) / 2;
}

function zoom(factor, cx, cy) {
  const area = canvas();
  const smallest = 0.5 * Math.min(area.width / data.width, area.height / data.height);
  const scale = Math.min(Math.max(view.scale * factor, smallest), 40);
  view.x = cx - ((cx - view.x) * scale) / view.scale;
  view.y = cy - ((cy - view.y) * scale) / view.scale;
  view.scale = scale;
  paint();
}

function paint() {
  if (!data || !picture) return;
  const area = canvas(), pen = area.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, area.width, area.height);
  pen.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
  pen.imageSmoothingEnabled = view.scale < 3;
  if (picture.complete) pen.drawImage(picture, 0, 0, data.width, data.height);
  const ratio = window.devicePixelRatio || 1;
  const line = (width) => (width * ratio) / view.scale;
  const colour = (c) => (option("types") ? c.colour : data.plain) || c.colour;
  for (const c of shown()) {
    if (option("fill")) {
      pen.globalAlpha = 0.3; // where two cells overlap their fills add up
      pen.fillStyle = colour(c);
      pen.fill(c.path);
      pen.globalAlpha = 1;
    }
    if (option("outlines")) {
      pen.lineWidth = line(1.6);
      pen.strokeStyle = colour(c);
      pen.setLineDash(c.dashed ? [line(5), line(4)] : []);
      pen.stroke(c.path);
    }
  }
  pen.setLineDash([]);
  const chosen = cells.find((c) => c.id === view.chosen);
  if (chosen) {
    pen.lineWidth = line(5);
    pen.strokeStyle = "#000";
    pen.stroke(chosen.path);
    pen.lineWidth = line(2.5);
    pen.strokeStyle = "#fff";
    pen.stroke(chosen.path);
  }
  if (option("scores") && data.scored) {
    pen.font = `${line(12)}px system-ui, sans-serif`;
    pen.textAlign = "center";
    for (const c of shown()) {
      pen.lineWidth = line(3);
      pen.strokeStyle = "#000";
      pen.strokeText(c.score.toFixed(2), c.x, c.y);
      pen.fillStyle = "#fff";
      pen.fillText(c.score.toFixed(2), c.x, c.y);
    }
  }
  pen.lineWidth = line(2);
  pen.strokeStyle = "#F0E442";
  for (const outline of [...view.drawn, ...(view.drawing ? [view.drawing] : [])]) {
    pen.beginPath();
    outline.forEach((v, i) => i % 2 === 0 && (i ? pen.lineTo(v, outline[i + 1]) : pen.moveTo(v, outline[1])));
    if (outline !== view.drawing) pen.closePath();
    pen.stroke();
  }
}

function refresh() {
  if (!data) return;
  paint();
  summarise();
  tabulate();
  chart();
}

function summarise() {
  const now = shown();
  const counted = now.filter((c) => c.kind !== "soma");
  const words = [];
  if (data.counts) {
    for (const [kind, word] of data.counts) words.push(`${now.filter((c) => c.kind === kind).length} ${word}`);
  } else if (!data.draw) {
    words.push(`${counted.length} cells`);
    const somata = now.length - counted.length;
    if (somata) words.push(`${somata} somata`);
    const density = (counted.length / (data.width * data.height)) * (data.pixel ? 1e6 / data.pixel ** 2 : 1e6);
    words.push(`${density.toFixed(0)} per ${data.pixel ? "mm²" : "megapixel"}`);
    const mean = counted.reduce((sum, c) => sum + c.area, 0) / (counted.length || 1);
    if (counted.length) words.push(`mean area ${mean.toFixed(0)} ${data.pixel ? "µm²" : "px"}`);
  } else words.push(`${view.drawn.length + cells.length} outlines`);
  find(".summary").textContent = words.join(" · ");
  find(".value").textContent = view.threshold.toFixed(2);
}

function tabulate() {
  const [by, way] = view.sort;
  const columns = data.columns;
  const rows = shown().slice().sort((a, b) => {
    const x = a[by], y = b[by];
    return (typeof x === "string" ? x.localeCompare(y) : (x ?? 0) - (y ?? 0)) * way;
  });
  const head = find("thead tr"), body = find("tbody");
  head.innerHTML = "";
  for (const name of columns) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name + (name === by ? (way > 0 ? " ▲" : " ▼") : "");
    button.setAttribute("aria-label", `Sort by ${words(name)}`);
    button.onclick = () => { view.sort = [name, name === by ? -way : 1]; tabulate(); };
    cell.setAttribute("aria-sort", name === by ? (way > 0 ? "ascending" : "descending") : "none");
    cell.append(button);
    head.append(cell);
  }
  body.innerHTML = "";
  for (const c of rows) {
    const row = document.createElement("tr");
    row.dataset.id = c.id;
    row.tabIndex = 0;
    row.setAttribute("aria-selected", c.id === view.chosen);
    for (const name of columns) {
      const cell = document.createElement("td");
      const value = c[name];
      cell.textContent = typeof value === "number" && !Number.isInteger(value) ? value.toFixed(value < 10 ? 3 : 1) : value ?? "";
      row.append(cell);
    }
    row.onclick = () => choose(c.id, false);
    row.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(c.id, false); } };
    body.append(row);
  }
}

function choose(id, fromPicture) {
  view.chosen = view.chosen === id && fromPicture ? null : id;
  const chosen = cells.find((c) => c.id === view.chosen);
  for (const row of element.querySelectorAll("tbody tr")) {
    const is = row.dataset.id === String(view.chosen);
    row.setAttribute("aria-selected", is);
    if (is && fromPicture) {
      const list = find(".table");
      list.scrollTop = row.offsetTop - list.clientHeight / 2;
    }
  }
  if (chosen && !fromPicture) {
    const area = canvas();
    view.x = area.width / 2 - chosen.x * view.scale;
    view.y = area.height / 2 - chosen.y * view.scale;
  }
  paint();
}

function chart() {
  const now = shown().filter((c) => c.kind !== "soma");
  for (const name of MARKS) {
    const holder = find(`.chart.${name}`);
    const values = now.map((c) => c[name]).filter((v) => typeof v === "number");
    const top = name === "area" ? Math.max(1, ...cells.map((c) => c.area || 0)) : 1;
    const bins = new Array(16).fill(0);
    for (const v of values) bins[Math.min(15, Math.floor((v / top) * 16))] += 1;
    const most = Math.max(1, ...bins);
    const bars = bins.map((n, i) => `<rect x="${i * 10 + 1}" y="${50 - (46 * n) / most}" width="8" height="${(46 * n) / most}"><title>${n}</title></rect>`);
    const end = name === "area" ? top.toFixed(0) : "1";
    holder.innerHTML = `<svg viewBox="0 0 160 66" role="img" aria-label="Histogram of ${words(name)}">${bars.join("")}` +
      `<line x1="0" y1="50" x2="160" y2="50"/><text x="0" y="63">0</text><text x="80" y="63" text-anchor="middle">${words(name)}</text><text x="160" y="63" text-anchor="end">${end}</text></svg>`;
  }
}

function place(event) {
  const box = canvas().getBoundingClientRect();
  const ratio = canvas().width / box.width;
  return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
}

function toImage([x, y]) { return [(x - view.x) / view.scale, (y - view.y) / view.scale]; }

const pointers = new Map();
let moved = 0;

function attach() {
  const area = canvas();
  area.onwheel = (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), ...place(event)); };
  area.onpointerdown = (event) => {
    try { area.setPointerCapture(event.pointerId); } catch { /* a made-up pointer can't be held */ }
    pointers.set(event.pointerId, place(event));
    moved = 0;
    if (data?.draw && option("pencil") && pointers.size === 1) view.drawing = toImage(place(event));
    else view.drawing = null;
  };
  area.onpointermove = (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = pointers.get(event.pointerId), now = place(event);
    if (view.drawing) {
      view.drawing.push(...toImage(now));
      pointers.set(event.pointerId, now);
      return paint();
    }
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const length = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
      zoom(length(now, other) / Math.max(length(before, other), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else {
      view.x += now[0] - before[0];
      view.y += now[1] - before[1];
    }
    moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    pointers.set(event.pointerId, now);
    paint();
  };
  area.onpointerup = area.onpointercancel = (event) => {
    pointers.delete(event.pointerId);
    if (view.drawing) {
      if (view.drawing.length >= 12) { view.drawn.push(view.drawing.map((v) => Math.round(v * 10) / 10)); told(); }
      view.drawing = null;
      return refresh();
    }
    if (moved < 6 && event.type === "pointerup") {
      const [x, y] = toImage(place(event));
      const pen = area.getContext("2d");
      pen.setTransform(1, 0, 0, 1, 0, 0);
      const hit = shown().filter((c) => pen.isPointInPath(c.path, x, y)).sort((a, b) => a.area - b.area)[0];
      if (hit) choose(hit.id, true);
    }
  };
  area.onkeydown = (event) => {
    const step = 40 * (window.devicePixelRatio || 1);
    const middle = [area.width / 2, area.height / 2];
    const acts = {
      "+": () => zoom(1.25, ...middle), "=": () => zoom(1.25, ...middle), "-": () => zoom(0.8, ...middle),
      "0": () => { fit(); paint(); },
      ArrowLeft: () => { view.x += step; paint(); }, ArrowRight: () => { view.x -= step; paint(); },
      ArrowUp: () => { view.y += step; paint(); }, ArrowDown: () => { view.y -= step; paint(); },
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  };
  find(".threshold").oninput = (event) => { view.threshold = Number(event.target.value); refresh(); };
  find(".threshold").onchange = () => {
    clearTimeout(view.timer); // keys come quickly one after the other: the files follow the last
    view.timer = setTimeout(() => trigger("release", { threshold: view.threshold }), 300);
  };
  for (const box of element.querySelectorAll(".toggles input[type=checkbox]")) box.onchange = refresh;
  find(".in").onclick = () => zoom(1.25, area.width / 2, area.height / 2);
  find(".out").onclick = () => zoom(0.8, area.width / 2, area.height / 2);
  find(".whole").onclick = () => { fit(); paint(); };
  find(".undo").onclick = () => { view.drawn.pop(); told(); refresh(); };
}

function told() { trigger("edit", { outlines: view.drawn }); }

attach();
build();
watch("value", () => { attach(); build(); });
// Gradio may render the template anew at any later time; the template hides the viewer.
new MutationObserver(() => {
  if (data && data.image && find(".main")?.hidden) { attach(); arrange(); fit(); refresh(); }
}).observe(element, { attributes: true, attributeFilter: ["hidden"], childList: true, subtree: true });
let seen = "";
new ResizeObserver(() => {
  const box = canvas()?.getBoundingClientRect();
  const size = box ? `${box.width} ${box.height}` : "";
  if (data && picture && size !== seen) { fit(); paint(); }
  seen = size;
}).observe(element);
