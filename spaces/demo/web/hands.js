// Mouse, fingers, pen and keyboard in the picture.
import { zoom, move, fit, paint, toImage, cellAt } from "./paint.js";
import { measure, unitOf, number } from "./table.js";

export function listen(v) {
  const area = v.canvas, pointers = new Map();
  let moved = 0;

  const place = (event) => {
    const box = area.getBoundingClientRect(), ratio = area.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  };

  area.onwheel = (event) => {
    event.preventDefault();
    zoom(v, Math.exp(-event.deltaY * 0.0015), ...place(event));
  };
  // Two fingers are for the picture, wherever they go: the browser would scroll the page with a finger that goes down.
  const held = (event) => { if (event.touches.length > 1) event.preventDefault(); };
  for (const kind of ["touchstart", "touchmove"]) area.addEventListener(kind, held, { passive: false });
  area.onpointerdown = (event) => {
    try { area.setPointerCapture(event.pointerId); } catch { /* a made-up pointer can't be held */ }
    pointers.set(event.pointerId, place(event));
    moved = 0;
    if (v.tools.draws() && pointers.size === 1) v.tools.begin(toImage(v, place(event)));
    else v.tools.drop();
  };
  area.onpointermove = (event) => {
    const now = place(event);
    if (!pointers.has(event.pointerId)) return tip(v, now, event);
    const before = pointers.get(event.pointerId);
    moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    pointers.set(event.pointerId, now);
    if (v.tools.drawing && pointers.size === 1) return v.tools.extend(toImage(v, now));
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const length = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
      move(v, (now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      return zoom(v, length(now, other) / Math.max(length(before, other), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    }
    if (event.pointerType !== "touch") move(v, now[0] - before[0], now[1] - before[1]); // one finger scrolls the page
  };
  area.onpointerup = area.onpointercancel = (event) => {
    pointers.delete(event.pointerId);
    if (v.tools.drawing) return event.type === "pointerup" ? v.tools.end() : v.tools.drop();
    if (moved >= 6 || event.type !== "pointerup" || !v.data) return;
    const at = toImage(v, place(event));
    if (v.tools.pointed(at)) return;
    const hit = cellAt(v, at);
    v.choose(hit ? hit.id : null, true, event.shiftKey && !!hit);
  };
  area.onpointerleave = () => { v.find(".tip").hidden = true; v.tools.hover(null); };
  area.onkeydown = (event) => { if (key(v, event)) event.preventDefault(); };
  v.find(".in").onclick = () => zoom(v, 1.25);
  v.find(".out").onclick = () => zoom(v, 0.8);
  v.find(".whole").onclick = () => { fit(v); paint(v); };
}

function key(v, event) {
  const step = 40 * (window.devicePixelRatio || 1);
  const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (v.tools.key(event)) return true;
  if (arrows) move(v, arrows[0] * step, arrows[1] * step);
  else if (event.key === "+" || event.key === "=") zoom(v, 1.25);
  else if (event.key === "-") zoom(v, 0.8);
  else if (event.key === "0") { fit(v); paint(v); }
  else if (event.key === "." || event.key === ",") next(v, event.key === "." ? 1 : -1);
  else return false;
  return true;
}

// From cell to cell, in the table's order.
function next(v, way) {
  if (!v.rows?.length) return;
  const at = v.rows.findIndex((c) => v.chosen.has(c.id));
  const place = at < 0 ? (way > 0 ? 0 : v.rows.length - 1) : (at + way + v.rows.length) % v.rows.length;
  v.chosen.clear();
  v.choose(v.rows[place].id, false);
  v.find(".keys").textContent = said(v, v.rows[place]);
}

function said(v, c) {
  const words = [`cell ${c.id}`, `area ${number(measure(v, c, "area"))} ${unitOf(v, "area")}`];
  if (c.score !== undefined) words.push(`score ${c.score.toFixed(2)}`);
  return words.join(" · ");
}

function tip(v, now, event) {
  const box = v.find(".tip"), cell = v.data && !v.tools.draws() ? cellAt(v, toImage(v, now)) : null;
  v.tools.hover(cell ? cell.id : null);
  box.hidden = !cell;
  if (!cell) return;
  const frame = v.canvas.getBoundingClientRect();
  box.textContent = said(v, cell);
  box.style.left = `${Math.min(event.clientX - frame.left + 14, frame.width - 190)}px`;
  box.style.top = `${event.clientY - frame.top + 14}px`;
}
