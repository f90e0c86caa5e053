// What Gradio itself would say in a corner for some seconds, such as that a file is too large: it goes to the status of
// the tab that is open, and stays there until the next action.
const places = []; // [element, props] of each status

export function start(element, props) {
  places.push([element, props]);
  if (places.length === 1) new MutationObserver(move).observe(document.body, { childList: true, subtree: true });
}

function move() {
  for (const toast of document.querySelectorAll(".toast-body.error:not([data-told])")) {
    const words = toast.querySelector("[data-testid=toast-text]")?.textContent.trim();
    const place = places.find(([element]) => element.offsetParent);
    if (!words || !place) continue;
    const sentence = document.createElement("p");
    sentence.className = "bad";
    sentence.textContent = words;
    toast.dataset.told = "";
    place[1].value = sentence.outerHTML;
    toast.querySelector("[data-testid=toast-close]")?.click();
  }
}
