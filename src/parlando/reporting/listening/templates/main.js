// The way through the test: welcome, level, practice, trials, end.

function start(test) {
  const screen = document.getElementById("screen");
  const foot = document.getElementById("foot");
  let session = null;
  let order = [];
  let onKey = () => false;
  let leave = () => {};

  function show(children, keys = () => false) {
    onKey = keys;
    screen.replaceChildren(...children);
    const heading = screen.querySelector("h1");
    heading.setAttribute("tabindex", -1);
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  function progress() {
    const total = test.screens.length;
    const done = session ? session.answers.length : 0;
    const bar = document.getElementById("progress");
    bar.setAttribute("aria-valuemax", total);
    bar.setAttribute("aria-valuenow", done);
    bar.firstElementChild.style.width = `${(100 * done) / total}%`;
    const rating = session && session.stage === "trial";
    document.getElementById("count").textContent = rating ? `${done + 1} of ${total}` : "";
    foot.replaceChildren();
    if (!session) return;
    const other = make("button", { type: "button", class: "link" }, "Not you? Change rater");
    other.addEventListener("click", () => {
      forgetLatest(test);
      session = null;
      go();
    });
    foot.append(make("span", {}, `Rater ${session.rater}`), other);
    if (session.answers.length && session.stage === "trial") {
      const partial = make("button", { type: "button", class: "link" }, "Download what is done so far");
      partial.addEventListener("click", () => download(test, session));
      foot.append(partial);
    }
  }

  function enter(next) {
    session.stage = next;
    session.current = null;
    remember(test, session);
    go();
  }

  function go() {
    leave();
    leave = () => {};
    progress();
    if (!session) welcome();
    else if (session.stage === "level") level();
    else if (session.stage === "practice") trial(test.practice, true);
    else if (session.stage === "trial") trial(order[session.answers.length], false);
    else end();
  }

  function begin(profile) {
    session = recall(test, profile.rater) || newSession(profile);
    order = orderFor(test, session.rater);
    remember(test, session);
    go();
  }

  function choice(name, legend, options) {
    return make("fieldset", {}, [
      make("legend", {}, legend),
      ...options.map(([value, text]) =>
        make("label", {}, [make("input", { type: "radio", name, value, required: "" }), text])),
    ]);
  }

  function welcome() {
    const name = make("input", {
      type: "text", id: "rater", name: "rater", required: "", maxlength: 40, autocomplete: "off",
      pattern: "[A-Za-z0-9_.\\-]+", title: "Letters, digits, dot, hyphen and underscore",
    });
    const form = make("form", {}, [
      make("div", { class: "field" }, [
        make("label", { for: "rater" }, "Your rater name"), name,
        make("div", { class: "soft" }, "Any short name without spaces; it need not be your own. With it you can go on later."),
      ]),
      choice("language", `Is ${test.language} your native language?`, [["native", "Yes"], ["other", "No"]]),
      choice("listening", "You listen with", [["headphones", "Headphones"], ["loudspeakers", "Loudspeakers"]]),
      make("div", { class: "go" }, make("button", { class: "main" }, "Begin")),
    ]);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      begin(Object.fromEntries(new FormData(form)));
    });
    const kind = KINDS[test.kind];
    const minutes = Math.max(1, Math.round(test.screens.length * (test.kind === "mushra" ? 1.5 : 0.5)));
    const destination = test.post
      ? `At the end your ratings are sent to ${new URL(test.post).host}, and you can keep a copy.`
      : "Your ratings stay on this computer; at the end you save them as a file.";
    show([
      make("h1", {}, kind.question),
      make("ul", {}, kind.notes.map((note) => make("li", {}, note))),
      make("p", {}, `There are ${test.screens.length} screens; it takes about ${minutes} minutes. `
        + "Please use headphones in a quiet room, and rate only what you have heard to the end."),
      make("p", { class: "soft" }, storage
        ? `You can stop at any time and go on later in this browser. ${destination}`
        : `This browser keeps nothing: do not reload before the end. ${destination}`),
      form,
    ]);
  }

  function level() {
    const button = soundButton("A voice");
    const next = make("button", { type: "button", class: "main", disabled: "" }, "The volume is right");
    const player = new Player([test.practice.stimuli[0]], () => {
      refreshSound(button, player, 0);
      next.disabled = !player.heard[0];
    });
    const clock = setInterval(() => refreshSound(button, player, 0), 60);
    leave = () => {
      clearInterval(clock);
      player.silence();
    };
    button.addEventListener("click", () => player.toggle());
    next.addEventListener("click", () => enter("practice"));
    refreshSound(button, player, 0);
    show([
      make("h1", {}, "Set the volume"),
      make("p", {}, "Play this voice and set a comfortable volume, as in a talk across a table. Leave it there for the whole test."),
      make("div", { class: "sounds" }, button),
      make("div", { class: "go" }, next),
      keyHelp([["Space", "play or pause"], ["Enter", "next"]]),
    ], (event) => {
      if (event.key === " ") player.toggle();
      else if (event.key === "Enter") next.click();
      else return false;
      return true;
    });
  }

  function trial(which, practice) {
    const one = new Trial(test, which, practice, session.current, {
      kept: (current) => {
        session.current = current;
        remember(test, session);
      },
      done: (answer) => {
        if (!practice) session.answers.push(answer);
        const finished = !practice && session.answers.length === test.screens.length;
        if (finished) session.finished = new Date().toISOString();
        enter(finished ? "end" : "trial");
      },
    });
    leave = () => one.close();
    show([one.element], (event) => one.key(event));
  }

  function end() {
    const save = make("button", { type: "button", class: "main" }, "Save your ratings");
    save.addEventListener("click", () => download(test, session));
    const told = make("p", { role: "status" }, test.post ? "" : "Save them as a file and hand it to who asked you.");
    show([
      make("h1", {}, "Thank you, that was all"),
      make("p", {}, `All ${test.screens.length} screens are rated.`),
      told,
      make("div", { class: "go" }, save),
      keyHelp([["Enter", "save"]]),
    ], (event) => event.key === "Enter" && (save.click(), true));
    if (test.post) post(told);
  }

  async function post(told) {
    if (!session.sent) {
      told.textContent = "Sending …";
      try {
        await send(test, session);
        session.sent = true;
        remember(test, session);
      } catch (error) {
        told.classList.add("warn");
        told.textContent = `Your ratings could not be sent (${error.message}). Save them as a file, or reload to try again.`;
        return;
      }
    }
    told.textContent = "Your ratings have been sent. Save them too if you want a copy.";
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text]")) return;
    // What the keyboard reached by Tab keeps its own Space and Enter.
    const own = event.target.matches("button, input[type=radio]") && [" ", "Enter"].includes(event.key);
    if (!own && onKey(event)) event.preventDefault();
  });
  // After a click or tap the keys belong to the screen again.
  screen.addEventListener("click", (event) => {
    const button = event.target.closest("button, input[type=range]");
    if (button && event.detail > 0) button.blur();
  });

  const known = latestRater(test);
  session = known ? recall(test, known) : null;
  if (session) order = orderFor(test, session.rater);
  go();
}
