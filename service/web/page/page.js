// Follows Beacon's event stream and shows each snapshot. No library, no request to anywhere else.
"use strict";

const SILENCE_MS = 25_000; // the service speaks at least every 10 s
const RETRY_MS = { first: 1_000, most: 10_000 };
const HISTORY_S = 300;
const GONE_OUT = ["sent", "delivered", "read"];
const WAITING = ["queued", "sending", "unknown"];
const UNDECIDED = ["dead", "held"];
const LISTED = 20;

const byId = (id) => document.getElementById(id);
const page = {
  last: null, // the newest snapshot
  offset: 0, // the service's clock minus ours, in ms
  depths: [], // [seconds, messages waiting], oldest first
  gone: [], // [seconds, messages gone out], last minute
  undecided: "0", // how many are dead and held, as they were listed last
};

// --- words ---------------------------------------------------------------------------------------

function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

const number = new Intl.NumberFormat("en").format;
const nowMs = () => Date.now() + page.offset;
const secondsSince = (time) => (nowMs() - Date.parse(time)) / 1_000;
const total = (counts, states) => states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);

function say(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text; // an unchanged live region stays silent
}

// --- what a snapshot changes ------------------------------------------------------------------------

function show(snapshot) {
  page.last = snapshot;
  page.offset = Date.parse(snapshot.at) - Date.now();
  showSession(snapshot.session);
  showQueue(snapshot.queue);
  showBackup(snapshot.backup);
  say("version", snapshot.service.version);
  tick();
}

function showSession(session) {
  byId("session").dataset.tone = session.tone;
  byId("session").dataset.state = session.state;
  say("state-title", session.title);
  say("state-sentence", session.sentence);
  const advised = session.advice !== "nothing" && session.qr === null; // beside a code stand the steps
  say("state-advice", advised ? session.advice_sentence : "");
  byId("state-advice").hidden = !advised;
  say("reason", session.reason);
  byId("attempt-row").hidden = session.attempt === 0 || session.state === "connected";
  say("attempt", String(session.attempt));
  byId("next-row").hidden = session.next_attempt_at === null;
  document.title = `${session.title} · Beacon`;
  byId("restart").hidden = ["pairing", "stopped"].includes(session.state); // codes renew themselves
  byId("logout").hidden = session.state !== "connected"; // only over a connection can WhatsApp be told
  if (session.state !== "connected") confirming(false);
  showPairing(session);
}

function showPairing(session) {
  const image = byId("qr");
  byId("pairing").hidden = session.state !== "pairing";
  byId("qr-figure").hidden = session.qr === null;
  if (session.qr === null) {
    image.removeAttribute("src");
  } else if (image.dataset.text !== session.qr.text) {
    image.src = `data:image/svg+xml,${encodeURIComponent(session.qr.svg)}`;
  }
  image.dataset.text = session.qr?.text ?? "";
  showCode(session.pair_code);
}

function showCode(code) {
  byId("code-box").hidden = code === null;
  say("code", code ?? "");
}

function showQueue(queue) {
  for (const [state, count] of Object.entries(queue.counts)) {
    const shown = byId(`count-${state}`);
    if (shown === null) continue;
    shown.textContent = number(count);
    shown.parentElement.dataset.zero = count === 0 ? "yes" : "no";
  }
  say("waiting", number(total(queue.counts, WAITING)));
  const undecided = UNDECIDED.map((state) => queue.counts[state] ?? 0).join("+");
  if (undecided !== page.undecided) {
    page.undecided = undecided;
    list();
  }
}

// --- backups --------------------------------------------------------------------------------------------

function showBackup(backup) {
  const [tone, note] = backupNote(backup);
  byId("backup").dataset.tone = tone;
  byId("backup-now").hidden = !backup.enabled;
  say("backup-kept", backup.kept === null ? "–" : number(backup.kept));
  say("backup-place", backup.place);
  say("backup-note", note);
  byId("backup-note").hidden = note === "";
}

