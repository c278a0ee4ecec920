// Forms with files: what is chosen goes up first, in chunks, several at once, again after a break. Then the form is sent
// with the list of these uploads in place of the files, as the API of endpoints and locks publishes it.
"use strict";
(() => {
  const PARALLEL = 3;
  const PAUSES_MS = [500, 1000, 2000, 4000, 8000, 15000];
  const RETRIED = [408, 429, 500, 502, 503, 504];
  const KEPT = `kodosumi-uploads:${location.pathname}`;

  // The panel said no: trying again would not help.
  class Refused extends Error {}

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const nameOf = (file) => file.webkitRelativePath || file.name;
  const megabytes = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`);
  const counted = (number, noun) => `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;

  function pause(milliseconds, signal) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, milliseconds);
      signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
    });
  }

  // One request, sent again while the panel or the way to it is down. What begins something is `whole`: broken off, its
  // answer would be lost, and with it the id to cancel it by.
  async function ask(path, options, signal, whole = false) {
    for (let tries = 0; ; tries += 1) {
      let problem = "The panel cannot be reached.";
      try {
        const answer = await fetch(path, { ...options, signal: whole ? undefined : signal, headers: { Accept: "application/json", ...options.headers } });
        if (answer.ok) return answer.status === 204 ? null : await answer.json();
        const said = await answer.json().catch(() => ({}));
        problem = answer.status === 401 ? "You are logged out. Log in in another tab, then send the form again."
          : said.detail || `The panel answered ${answer.status}.`;
        if (!RETRIED.includes(answer.status)) throw Object.assign(new Refused(problem), { status: answer.status });
      } catch (error) {
        if (signal.aborted || error instanceof Refused) throw error;
      }
      if (tries === PAUSES_MS.length) throw new Error(problem);
      await pause(PAUSES_MS[tries] * (0.75 + Math.random() / 2), signal);
    }
  }

  const asJson = (body) => ({ method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

  // At most PARALLEL of `work` at once; the first failure ends it.
  async function each(items, work) {
    const rest = items[Symbol.iterator]();
    const worker = async () => { for (const item of rest) await work(item); };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  }

  // What of a chosen file is up already, so that sending the form again goes on where it broke off.
  const begun = new WeakMap();
  const batches = new WeakMap();

  const drop = (id) => fetch(`/files/cancel/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});

  class Transfer {
    constructor(chunkBytes, fields, onProgress) {
      this.chunkBytes = chunkBytes;
      this.fields = fields;
      this.onProgress = onProgress;
      this.stopping = new AbortController();
      this.bytes = this.files = 0;
      this.totalFiles = fields.reduce((sum, { files }) => sum + files.length, 0);
      this.totalBytes = fields.reduce((sum, { files }) => sum + files.reduce((size, file) => size + file.size, 0), 0);
    }

    // The value of each field: the published JSON text.
    async run() {
      const { signal } = this.stopping;
      const stopped = new Promise((_, reject) => { signal.addEventListener("abort", () => reject(signal.reason)); });
      try {
        return await Promise.race([this.values(), stopped]);
      } catch (error) {
        this.stopping.abort(error);
        throw error;
      }
    }

    async values() {
      const values = new Map();
      for (const { input, files } of this.fields) values.set(input, await this.field(input, files));
      return values;
    }

    async field(input, files) {
      if (!batches.has(input)) batches.set(input, (await ask("/files/init_batch", { method: "POST" }, this.stopping.signal)).batch_id);
      const batchId = batches.get(input);
      await each(files, (file) => this.file(file, batchId));
      const items = files.map((file) => [begun.get(file).id, { filename: nameOf(file), totalChunks: begun.get(file).total }]);
      return JSON.stringify({ batchId, items: Object.fromEntries(items), name: input.name });
    }

    async file(file, batchId) {
      if (begun.get(file)?.batchId !== batchId) {
        const total = Math.ceil(file.size / this.chunkBytes);
        const body = { filename: nameOf(file), total_chunks: total, batch_id: batchId };
        const { upload_id: id } = await ask("/files/init", asJson(body), this.stopping.signal, true);
        if (this.cancelled) {
          drop(id);
          throw this.stopping.signal.reason;
        }
        begun.set(file, { id, batchId, total, sent: new Set() });
      }
      const upload = begun.get(file);
      await each(Array.from({ length: upload.total }, (_, number) => number), (number) => this.chunk(file, upload, number));
      this.files += 1;
      this.onProgress(this);
    }

    async chunk(file, upload, number) {
      const content = file.slice(number * this.chunkBytes, (number + 1) * this.chunkBytes);
      if (!upload.sent.has(number)) {
        const body = new FormData();
        body.append("upload_id", upload.id);
        body.append("chunk_number", String(number));
        body.append("chunk", content);
        try {
          await this.gate(() => ask("/files/chunk", { method: "POST", body }, this.stopping.signal));
        } catch (error) {
          if (error.status === 404) begun.delete(file);
          if (!this.stopping.signal.aborted) error.message = `${nameOf(file)}: ${error.message}`;
          throw error;
        }
        upload.sent.add(number);
      }
      this.bytes += content.size;
      this.onProgress(this);
    }

    // Files go up several at once, and so do the chunks of each: all of them share these places.
    async gate(work) {
      this.busy ??= 0;
      this.waiting ??= [];
      if (this.busy === PARALLEL) await new Promise((resolve) => { this.waiting.push(resolve); });
      else this.busy += 1;
      try {
        return await work();
      } finally {
        const next = this.waiting.shift();
        if (next) next();
        else this.busy -= 1;
      }
    }

    // Ends it, and gives back what it takes of the user's quota.
    cancel(reason = new Refused("The upload was cancelled.")) {
      this.cancelled = true;
      this.stopping.abort(reason);
      for (const { input, files } of this.fields) {
        batches.delete(input);
        for (const file of files) {
          const upload = begun.get(file);
          begun.delete(file);
          if (upload) drop(upload.id);
        }
      }
    }
  }

  // A form, and what it shows while its files are on their way.
  class Upload {
    constructor(form) {
      this.form = form;
      this.box = element("div", "upload");
      this.bar = element("progress");
      this.bar.setAttribute("aria-label", "Upload");
      this.text = element("p", "muted upload-text");
      this.text.setAttribute("role", "status");
      this.problem = element("p", "inputs-error");
      this.problem.setAttribute("role", "alert");
      this.cancel = element("button", "quiet", "Cancel the upload");
      this.cancel.type = "button";
      this.cancel.addEventListener("click", () => this.transfer?.cancel());
      this.box.append(this.problem, this.bar, this.text, this.cancel);
      this.show();
      form.append(this.box);
      form.addEventListener("submit", (event) => this.submit(event));
    }

    inputs() {
      return [...this.form.querySelectorAll("input[type=file][name]")];
    }

    show({ busy = false, problem = "" } = {}) {
      this.busy = busy;
      this.problem.textContent = problem;
      this.problem.hidden = !problem;
      this.bar.hidden = this.text.hidden = this.cancel.hidden = !busy;
      this.box.hidden = !busy && !problem;
      this.form.setAttribute("aria-busy", String(busy));
      for (const control of this.form.querySelectorAll("button, input[type=submit], input[type=file]")) {
        if (control !== this.cancel && !control.hidden) control.disabled = busy;
      }
    }

    async submit(event) {
      if (this.ready) return;
      const fields = this.inputs().map((input) => ({ input, files: [...input.files] })).filter(({ files }) => files.length);
      if (!fields.length && !this.busy) return;
      event.preventDefault();
      if (this.busy) return;
      const submitter = event.submitter;
      this.transfer = new Transfer(Number(this.form.dataset.chunkBytes) || 1048576, fields, (at) => this.progress(at));
      this.show({ busy: true });
      this.progress(this.transfer);
      try {
        const values = await this.transfer.run();
        this.show();
        this.send(values, submitter);
      } catch (error) {
        // What was refused would be refused again. After anything else, sending again goes on from here.
        if (error instanceof Refused && error.status !== 401) this.transfer.cancel(error);
        this.show({ problem: `${error.message} Nothing was sent.` });
        this.form.querySelector("button, input[type=submit]")?.focus();
      }
    }

    progress({ bytes, totalBytes, files, totalFiles }) {
      this.bar.max = totalBytes + totalFiles || 1;
      this.bar.value = bytes + files;
      this.text.textContent = `${megabytes(bytes)} of ${megabytes(totalBytes)}, ${files.toLocaleString()} of ${counted(totalFiles, "file")}`;
    }

    send(values, submitter) {
      const kept = {};
      for (const [input, value] of values) {
        put(input, value);
        kept[input.name] = value;
      }
      for (const hidden of this.form.querySelectorAll("input[data-uploads]")) kept[hidden.name] = hidden.value;
      keep(kept);
      this.ready = true;
      this.form.requestSubmit(submitter);
    }

    // Coming back by the browser's history: the form can be changed and sent again.
    again() {
      this.ready = false;
      for (const input of this.inputs()) if (!input.hidden) take(input);
      this.show();
    }
  }

  // In place of a file field: its uploads.
  function put(input, value) {
    take(input);
    const hidden = element("input");
    hidden.type = "hidden";
    hidden.name = input.name;
    hidden.value = value;
    hidden.dataset.uploads = "";
    input.disabled = true;
    input.after(hidden);
  }

  function take(input) {
    input.disabled = false;
    const next = input.nextElementSibling;
    if (next?.matches("input[data-uploads]")) next.remove();
  }

  // A form that comes back with errors must not lose what was uploaded for it.
  function keep(values) {
    try { sessionStorage.setItem(KEPT, JSON.stringify(values)); } catch { /* private windows may have no storage */ }
  }

  function kept() {
    try {
      const found = JSON.parse(sessionStorage.getItem(KEPT));
      sessionStorage.removeItem(KEPT);
      return found || {};
    } catch { return {}; }
  }

  async function restore(input, value) {
    const { items } = JSON.parse(value);
    const ids = Object.keys(items);
    if (!ids.length) return;
    const answer = await fetch(`/files/upload/${encodeURIComponent(ids[0])}`, { headers: { Accept: "application/json" } });
    if (!answer.ok || input.files.length) return;
    const names = Object.values(items).map((item) => item.filename);
    const shown = names.slice(0, 5).join(", ") + (names.length > 5 ? ` and ${counted(names.length - 5, "more file")}` : "");
    const note = element("p", "upload-kept", `Uploaded already: ${shown} `);
    const drop = element("button", "quiet", "Choose again");
    drop.type = "button";
    drop.addEventListener("click", () => {
      note.remove();
      take(input);
      input.hidden = false;
      input.focus();
    });
    note.append(drop);
    put(input, value);
    input.hidden = true;
    input.before(note);
  }

  const uploads = [...document.querySelectorAll("form[data-chunk-bytes]")].map((form) => new Upload(form));
  const values = kept();
  if (document.querySelector(".inputs-page :is(.inputs-error, .field-error):not([hidden])")) {
    for (const input of uploads.flatMap((upload) => upload.inputs())) {
      if (values[input.name] && input.getAttribute("aria-invalid") !== "true") restore(input, values[input.name]).catch(() => {});
    }
  }
  window.addEventListener("pageshow", (event) => { if (event.persisted) uploads.forEach((upload) => upload.again()); });
  window.addEventListener("pagehide", (event) => { if (!event.persisted) uploads.forEach((upload) => upload.busy && upload.transfer.cancel()); });
  window.addEventListener("beforeunload", (event) => { if (uploads.some((upload) => upload.busy)) event.preventDefault(); });
})();
