// Search of the site works in a worker, which browsers don't start for pages that are opened from a disk. There, and
// there alone, a hidden frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html>";
      this.frame.onload = () => this.start(new URL(url, document.baseURI).href);
      document.body.append(this.frame);
    }

    start(address) {
      const inside = this.frame.contentWindow;
      const load = (src) =>
        new Promise((done, failed) => {
          const script = inside.document.createElement("script");
          Object.assign(script, { src, onload: done, onerror: failed });
          inside.document.head.append(script);
        });
      inside.IFrameWorker = true; // by this the theme knows that scripts are loaded one after the other
      inside.importScripts = (...sources) => sources.reduce((before, src) => before.then(() => load(src)), Promise.resolve());
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      load(address).then(() => {
        this.running = inside;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      });
    }

    postMessage(data) {
      if (this.running) this.running.dispatchEvent(new this.running.MessageEvent("message", { data }));
      else this.waiting.push(data);
    }
  };
}