// How the section is coloured, and the one thing that is worth saying.
function backupNote(backup) {
  if (!backup.enabled) return ["wait", "None are made: BACKUP_ENABLED=false."];
  if (backup.unprotected) return ["bad", "The place of the backups does not answer: none are made."];
  if (backup.trouble !== null) return ["bad", `The last backup failed: ${backup.trouble}`];
  if (backup.verify_trouble !== null) return ["bad", `The last check failed: ${backup.verify_trouble}`];
  if (backup.place === "DATA_DIR") return ["wait", "Lost with DATA_DIR: set BACKUP_DIR or DATABASE_URL."];
  if (backup.local_key) return ["wait", "Their key is in DATA_DIR alone: set BACKUP_KEYS."];
  if (backup.restored !== null) {
    const lost = backup.undecryptable === 0 ? "" : `; ${number(backup.undecryptable)} messages could not be read`;
    return ["busy", `This session came back from backup ${backup.restored.sequence}${lost}.`];
  }
  return ["busy", ""];
}

function tickBackup(backup) {
  const { busy, progress } = backup;
  byId("backup-busy").hidden = progress === null || secondsSince(progress.began_at) < 1;
  if (progress !== null) say("backup-busy", `Now ${[busy, progress.words].filter(Boolean).join(": ")} …`);
  const ago = (time, never) => (time === null ? never : `${duration(secondsSince(time))} ago`);
  say("backup-last", backup.enabled ? ago(backup.last_backup_at, "none yet") : "off");
  say("backup-verified", ago(backup.last_verified_at, "never"));
}

async function backUp(event) {
  event.target.disabled = true;
  byId("backup-said").hidden = true;
  const said = await ask("POST", "/api/v1/backups", {}, "backup-error");
  if (said !== null) {
    say("backup-said", `Done: ${said.sentence}.`);
    byId("backup-said").hidden = false;
  }
  event.target.disabled = false;
}

// --- messages that wait for somebody ------------------------------------------------------------------

async function list() {
  const waiting = total(page.last.queue.counts, UNDECIDED);
  byId("undecided").hidden = waiting === 0;
  if (waiting === 0) return;
  const query = `state=${UNDECIDED.join(",")}&limit=${LISTED}`;
  const said = await ask("GET", `/api/v1/messages?${query}`, undefined, "undecided-error");
  if (said === null) return;
  byId("undecided-list").replaceChildren(...said.messages.map(row));
  byId("undecided-more").hidden = waiting <= said.messages.length;
  say("undecided-more", `and ${number(waiting - said.messages.length)} more: beacon queue list`);
}

function row(message) {
  const item = document.createElement("li");
  const words = document.createElement("p");
  const chat = document.createElement("b");
  chat.textContent = message.to.replace("@s.whatsapp.net", "");
  words.append(chat, ` ${message.type}, ${message.state}: ${message.last_error ?? "held by hand"}`);
  item.append(words);
  const path = `/api/v1/messages/${message.id}`;
  if (message.state === "dead") item.append(choice("Try again", "POST", `${path}/retry`));
  else item.append(choice("Send", "POST", `${path}/release`), choice("Take back", "DELETE", path));
  return item;
}

function choice(label, method, path) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = label;
  button.addEventListener("click", async () => {
    button.disabled = true;
    const said = await ask(method, path, method === "POST" ? {} : undefined, "undecided-error");
    if (said !== null) button.closest("li").remove(); // the stream tells the counts
    else button.disabled = false;
  });
  return button;
}

// --- what time changes -------------------------------------------------------------------------------

function tick() {
  const { last } = page;
  if (last === null) return;
  say("since", duration(secondsSince(last.session.since)));
  if (last.session.next_attempt_at !== null) say("next", duration(-secondsSince(last.session.next_attempt_at)));
  tickBackup(last.backup);
  say("uptime", duration(secondsSince(last.service.started_at)));
  const oldest = last.queue.oldest_queued_at;
  say("oldest", oldest === null ? "nothing waits" : duration(secondsSince(oldest)));
  remember(last.queue.counts, Math.floor(nowMs() / 1_000));
  draw();
}

