// Thumbnails of the images of a batch: a click shows one. `props.value` is what finding.py's `strip_of` makes.
const WORDS = { running: "…", error: "can't be read", "": "not yet" };

export function start(element, props, trigger, watch) {
  const build = () => {
    const strip = element.querySelector(".strip"), value = props.value;
    if (!strip) return;
    strip.hidden = !value;
    const focused = strip.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    strip.replaceChildren(...(value ? value.images.map((image) => thumbnail(image, value.shown, trigger)) : []));
    if (focused) strip.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
  };
  build();
  watch("value", build);
}

function thumbnail(image, shown, trigger) {
  const button = document.createElement("button"), picture = document.createElement("span");
  const name = document.createElement("span"), told = document.createElement("span");
  const words = image.state === "done" ? `${image.count} ${image.count === 1 ? "cell" : "cells"}` : WORDS[image.state];
  button.type = "button";
  button.dataset.key = image.key;
  button.dataset.state = image.state;
  button.setAttribute("aria-pressed", image.key === shown);
  button.title = image.error || image.name;
  if (image.thumb) picture.style.backgroundImage = `url("${image.thumb}")`;
  picture.className = "picture";
  name.className = "name";
  name.textContent = image.name;
  told.className = "told";
  told.textContent = words;
  button.append(picture, name, told);
  button.onclick = () => trigger("select", { key: image.key });
  return button;
}
