// The locks of a run on its page: who is asked, a way to the form for who may answer, and who answered when.
// The stream's events say what is open; names and rights come from the panel, asked once for a burst of events.
"use strict";
class RunLocks {
  constructor(fid, changed) {
    this.fid = fid;
    this.changed = changed;
    this.locks = new Map();
    this.asking = 0;
    this.cards = document.getElementById("run-locks");
    this.answers = document.getElementById("run-answers");
  }

  get open() { return [...this.locks.values()].filter((lock) => lock.state === "open"); }

  opened({ lid, name, expires, assignee, four_eyes }) {
    if (this.locks.has(lid)) return;
    this.locks.set(lid, { lid, name: String(name || "lock"), expires, assignee, four_eyes, state: "open" });
    this.update();
  }

  released({ lid, by, at, expired, withdrawn }, time) {
    const lock = this.locks.get(lid);
    if (!lock || lock.state !== "open") return;
    Object.assign(lock, { state: expired ? "expired" : withdrawn ? "withdrawn" : "answered", by, at: at || time });
    this.update();
  }

  // The run is over: nobody is left who could wait for an answer.
  end(time) {
    for (const lock of this.open) Object.assign(lock, { state: "closed", at: time });
    this.show();
  }

  update() {
    this.show();
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.ask(), 50);
  }

  async ask() {
    let known = [];
    try {
      const answer = await fetch(`/lock/${this.fid}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      known = await answer.json();
    } catch {
      this.asking = setTimeout(() => this.ask(), 3000);
      return;
    }
    for (const { lid, assignee, may_answer, by_name } of known) {
      const lock = this.locks.get(lid);
      if (lock) Object.assign(lock, { assignee, may: may_answer, by_name: by_name || lock.by_name });
    }
    this.show();
  }

  show() {
    const open = this.open;
    const past = [...this.locks.values()].filter((lock) => lock.state !== "open");
    this.keep(this.cards, open, (lock) => this.card(lock));
    this.cards.hidden = !open.length;
    const before = this.answers.childElementCount && !this.answers.hidden;
    this.answers.hidden = !past.length;
    this.answers.querySelector("summary").textContent = past.length === 1 ? "1 question is settled" : `${past.length} questions are settled`;
    this.answers.querySelector("ul").replaceChildren(...past.map((lock) => this.line(lock)));
    if (!before && past.length) this.answers.open = past.length <= 5;
    this.changed();
  }

  // A card that says the same stays the same element: whoever is at its link by keyboard stays there.
  keep(list, locks, make) {
    const cards = new Map([...list.children].map((card) => [card.dataset.lid, card]));
    const wanted = locks.map((lock) => {
      const card = make(lock);
      const old = cards.get(lock.lid);
      return old && old.isEqualNode(card) ? old : card;
    });
    for (const card of cards.values()) if (!wanted.includes(card)) card.remove();
    wanted.forEach((card, place) => { if (list.children[place] !== card) list.insertBefore(card, list.children[place] || null); });
  }

  card(lock) {
    const card = this.element("article", "lock-card notice");
    card.dataset.lid = lock.lid;
    const text = this.element("div", "lock-text");
    text.append(this.element("strong", "", lock.name), this.element("p", "muted", this.waiting(lock)));
    card.append(text);
    if (lock.may) {
      const link = this.element("a", "button", "Answer");
      link.href = `/inputs/lock/${this.fid}/${encodeURIComponent(lock.lid)}`;
      link.setAttribute("aria-label", `Answer ${lock.name}`);
      card.append(link);
    }
    return card;
  }

  waiting(lock) {
    const asked = Array.isArray(lock.assignee) ? lock.assignee : lock.assignee ? [lock.assignee] : null;
    const whom = asked ? asked.join(", ") || "an operator"
      : lock.may ? "your answer" : lock.four_eyes ? "somebody other than who launched it" : "the run's owner";
    const until = lock.expires ? `, until ${new Date(lock.expires * 1000).toLocaleString()}` : "";
    return `Waits for ${lock.may && asked ? `your answer (asked: ${whom})` : whom}${until}.`;
  }

  line(lock) {
    const when = lock.at ? ` · ${new Date(lock.at * 1000).toLocaleString()}` : "";
    const what = {
      answered: `answered by ${lock.by_name || lock.by || "somebody"}`,
      expired: "expired",
      withdrawn: "no longer waited for",
      closed: "closed when the run ended",
    };
    const line = this.element("li");
    line.append(this.element("strong", "", lock.name), ` ${what[lock.state]}${when}`);
    return line;
  }

  element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }
}
