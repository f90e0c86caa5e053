// The table of measures, of any length, and the histograms. Measures come in pixels and are said in the unit that is
// known: micrometres where the size of a pixel is.
const MARKS = ["area", "axis_ratio", "solidity"];
const LENGTHS = ["perimeter", "major_axis", "minor_axis", "x", "y"];
const ROW = 27; // pixels of a row's height
const ALL = 200; // rows that are there all at once; of more only those in view are
const HINTS = {
  axis_ratio: "short over long axis: 1 is round; the Glioma C6 paper calls it eccentricity",
  eccentricity: "of the ellipse of the same moments: 0 is round, towards 1 is long",
  solidity: "area over that of the convex hull: 1 has no bays",
  source: "who says that there is a cell: the model, or you",
};

const words = (name) => name.replaceAll("_", " ");
export const number = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 3 : 1));

export function unitOf(v, name) {
  if (name === "area") return v.data.pixel ? "µm²" : "px²";
  return LENGTHS.includes(name) ? (v.data.pixel ? "µm" : "px") : "";
}

export function measure(v, c, name) {
  const value = c[name];
  if (typeof value !== "number") return value;
  if (name === "area") return value * v.unit() ** 2;
  return LENGTHS.includes(name) ? value * v.unit() : value;
}

export function tabulate(v) {
  const [by, way] = v.sort;
  v.rows = v.shown().sort((a, b) => {
    const x = a[by], y = b[by];
    return (typeof x === "string" ? x.localeCompare(y) : (x ?? 0) - (y ?? 0)) * way;
  });
  headings(v);
  const table = v.find("table"), list = v.find(".table");
  table.setAttribute("aria-rowcount", v.rows.length + 1);
  v.window = "";
  list.onscroll = () => rows(v);
  rows(v);
}

// Made once for the columns there are, so that the focus stays on the one that was pressed.
function headings(v) {
  const head = v.find("thead tr"), columns = v.data.columns;
  const made = columns.map((name) => `${name} ${unitOf(v, name)}`).join();
  if (head.dataset.made !== made) {
    head.dataset.made = made;
    head.replaceChildren(...columns.map((name) => {
      const cell = document.createElement("th"), button = document.createElement("button");
      const unit = unitOf(v, name);
      cell.dataset.name = name;
      cell.scope = "col";
      button.type = "button";
      button.textContent = words(name) + (unit ? ` (${unit})` : "");
      button.setAttribute("aria-label", `Sort by ${words(name)}`);
      if (HINTS[name]) button.title = HINTS[name];
      button.onclick = () => { v.sort = [name, name === v.sort[0] ? -v.sort[1] : 1]; tabulate(v); };
      cell.append(button);
      return cell;
    }));
  }
  for (const cell of head.children) {
    const is = cell.dataset.name === v.sort[0];
    cell.setAttribute("aria-sort", is ? (v.sort[1] > 0 ? "ascending" : "descending") : "none");
  }
}

function rows(v) {
  const list = v.find(".table"), body = v.find("tbody"), count = v.rows.length;
  const first = count > ALL ? Math.max(0, Math.floor(list.scrollTop / ROW) - 20) : 0;
  const last = count > ALL ? Math.min(count, first + Math.ceil(list.clientHeight / ROW) + 40) : count;
  const shown = `${first} ${last}`;
  if (v.window === shown) return;
  v.window = shown;
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  const made = v.rows.slice(first, last).map((c, i) => row(v, c, first + i + 2));
  body.replaceChildren(spacer(first), ...made, spacer(count - last));
  if (focused) body.querySelector(`tr[data-id="${focused}"]`)?.focus({ preventScroll: true });
}

function spacer(count) {
  const body = document.createDocumentFragment();
  if (count <= 0) return body;
  const row = document.createElement("tr"), cell = document.createElement("td");
  row.className = "spacer";
  row.setAttribute("aria-hidden", "true");
  cell.style.height = `${count * ROW}px`;
  row.append(cell);
  body.append(row);
  return body;
}

function row(v, c, place) {
  const row = document.createElement("tr");
  row.dataset.id = c.id;
  row.tabIndex = 0;
  row.setAttribute("aria-rowindex", place);
  row.setAttribute("aria-selected", v.chosen.has(c.id));
  for (const name of v.data.columns) {
    const cell = document.createElement("td"), value = measure(v, c, name);
    const told = name === "kind" ? v.data.words[value] : value;
    cell.textContent = typeof value === "number" ? number(value) : words(told ?? "");
    row.append(cell);
  }
  row.onclick = (event) => v.choose(c.id, false, event.shiftKey);
  row.onkeydown = (event) => {
    const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (next?.dataset.id) next.focus();
    else if (event.key === "Enter" || event.key === " ") v.choose(c.id, false, event.shiftKey);
    else if (!v.tools.key(event)) return;
    event.preventDefault();
  };
  row.onmouseenter = () => v.tools.hover(c.id);
  row.onmouseleave = () => v.tools.hover(null);
  return row;
}

// The rows of chosen cells are marked; with an id the table goes there, without moving the page.
export function follow(v, id) {
  if (id !== null && v.chosen.has(id)) {
    const list = v.find(".table"), place = v.rows.findIndex((c) => c.id === id);
    if (place >= 0) list.scrollTop = place * ROW - list.clientHeight / 2;
    rows(v);
  }
  for (const row of v.find("tbody").children) row.setAttribute("aria-selected", v.chosen.has(Number(row.dataset.id)));
}

export function chart(v) {
  const now = v.shown().filter((c) => c.kind !== "soma");
  for (const name of MARKS) {
    const values = now.map((c) => measure(v, c, name)).filter((value) => typeof value === "number");
    const top = name === "area" ? Math.max(1e-9, ...v.cells.map((c) => measure(v, c, "area") || 0)) : 1;
    const bins = new Array(16).fill(0);
    for (const value of values) bins[Math.min(15, Math.floor((value / top) * 16))] += 1;
    const most = Math.max(1, ...bins);
    const bars = bins.map((n, i) => `<rect x="${i * 10 + 1}" y="${50 - (46 * n) / most}" width="8" height="${(46 * n) / most}"><title>${n}</title></rect>`);
    const unit = unitOf(v, name), title = words(name) + (unit ? ` (${unit})` : "");
    v.find(`.chart.${name}`).innerHTML = `<svg viewBox="0 0 160 68" role="img" aria-label="Histogram of ${title}, ${values.length} cells">${bars.join("")}`
      + `<line x1="0" y1="50" x2="160" y2="50"/><text x="0" y="64">0</text><text x="80" y="64" text-anchor="middle">${title}</text><text x="160" y="64" text-anchor="end">${name === "area" ? top.toFixed(0) : "1"}</text></svg>`;
  }
}
