// Small helps; every page works without them.
// A filter that is changed is asked for at once.
for (const form of document.querySelectorAll("form[data-send]")) {
  form.addEventListener("change", () => form.requestSubmit());
  for (const range of form.querySelectorAll("input[type=range]"))
    range.addEventListener("input", () => { range.closest("label").querySelector("output").textContent = range.value; });
}
// What is under way is asked for again, and shown when it has changed.
for (const part of document.querySelectorAll("[data-live]")) {
  const states = (of) => [...of.querySelectorAll("[data-state]")].map((row) => row.dataset.state).join();
  const again = async () => {
    if (!/received|scoring/.test(states(part))) return;
    try {
      const answer = await fetch(part.dataset.live);
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
        if (states(fresh) !== states(part)) part.replaceChildren(...fresh.childNodes);
      }
    } catch { /* the server is away for a moment */ }
    setTimeout(again, 2000);
  };
  setTimeout(again, 1000);
}
// Panes that show one image are zoomed and moved together.
const panes = [...document.querySelectorAll(".pane")];
const zoom = document.querySelector("#zoom");
if (zoom) zoom.addEventListener("input", () => {
  for (const pane of panes) {
    pane.style.aspectRatio ||= `${pane.clientWidth} / ${pane.clientHeight}`;  // it stays as large as it was
    const [x, y] = [pane.scrollLeft + pane.clientWidth / 2, pane.scrollTop + pane.clientHeight / 2];
    const grown = Number(zoom.value) / Number(pane.dataset.zoom || 1);
    pane.dataset.zoom = zoom.value;
    pane.scrollTo(x * grown - pane.clientWidth / 2, y * grown - pane.clientHeight / 2);
  }
  zoom.parentElement.querySelector("output").textContent = `${zoom.value} x`;
});
for (const pane of panes) pane.addEventListener("scroll", () => {
  for (const other of panes) if (other !== pane && (other.scrollLeft !== pane.scrollLeft || other.scrollTop !== pane.scrollTop))
    other.scrollTo(pane.scrollLeft, pane.scrollTop);
});
