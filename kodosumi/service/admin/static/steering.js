// What a user does to a run on its page: pause, resume, cancel, delete. What became of it comes with the stream; an
// answer that is no success is shown where the button was pressed.
"use strict";
class RunSteering {
  constructor(fid) {
    this.fid = fid;
    this.state = "starting";
    this.pending = "";
    this.act = null;
    for (const name of ["pause", "cancel", "delete", "problem"]) this[name] = document.getElementById(`run-${name}`);
    this.dialog = document.getElementById("run-dialog");
    for (const name of ["title", "text", "error", "keep", "confirm"]) this[`ask_${name}`] = document.getElementById(`dialog-${name}`);
    this.pause.addEventListener("click", () => this.toggle());
    this.cancel.addEventListener("click", () => this.askCancel());
    this.delete.addEventListener("click", () => this.askDelete());
    this.ask_confirm.addEventListener("click", () => this.confirmed());
  }

  get over() { return ["finished", "error"].includes(this.state); }

  // The state as stored: the stream's latest status.
  show(state) {
    if (state !== this.state) this.pending = "";
    this.state = state;
    const paused = state === "paused";
    this.pause.hidden = this.cancel.hidden = this.over;
    this.pause.textContent = this.pending || (paused ? "Resume" : "Pause");
    this.pause.className = paused ? "" : "secondary";
    if (this.pending) this.pause.setAttribute("aria-disabled", "true"); else this.pause.removeAttribute("aria-disabled");
    this.delete.className = this.over ? "danger" : "secondary";
    if (this.over) this.problem.hidden = true;
    if (this.over && this.dialog.open && this.act === this.end) this.dialog.close();
  }

  async toggle() {
    if (this.pending) return;
    const [action, doing] = this.state === "paused" ? ["resume", "Resuming …"] : ["pause", "Pausing …"];
    this.problem.hidden = true;
    this.pending = doing;
    this.show(this.state);
    try {
      await this.call(`/outputs/${this.fid}/${action}`, "POST");
      // the stream says it in a moment; one that is broken mustn't keep the button
      setTimeout(() => { if (this.pending === doing) this.free(); }, 3000);
    } catch (error) {
      this.free();
      this.problem.textContent = error.message;
      this.problem.hidden = false;
    }
  }

  free() {
    this.pending = "";
    this.show(this.state);
  }

  askCancel() {
    this.ask(this.end, "Cancel this run?", "Its code gets five seconds to clean up. What it told so far is kept.", "Keep", "Cancel run");
  }

  askDelete() {
    const text = this.over ? "It disappears from the timeline." : "It is running: it will be stopped, then disappear from the timeline.";
    this.ask(this.remove, "Delete this execution?", text, "Keep", "Delete");
  }

  async end() {
    await this.call(`/outputs/${this.fid}/cancel`, "POST");
    this.dialog.close();
  }

  async remove() {
    await this.call(`/outputs/${this.fid}`, "DELETE");
    location.assign("/admin/timeline/view");
  }

  ask(act, title, text, keep, confirm) {
    this.act = act;
    this.ask_title.textContent = title;
    this.ask_text.textContent = text;
    this.ask_keep.textContent = keep;
    this.ask_confirm.textContent = confirm;
    this.ask_error.hidden = true;
    this.dialog.showModal();
  }

  async confirmed() {
    this.ask_confirm.disabled = true;
    this.ask_error.hidden = true;
    try {
      await this.act.call(this);
    } catch (error) {
      this.ask_error.textContent = error.message;
      this.ask_error.hidden = false;
    } finally {
      this.ask_confirm.disabled = false;
    }
  }

  async call(path, method) {
    const answer = await fetch(path, { method, headers: { Accept: "application/json" } }).catch(() => null);
    if (answer === null) throw new Error("The panel cannot be reached. Try again in a moment.");
    if (answer.ok) return;
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || `The panel answered ${answer.status}.`);
  }
}
