-- The same rules, cheaper to check: for IN with three values or more SQLite builds a table each time, and that was half of
-- the time of every UPDATE. `file` is written instead of worked out of the content each time, one index tells the states of
-- all messages but those that are being sent, and the content, which may be long, comes last: nobody has to read past it.

CREATE TABLE message_anew (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- order of acceptance, never given twice
    id              TEXT NOT NULL UNIQUE,              -- UUIDv7
    account         TEXT NOT NULL,
    chat            TEXT NOT NULL,
    state           TEXT NOT NULL,
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 1),
    resends         INTEGER NOT NULL CHECK (resends BETWEEN 0 AND 1),
    on_unknown      TEXT NOT NULL CHECK (on_unknown IN ('resend', 'hold')),
    claim_token     INTEGER,
    worker          TEXT,
    accepted_at     REAL NOT NULL,
    due_at          REAL NOT NULL,
    expires_at      REAL NOT NULL,
    claimed_at      REAL,
    sent_at         REAL,
    delivered_at    REAL,
    read_at         REAL,
    finished_at     REAL,
    whatsapp_id     TEXT,
    last_result     TEXT,
    last_error      TEXT,
    secret          BLOB NOT NULL CHECK (length(secret) = 32),
    idempotency_key TEXT,
    traceparent     TEXT,
    file            TEXT,                              -- the SHA-256 of the file that the content names
    content         TEXT NOT NULL CHECK (json_valid(content)),
    CHECK ((worker IS NOT NULL) = (state = 'sending')),
    CHECK ((read_at IS NOT NULL) = (state = 'read')),
    CHECK (CASE state
        WHEN 'queued'    THEN claim_token IS NULL AND sent_at IS NULL AND delivered_at IS NULL AND finished_at IS NULL
        WHEN 'sending'   THEN claim_token IS NOT NULL AND claimed_at IS NOT NULL
                              AND sent_at IS NULL AND delivered_at IS NULL AND finished_at IS NULL
        WHEN 'sent'      THEN claim_token IS NULL AND sent_at IS NOT NULL AND whatsapp_id IS NOT NULL
                              AND delivered_at IS NULL AND finished_at IS NOT NULL
        WHEN 'delivered' THEN whatsapp_id IS NOT NULL AND delivered_at IS NOT NULL AND finished_at IS NOT NULL
        WHEN 'read'      THEN delivered_at IS NOT NULL AND finished_at IS NOT NULL
        WHEN 'unknown'   THEN claim_token IS NULL AND sent_at IS NULL AND delivered_at IS NULL AND finished_at IS NULL
        WHEN 'held'      THEN claim_token IS NULL AND sent_at IS NULL AND delivered_at IS NULL AND finished_at IS NULL
        WHEN 'dead'      THEN claim_token IS NULL AND sent_at IS NULL AND delivered_at IS NULL AND finished_at IS NOT NULL
        WHEN 'expired'   THEN claim_token IS NULL AND sent_at IS NULL AND delivered_at IS NULL AND finished_at IS NOT NULL
        WHEN 'cancelled' THEN claim_token IS NULL AND sent_at IS NULL AND delivered_at IS NULL AND finished_at IS NOT NULL
        ELSE FALSE
    END)
) STRICT;

INSERT INTO message_anew (
    seq, id, account, chat, state, priority, attempts, max_attempts, resends, on_unknown, claim_token, worker, accepted_at,
    due_at, expires_at, claimed_at, sent_at, delivered_at, read_at, finished_at, whatsapp_id, last_result, last_error,
    secret, idempotency_key, traceparent, file, content)
SELECT
    seq, id, account, chat, state, priority, attempts, max_attempts, resends, on_unknown, claim_token, worker, accepted_at,
    due_at, expires_at, claimed_at, sent_at, delivered_at, read_at, finished_at, whatsapp_id, last_result, last_error,
    secret, idempotency_key, traceparent, file, content
FROM message ORDER BY seq;

-- The last seq given is not forgotten with its message.
DELETE FROM sqlite_sequence WHERE name = 'message_anew';
INSERT INTO sqlite_sequence (name, seq) SELECT 'message_anew', seq FROM sqlite_sequence WHERE name = 'message';

DROP TABLE message;
ALTER TABLE message_anew RENAME TO message;

CREATE UNIQUE INDEX message_idempotency ON message (account, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX message_whatsapp_id ON message (account, whatsapp_id) WHERE whatsapp_id IS NOT NULL;
CREATE INDEX message_line ON message (account, chat, seq) WHERE state IN ('queued', 'unknown');
CREATE INDEX message_sending ON message (account, chat, seq) WHERE state = 'sending';
CREATE INDEX message_expiry ON message (account, expires_at) WHERE state = 'queued';
CREATE INDEX message_finished ON message (account, state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX message_state ON message (account, state, seq) WHERE state <> 'sending';
CREATE INDEX message_chat ON message (account, chat, seq);
CREATE INDEX message_file ON message (account, file) WHERE file IS NOT NULL;

CREATE TABLE lane_anew (
    account  TEXT NOT NULL,
    chat     TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    turn     TEXT NOT NULL CHECK (turn = 'ready' OR turn = 'waiting' OR turn = 'blocked'),
    due_at   REAL NOT NULL,
    PRIMARY KEY (account, chat)
) STRICT, WITHOUT ROWID;

INSERT INTO lane_anew (account, chat, seq, priority, turn, due_at)
SELECT account, chat, seq, priority, turn, due_at FROM lane ORDER BY account, chat;

DROP TABLE lane;
ALTER TABLE lane_anew RENAME TO lane;

CREATE INDEX lane_ready ON lane (account, priority DESC, seq) WHERE turn = 'ready';
CREATE INDEX lane_waiting ON lane (account, due_at, priority DESC, seq) WHERE turn = 'waiting';
CREATE INDEX lane_fair ON lane (account, seq) WHERE turn = 'ready';
