// The timeline page: pages of 25 as it is scrolled, changes every few seconds while it is seen.
"use strict";
(() => {
  const list = document.getElementById("timeline");
  const more = document.getElementById("timeline-more");
  const search = document.getElementById("timeline-search");
  const rows = Number(list.dataset.rows);
  const UPDATE_MS = 2000;
  const page = { q: new URLSearchParams(location.search).get("q") || "", offset: null, origin: null, timestamp: null, end: false, loading: false, round: 0 };
  const known = new Map();

  const cell = (className, text) => {
    const made = document.createElement("span");
    made.className = className;
    made.textContent = text;
    return made;
  };

  function runtime(item) {
    const seconds = item.finish ? item.runtime : Math.max(item.runtime, 0);
    return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  }

  function inputsText(inputs) {
    if (inputs === null || inputs === undefined) return "";
    const value = Object.values(inputs)[0];
    if (value === null || typeof value !== "object") return String(value);
    return Object.entries(value).map(([name, each]) => `${name}: ${typeof each === "string" ? each : JSON.stringify(each)}`).join(", ").slice(0, 300);
  }

  function row(item) {
    const made = document.createElement("li");
    const link = document.createElement("a");
    link.href = `/admin/status/view/${item.fid}`;
    const badge = cell(`badge state-${item.status} ${item.status}`, item.status);
    badge.dataset.state = item.status;
    const started = item.startup ? new Date(item.startup).toLocaleString() : "";
    link.append(badge, cell("summary", item.summary || item.fid), cell("when", `${started} · ${runtime(item)}`));
    const inputs = inputsText(item.inputs);
    if (inputs) link.append(cell("inputs", inputs));
    made.dataset.fid = item.fid;
    made.append(link);
    return made;
  }

  // Puts an item where its id belongs; below what is loaded it is left to the next page.
  function put(item, appended) {
    const made = row(item);
    const old = known.get(item.fid);
    if (old) {
      const focused = old.contains(document.activeElement);
      old.replaceWith(made);
      if (focused) made.firstElementChild.focus();
    } else if (appended) {
      list.append(made);
    } else {
      const below = [...list.children].find((each) => each.dataset.fid < item.fid);
      if (!below && !page.end && list.childElementCount) return;
      list.insertBefore(made, below || null);
    }
    known.set(item.fid, made);
  }

  async function ask(parameters) {
    const query = new URLSearchParams({ pp: rows, q: page.q });
    for (const [name, value] of Object.entries(parameters)) if (value !== null) query.set(name, value);
    const answer = await fetch(`/timeline?${query}`, { headers: { Accept: "application/json" } });
    if (answer.status === 401) { location.assign("/"); }
    if (!answer.ok) throw new Error(`The panel answered ${answer.status}.`);
    return answer.json();
  }

  function show(data) {
    data.items.append.forEach((item) => put(item, true));
    [...data.items.insert].reverse().forEach((item) => put(item, false));
    data.items.update.forEach((item) => put(item, false));
    for (const fid of data.items.delete) {
      const gone = known.get(fid);
      if (gone) gone.remove();
      known.delete(fid);
    }
    document.getElementById("timeline-total").textContent = `${data.total} executions`;
    document.getElementById("timeline-empty").hidden = list.childElementCount > 0;
    document.getElementById("timeline-note").textContent = "";
  }

  function failed(error) {
    document.getElementById("timeline-note").textContent = `Not up to date: ${error.message}`;
  }

  async function loadMore() {
    if (page.loading || page.end) return;
    page.loading = true;
    const round = page.round;
    try {
      const data = await ask({ mode: "next", offset: page.offset, origin: page.origin, timestamp: page.timestamp });
      if (round !== page.round) return;
      page.offset = data.offset;
      page.end = data.offset === null;
      page.origin = page.origin || data.origin;
      if (page.timestamp === null) page.timestamp = data.timestamp;
      more.hidden = page.end;
      show(data);
    } catch (error) {
      failed(error);
    } finally {
      if (round === page.round) page.loading = false;
    }
    // a page that doesn't fill the window never crosses the observer's line
    if (round === page.round && !page.end && more.getBoundingClientRect().top < innerHeight) setTimeout(loadMore, 250);
  }

  async function update() {
    const round = page.round;
    if (!document.hidden && page.timestamp !== null && !page.loading) {
      try {
        const data = await ask({ mode: "update", origin: page.origin, timestamp: page.timestamp });
        if (round === page.round) {
          page.timestamp = data.timestamp;
          page.origin = data.origin;
          show(data);
        }
      } catch (error) {
        failed(error);
      }
    }
    setTimeout(update, UPDATE_MS);
  }

  function restart() {
    Object.assign(page, { q: search.elements.q.value.trim(), offset: null, origin: null, timestamp: null, end: false, loading: false, round: page.round + 1 });
    const address = new URL(location.href);
    if (page.q) address.searchParams.set("q", page.q); else address.searchParams.delete("q");
    history.replaceState(null, "", address);
    list.replaceChildren();
    known.clear();
    loadMore();
  }

  let typing = 0;
  search.elements.q.value = page.q;
  search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(restart, 250); });
  search.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); restart(); });
  more.querySelector("button").addEventListener("click", loadMore);
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) loadMore(); }, { rootMargin: "300px" }).observe(more);
  loadMore();
  setTimeout(update, UPDATE_MS);
})();
