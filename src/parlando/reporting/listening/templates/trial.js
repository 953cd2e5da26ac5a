// One screen of the test: sounds, rating, and the button that goes on once both are done.

function make(tag, attributes = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...[children].flat());
  return element;
}

const ICONS = { play: "M4 2l16 10L4 22z", pause: "M4 2h6v20H4zM14 2h6v20h-6z" };

function soundButton(name) {
  const button = make("button", { type: "button", class: "sound" });
  button.innerHTML = '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path/></svg>';
  button.append(
    make("span", { class: "name" }, [name, make("span", { class: "state" })]),
    make("span", { class: "bar" }),
  );
  return button;
}

function refreshSound(button, player, place) {
  const playing = player.playing(place);
  button.classList.toggle("chosen", player.chosen === place);
  button.classList.toggle("heard", player.heard[place]);
  button.querySelector("path").setAttribute("d", playing ? ICONS.pause : ICONS.play);
  button.querySelector(".bar").style.width = `${100 * player.share(place)}%`;
  const state = player.failed[place] ? "cannot be played, try again"
    : playing ? "playing" : player.heard[place] ? "✓ heard" : "not heard yet";
  button.querySelector(".state").textContent = state;
}

class Trial {
  // done(answer) is called once; kept(current) whenever something changed.
  constructor(test, screen, practice, current, { done, kept }) {
    this.kind = KINDS[test.kind];
    this.screen = screen;
    this.done = done;
    this.kept = kept;
    const files = [...(screen.shown ? [screen.shown] : []), ...screen.stimuli];
    this.player = new Player(files, () => this.refresh());
    this.scores = current?.scores ?? this.kind.start(screen.stimuli.length);
    if (current) {
      this.player.heard = current.heard;
      this.player.plays = current.plays;
      this.player.chosen = Math.max(0, current.heard.indexOf(false));
    }
    this.seconds = current?.seconds ?? 0;
    this.since = Date.now();
    this.names = this.kind.names(screen.stimuli.length);
    this.rows = test.kind === "mushra"; // each sound but the reference stands beside its slider
    if (this.rows) this.names = ["Reference", ...this.names];
    this.build(practice);
  }

  build(practice) {
    this.buttons = this.names.map((name, place) => {
      const button = soundButton(name);
      button.addEventListener("click", () => this.player.toggle(place));
      button.addEventListener("choose", () => this.player.choose(place - this.player.chosen));
      return button;
    });
    this.rating = make("div");
    this.next = make("button", { type: "button", class: "main" }, "Next");
    this.next.addEventListener("click", () => this.finish());
    this.reason = make("p", { class: "soft", role: "status" });
    const heading = make("h1", { tabindex: -1 }, this.kind.question);
    this.element = make("div", {}, [
      ...(practice ? [make("span", { class: "badge" }, "Practice, not counted")] : []),
      heading,
      make("div", { class: "sounds" }, this.rows ? this.buttons.slice(0, 1) : this.buttons),
      this.rating,
      make("div", { class: "go" }, [this.next, this.reason]),
      keyHelp([["Space", "play or pause"], ...this.kind.keys, ["Enter", "next"]]),
    ]);
    this.drawRating();
    this.refresh();
    this.clock = setInterval(() => this.refreshBars(), 60);
  }

  drawRating() {
    const focused = this.rating.contains(document.activeElement)
      ? [...this.rating.querySelectorAll("input, [role=radio]")].indexOf(document.activeElement) : -1;
    this.rating.replaceChildren(
      this.kind.draw(this.scores, (row, score) => this.rate(row, score), this.buttons.slice(1)),
    );
    if (focused >= 0) this.rating.querySelectorAll("input, [role=radio]")[focused].focus();
  }

  refreshBars() {
    this.buttons.forEach((button, place) => {
      button.querySelector(".bar").style.width = `${100 * this.player.share(place)}%`;
    });
  }

  refresh() {
    if (!this.element) return;
    this.buttons.forEach((button, place) => refreshSound(button, this.player, place));
    this.rating.querySelectorAll("input, [role=radio]").forEach((control, place) => {
      control.disabled = !this.ratable(this.rows ? place : 0);
    });
    const missing = this.missing();
    this.next.disabled = missing !== "";
    this.reason.textContent = missing;
    this.reason.classList.toggle("warn", this.player.failed.includes(true));
    this.kept({
      heard: this.player.heard, plays: this.player.plays, scores: this.scores,
      seconds: this.elapsed(),
    });
  }

  elapsed() {
    return this.seconds + (Date.now() - this.since) / 1000;
  }

  missing() {
    if (this.player.failed.includes(true)) {
      return "A sound cannot be played. Reload the page, or tell who sent you here.";
    }
    const unheard = this.names.filter((_, place) => !this.player.heard[place]);
    if (unheard.length === this.names.length) return "Listen to every sound to its end.";
    if (unheard.length) return `Still to hear to the end: ${unheard.join(", ")}.`;
    return this.scores.includes(null) ? "Now rate what you heard." : "";
  }

  // A sound is rated once it was heard, a pair once both were.
  ratable(row) {
    return this.rows ? this.player.heard[row + 1] : !this.player.heard.includes(false);
  }

  rate(row, score) {
    if (!this.ratable(row)) return;
    this.scores = this.scores.map((old, place) => (place === row ? score : old));
    // A slider under the finger must stay: only its figure changes.
    const slider = this.rating.querySelectorAll("input[type=range]")[row];
    if (slider) {
      slider.value = score;
      slider.parentElement.classList.remove("unset");
      slider.parentElement.querySelector("output").textContent = String(score);
    } else {
      this.drawRating();
    }
    this.refresh();
  }

  key(event) {
    const row = Math.max(0, this.player.chosen - 1); // in rows, the first sound is the reference
    const onReference = this.rows && this.player.chosen === 0;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    let rating = null;
    if (event.key === " ") this.player.toggle();
    else if (event.key === "ArrowUp") this.player.choose(-1);
    else if (event.key === "ArrowDown") this.player.choose(1);
    else if (event.key === "Enter") this.finish();
    else if (onReference) return false;
    else if (by) rating = this.kind.step(this.scores, row, event.shiftKey ? 10 * by : by);
    else if (/^[0-9]$/.test(event.key)) rating = this.kind.digit(this.scores, row, Number(event.key));
    else return false;
    if (rating) this.rate(...rating);
    return true;
  }

  finish() {
    if (this.missing()) return;
    this.close();
    this.done({
      screen: this.screen.id, shown: this.screen.stimuli, scores: this.scores,
      plays: this.player.plays, seconds: Math.round(10 * this.elapsed()) / 10,
    });
  }

  close() {
    clearInterval(this.clock);
    this.player.silence();
  }
}

function keyHelp(keys) {
  return make("div", { class: "keys", "aria-label": "Keys" }, keys.map(([key, text]) =>
    make("span", {}, [make("kbd", {}, key), ` ${text}`])));
}
