// Find cells waits for what its visitor has just given: an image on its way here, or one that is being opened.
const STEP = 60; // milliseconds
const QUIET = 3; // looks in a row at which nothing is on its way
const GAP = 2500; // milliseconds from a choice to the first word about it, at the most

export async function opened() {
  const began = Date.now();
  for (let quiet = 0; quiet < QUIET; quiet = coming(began) ? 0 : quiet + 1) await new Promise((done) => setTimeout(done, STEP));
}

function coming(began) {
  const find = (selector) => document.querySelector(selector);
  if (find("#segment-upload .uploading") || find("#status .opening")) return true;
  const { given, told } = document.body.dataset; // viewer.py's GIVEN sets them
  if (given && Date.now() - given < GAP && told === find("#status .told")?.textContent) return true;
  const sample = find("#sample input")?.value;
  return !!sample && Date.now() - began < GAP && !find("#viewer .caption")?.textContent.startsWith(sample);
}
