// Small helps; every page works without them.
// A filter that is changed is asked for at once.
for (const form of document.querySelectorAll("form[data-send]")) {
  form.addEventListener("change", () => form.requestSubmit());
  for (const range of form.querySelectorAll("input[type=range]"))
    range.addEventListener("input", () => { range.parentElement.querySelector("output").textContent = range.value; });
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