function remember(counts, second) {
  const forget = (history, keep) => {
    while (history[0][0] < second - keep) history.shift();
  };
  if (page.depths.at(-1)?.[0] === second) page.depths.pop(); // a second shows how it ended
  page.depths.push([second, total(counts, WAITING)]);
  forget(page.depths, HISTORY_S);

  const gone = total(counts, GONE_OUT);
  if (page.gone.at(-1)?.[0] !== second) page.gone.push([second, gone]); // and is counted from where it began
  forget(page.gone, 60);
  say("rate", number(Math.max(0, gone - page.gone[0][1])));
}

function draw() {
  const end = page.depths.at(-1)[0];
  const peak = Math.max(...page.depths.map(([, depth]) => depth));
  const x = (second) => 300 - (end - second);
  const y = (depth) => 70 - (64 * depth) / Math.max(peak, 1);
  const points = page.depths.map(([second, depth]) => `${x(second)} ${y(depth).toFixed(1)}`);
  const line = `M${points.join("L")}`;
  byId("spark-line").setAttribute("d", points.length > 1 ? line : "");
  byId("spark-area").setAttribute("d", points.length > 1 ? `${line}L300 72L${x(page.depths[0][0])} 72Z` : "");
  say("spark-peak", `peak ${number(peak)}`);
  byId("spark").setAttribute("aria-label", `Messages waiting, last five minutes: peak ${peak}`);
}

// --- the stream ----------------------------------------------------------------------------------------

function live(state, text) {
  byId("live").dataset.live = state;
  document.body.dataset.live = state;
  say("live-text", text);
}

function follow() {
  let source = null;
  let silence = null;
  let wait = RETRY_MS.first;

  function open() {
    source = new EventSource("/api/v1/events");
    source.onmessage = (event) => {
      wait = RETRY_MS.first;
      live("yes", "live");
      listen();
      show(JSON.parse(event.data));
    };
    source.onerror = again;
    listen();
  }

  function listen() {
    clearTimeout(silence);
    silence = setTimeout(again, SILENCE_MS);
  }

  async function again() {
    clearTimeout(silence);
    source.close();
    live("lost", "connection to Beacon lost");
    setTimeout(reopen, wait * (0.5 + Math.random() / 2));
    wait = Math.min(2 * wait, RETRY_MS.most);
  }

  async function reopen() {
    try {
      const answer = await fetch("/api/v1/session", { cache: "no-store" });
      if (answer.status === 401) location.reload(); // the sign-in has ended: the form is at the same address
      else if (answer.ok) open();
      else again();
    } catch {
      again();
    }
  }

  open();
}

// --- what a person asks for ------------------------------------------------------------------------------

// Returns what Beacon answered, or null after showing why not in the element with the id `error`.
async function ask(method, path, body, error) {
  byId(error).hidden = true;
  let problem = "Beacon did not answer. Try again.";
  try {
    const answer = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (answer.ok) return said;
    problem = said.errors?.[0]?.message ?? said.detail;
  } catch {
    // said below
  }
  say(error, problem);
  byId(error).hidden = false;
  return null;
}

async function pair(event) {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  const said = await ask("POST", "/api/v1/session/pair", { phone: byId("phone").value.trim() }, "pair-error");
  if (said !== null) showCode(said.code);
  button.disabled = false;
}

async function control(event, path) {
  event.target.disabled = true;
  const said = await ask("POST", `/api/v1/session/${path}`, {}, "control-error");
  if (said !== null) showSession(said);
  event.target.disabled = false;
}

function confirming(asked) {
  byId("confirm").hidden = !asked;
  byId("logout").setAttribute("aria-expanded", String(asked));
}

function askFirst(asked) {
  confirming(asked);
  byId(asked ? "logout-no" : "logout").focus();
}

async function logout(event) {
  await control(event, "logout");
  confirming(false);
}

byId("pair").addEventListener("submit", pair);
byId("restart").addEventListener("click", (event) => control(event, "restart"));
byId("logout").addEventListener("click", () => askFirst(true));
byId("logout-no").addEventListener("click", () => askFirst(false));
byId("logout-yes").addEventListener("click", logout);
byId("backup-now").addEventListener("click", backUp);
setInterval(tick, 1_000);
follow();
