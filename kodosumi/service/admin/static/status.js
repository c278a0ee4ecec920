// The status page: live by server-sent events. Result frames arrive as HTML that the server has sanitised; all other
// payloads go in as text. A stream is open only while its tab is shown, and resumes by the last id it has seen.
"use strict";
(() => {
  const root = document.getElementById("execution");
  const fid = root.dataset.fid;
  const byId = (id) => document.getElementById(id);
  const MAX_NODES = 4000;
  const MAX_PAYLOAD = 4000;
  const MAX_REASON = 200;
  const TERMINAL = ["finished", "error"];
  const OUTPUT = ["stdout", "stderr"];
  const RESULTS = ["action", "result", "final"];
  const KINDS = ["status", "inputs", "meta", "agent", "upload", "debug", "stdout", "stderr",
    "result", "action", "final", "error", "lock", "lease", "attempt"];

  const run = { state: "starting", started: null, ended: null };
  const steering = new RunSteering(fid); // steering.js
  const locks = new RunLocks(fid, () => showState()); // locks.js

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const parsed = (text) => { try { return JSON.parse(text); } catch { return null; } };

  // A stream that survives everything but its end: the browser connects again after a broken connection, this after
  // an answer that was no stream. `seq` drops what was seen already.
  class Stream {
    constructor(path, onEvents) {
      this.path = path; this.onEvents = onEvents; this.seq = 0; this.done = false;
      this.source = null; this.retry = 0; this.delay = 500; this.queue = []; this.scheduled = false;
    }
    open() {
      if (this.source || this.done) return;
      clearTimeout(this.retry);
      const url = new URL(this.path, location.origin);
      if (this.seq) url.searchParams.set("last_event_id", this.seq);
      const source = this.source = new EventSource(url);
      for (const kind of KINDS) source.addEventListener(kind, (message) => { if (message.data !== undefined) this.take(kind, message); });
      source.addEventListener("eof", () => { this.done = true; this.close(); connection(); });
      source.addEventListener("open", () => { this.delay = 500; connection(); });
      // also fires for the connection's own errors; those carry no data
      source.addEventListener("error", (message) => {
        if (message.data !== undefined || this.source !== source) return;
        if (source.readyState === EventSource.CLOSED) {
          this.close();
          this.retry = setTimeout(() => this.open(), this.delay);
          this.delay = Math.min(this.delay * 2, 10000);
        }
        connection();
      });
    }
    close() {
      clearTimeout(this.retry);
      if (this.source) this.source.close();
      this.source = null;
    }
    take(kind, message) {
      const seq = Number(message.lastEventId);
      if (!(seq > this.seq)) return;
      this.seq = seq;
      const cut = message.data.indexOf(":");
      this.queue.push({ seq, kind, time: Number(message.data.slice(0, cut)), payload: message.data.slice(cut + 1) });
      if (this.scheduled) return;
      this.scheduled = true;
      setTimeout(() => { this.scheduled = false; this.onEvents(this.queue.splice(0)); }, 30);
    }
  }

  const streams = {
    main: new Stream(`/outputs/main/${fid}?extended=true`, (events) => events.forEach(showMain)),
    stdio: new Stream(`/outputs/stdio/${fid}?extended=true`, showOutput),
    events: new Stream(`/outputs/stream/${fid}?extended=true`, showEvents),
  };

  function connection() {
    const open = streams.main;
    byId("run-connection").hidden = open.done || (open.source !== null && open.source.readyState === EventSource.OPEN);
  }

  // facts

  function showState() {
    const final = TERMINAL.includes(run.state);
    const shown = locks.open.length && !final && run.state !== "paused" ? "awaiting" : run.state;
    const badge = byId("run-state");
    badge.textContent = shown;
    badge.dataset.state = shown;
    badge.className = `badge state-${shown} ${shown}`;
    byId("run-print").hidden = byId("run-raw").hidden = !final;
    byId("run-paused").hidden = run.state !== "paused";
    steering.show(run.state);
    byId("result-empty").textContent = final ? "No result." : "No result yet.";
    if (run.state !== "starting") byId("run-place").hidden = true;
  }

  function showTime() {
    if (run.started === null) return;
    const seconds = Math.max(0, (run.ended ?? Date.now() / 1000) - run.started);
    const whole = Math.floor(seconds);
    const clock = whole < 60 ? `${seconds.toFixed(run.ended ? 1 : 0)} s`
      : `${Math.floor(whole / 3600) ? `${Math.floor(whole / 3600)} h ` : ""}${Math.floor(whole / 60) % 60} min ${whole % 60} s`;
    byId("run-time").textContent = `${new Date(run.started * 1000).toLocaleString()}, ${clock}`;
  }

  function tick() {
    showTime();
    if (!TERMINAL.includes(run.state)) setTimeout(tick, 1000);
  }

  // Asked while the run waits its turn, again after a pause of that.
  let placing = 0;
  function placeIn(milliseconds) {
    clearTimeout(placing);
    placing = setTimeout(showPlace, milliseconds);
  }

  async function showPlace() {
    if (run.state !== "starting") return;
    try {
      const answer = await fetch(`/outputs/status/${fid}?extended=true`, { headers: { Accept: "application/json" } });
      if (answer.ok) {
        const place = (await answer.json()).queue_position;
        byId("run-place").hidden = !place || run.state !== "starting";
        if (place) byId("run-place").textContent = place === 1 ? "next in the queue" : `place ${place} in the queue`;
      }
    } catch { /* the next round asks again */ }
    if (run.state === "starting") placeIn(2000);
  }

  // the Result tab

  const handlers = {
    status({ payload, time }) {
      if (payload === "starting" && run.state === "paused") placeIn(0);
      run.state = payload;
      if (run.started === null) run.started = time;
      if (TERMINAL.includes(payload)) { run.ended = time; locks.end(time); }
      showState();
      showTime();
    },
    meta({ payload }) {
      const meta = Object.values(parsed(payload) || {})[0] || {};
      const title = meta.summary || meta.entry_point || "Execution";
      byId("run-title").textContent = title;
      document.title = title;
      byId("run-description").textContent = meta.description || "";
      byId("run-description").hidden = !meta.description;
    },
    inputs({ payload }) {
      byId("stdio-inputs").hidden = false;
      byId("stdio-inputs").querySelector("pre").textContent = payload;
    },
    agent({ payload }) {
      const value = (Object.values(parsed(payload) || {})[0]) || {};
      const [what, about] = Object.entries(value)[0] || ["agent", {}];
      const box = element("article", "action");
      box.append(element("h4", "", `${what === "task" ? "Task" : "Agent"}: ${about.role || about.name || ""}`));
      box.append(element("p", "", about.goal || about.description || ""));
      addResult(box);
    },
    error({ payload }) {
      const box = element("article", "error");
      box.append(element("h4", "", "Error"), element("pre", "", lastLines(payload)));
      addResult(box);
    },
    attempt({ payload }) {
      const { number, short, reason } = attemptOf(payload);
      byId("run-attempt").textContent = `attempt ${number}`;
      byId("run-attempt").hidden = false;
      const box = element("article", "attempt");
      const line = element("p");
      line.append(element("strong", "", `Attempt ${number}`), short ? `: ${short}` : "");
      box.append(line);
      if (reason !== short) {
        const whole = element("details");
        whole.append(element("summary", "", "Why the one before ended"), element("pre", "", reason));
        box.append(whole);
      }
      addResult(box);
    },
    lock({ payload }) {
      const value = (parsed(payload) || {}).dict;
      if (value && value.lid) locks.opened(value);
    },
    lease({ payload, time }) {
      const value = (parsed(payload) || {}).dict;
      if (value) locks.released(value, time);
    },
  };

  function showMain(event) {
    if (RESULTS.includes(event.kind)) {
      const box = element("article", event.kind);
      box.innerHTML = event.payload; // sanitised by the server
      addResult(box);
    } else if (handlers[event.kind]) {
      handlers[event.kind](event);
    }
  }

  function addResult(box) {
    byId("result-empty").hidden = true;
    byId("result-list").append(box);
  }

  // The reason is why the attempt before ended: a sentence, or a traceback, whose last lines say it shortest.
  function attemptOf(payload) {
    const value = (parsed(payload) || {}).dict || {};
    const reason = typeof value.reason === "string" ? value.reason.trim() : "";
    const [line] = lastLines(reason).split("\n");
    return { number: Number(value.number) || "?", reason, short: line.length > MAX_REASON ? `${line.slice(0, MAX_REASON)} …` : line };
  }

  // What follows the last traceback's frames, some of which may have been left out; the whole of it is in the I/O tab.
  function lastLines(text) {
    const lines = text.slice(text.lastIndexOf("Traceback (most recent call last):")).split("\n");
    const place = lines.findIndex((line, index) => index > 0 && /^\S/.test(line) && !/^… .* left out …$/.test(line));
    return place > 0 && text.includes("Traceback (most") ? lines.slice(place).join("\n") : text;
  }

  // the I/O tab

  function showOutput(events) {
    const lines = events.map(({ kind, payload }) => {
      const line = element("div", kind);
      if (OUTPUT.includes(kind)) line.innerHTML = payload; // escaped by the server, colours as spans
      else line.textContent = kind === "upload" ? uploads(payload) : kind === "attempt" ? attemptLine(payload) : payload;
      return line;
    });
    const list = byId("stdio-list");
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    append(list, lines);
    byId("stdio-empty").hidden = true;
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  function uploads(payload) {
    const files = ((parsed(payload) || {}).Upload || {}).files || [];
    return `files: ${files.map((file) => file.path).join(", ")}`;
  }

  function attemptLine(payload) {
    const { number, short } = attemptOf(payload);
    return short ? `Attempt ${number}: ${short}` : `Attempt ${number}`;
  }

  // the Events tab

  function showEvents(events) {
    append(byId("events-list"), events.map(({ seq, kind, time, payload }) => {
      const row = element("tr");
      const shown = payload.length > MAX_PAYLOAD ? `${payload.slice(0, MAX_PAYLOAD)} … (${payload.length} characters)` : payload;
      const when = new Date(time * 1000).toISOString().slice(11, 23);
      for (const text of [seq, when, kind, shown]) row.append(element("td", "", text));
      return row;
    }));
  }

  function append(list, nodes) {
    list.append(...nodes.slice(-MAX_NODES));
    const excess = list.childElementCount - MAX_NODES;
    if (excess > 0 || nodes.length > MAX_NODES) list.closest("section").querySelector(".trimmed").hidden = false;
    for (let count = 0; count < excess; count += 1) list.firstElementChild.remove();
  }

  // tabs

  const tabs = [...document.querySelectorAll("[role=tab]")];

  function select(tab) {
    for (const each of tabs) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
      byId(each.getAttribute("aria-controls")).hidden = !chosen;
    }
    follow();
  }

  // A browser opens few connections to one host: only what is seen is followed.
  function follow() {
    const shown = tabs.find((tab) => tab.getAttribute("aria-selected") === "true").id.slice(4);
    for (const [name, stream] of Object.entries(streams)) {
      if (!document.hidden && (name === "main" || name === shown)) stream.open();
      else stream.close();
    }
    connection();
  }

  for (const tab of tabs) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      select(next);
      next.focus();
    });
  }
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", () => Object.values(streams).forEach((stream) => stream.close()));
  window.addEventListener("pageshow", follow);

  showState();
  follow();
  tick();
  placeIn(500);
})();
