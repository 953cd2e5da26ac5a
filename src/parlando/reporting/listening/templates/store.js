// What a rater has done so far, kept in this browser by test and rater.

const storage = (() => {
  try {
    localStorage.setItem("parlando-listen", "1");
    return localStorage;
  } catch {
    return null; // A private window may refuse; the page then says that a reload starts anew.
  }
})();

const place = (test, rater) => `parlando-listen:${test.test}:${rater}`;
const latest = (test) => `parlando-listen:${test.test}`;

function recall(test, rater) {
  const text = storage && storage.getItem(place(test, rater));
  return text ? JSON.parse(text) : null;
}

function remember(test, session) {
  if (!storage) return;
  storage.setItem(place(test, session.rater), JSON.stringify(session));
  storage.setItem(latest(test), session.rater);
}

const latestRater = (test) => storage && storage.getItem(latest(test));
const forgetLatest = (test) => storage && storage.removeItem(latest(test));

function newSession(profile) {
  return {
    ...profile,
    started: new Date().toISOString(),
    finished: null,
    stage: "level",
    answers: [],
    current: null,
    sent: false,
  };
}

function resultOf(test, session) {
  const { rater, language, listening, started, finished, answers } = session;
  const { format, version, kind } = test;
  const complete = answers.length === test.screens.length;
  return {
    format, version, test: test.test, kind, rater, language, listening, started, finished, complete,
    answers,
  };
}

function download(test, session) {
  const text = JSON.stringify(resultOf(test, session), null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `${test.test}-${session.rater}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function send(test, session) {
  const answer = await fetch(test.post, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(resultOf(test, session)),
  });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
}
