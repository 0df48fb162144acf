-- Times are Unix seconds. A message's states: service/queue/model.py.

CREATE TABLE message (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- order of acceptance, never given twice
    id              TEXT NOT NULL UNIQUE,              -- UUIDv7
    account         TEXT NOT NULL,
    chat            TEXT NOT NULL,
    content_type    TEXT NOT NULL,
    content         TEXT NOT NULL CHECK (json_valid(content)),
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    on_unknown      TEXT NOT NULL CHECK (on_unknown IN ('resend', 'hold')),
    max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 1),
    idempotency_key TEXT,
    traceparent     TEXT,
    state           TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'unknown', 'sent', 'delivered',
                                                   'read', 'held', 'dead', 'expired', 'cancelled')),
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    secret          BLOB NOT NULL CHECK (length(secret) = 32),
    whatsapp_id     TEXT,
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
    last_result     TEXT,
    last_error      TEXT,
    CHECK ((state = 'sending') = (worker IS NOT NULL)),
    CHECK (state <> 'sending' OR (claim_token IS NOT NULL AND claimed_at IS NOT NULL)),
    CHECK (claim_token IS NULL OR state IN ('sending', 'delivered', 'read')),
    CHECK (state <> 'sent' OR sent_at IS NOT NULL),
    CHECK (state NOT IN ('sent', 'delivered') OR whatsapp_id IS NOT NULL),
    CHECK (sent_at IS NULL OR state IN ('sent', 'delivered', 'read')),
    CHECK ((delivered_at IS NOT NULL) = (state IN ('delivered', 'read'))),
    CHECK ((read_at IS NOT NULL) = (state = 'read')),
    CHECK ((finished_at IS NOT NULL)
           = (state IN ('sent', 'delivered', 'read', 'dead', 'expired', 'cancelled')))
) STRICT;

CREATE UNIQUE INDEX message_idempotency ON message (account, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX message_whatsapp_id ON message (account, whatsapp_id) WHERE whatsapp_id IS NOT NULL;
CREATE INDEX message_line ON message (account, chat, seq) WHERE state IN ('queued', 'unknown');
CREATE INDEX message_sending ON message (account, chat, seq) WHERE state = 'sending';
CREATE INDEX message_unknown ON message (account, seq) WHERE state = 'unknown';
CREATE INDEX message_queued ON message (account, seq, accepted_at) WHERE state = 'queued';
CREATE INDEX message_expiry ON message (account, expires_at) WHERE state = 'queued';
CREATE INDEX message_finished ON message (account, state, finished_at) WHERE finished_at IS NOT NULL;

-- One row for each chat that has live messages which nobody is sending: the first of them. So a claim
-- looks at chats, never at the messages behind their heads.
--   ready    may be claimed now
--   waiting  not before due_at, which is when it is due or expires
--   blocked  its outcome is unknown; the chat stands still
CREATE TABLE lane (
    account  TEXT NOT NULL,
    chat     TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    turn     TEXT NOT NULL CHECK (turn IN ('ready', 'waiting', 'blocked')),
    due_at   REAL NOT NULL,
    PRIMARY KEY (account, chat)
) STRICT, WITHOUT ROWID;

CREATE INDEX lane_ready ON lane (account, priority DESC, seq) WHERE turn = 'ready';
CREATE INDEX lane_waiting ON lane (account, due_at, priority DESC, seq) WHERE turn = 'waiting';

-- Receipts that came before their send returned.
CREATE TABLE early_receipt (
    account     TEXT NOT NULL,
    whatsapp_id TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('delivered', 'read')),
    at          REAL NOT NULL,
    kept_at     REAL NOT NULL,
    PRIMARY KEY (account, whatsapp_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX early_receipt_kept ON early_receipt (account, kept_at);

-- Messages by state, moved in the same transactions as they are.
CREATE TABLE tally (
    account  TEXT NOT NULL,
    state    TEXT NOT NULL,
    messages INTEGER NOT NULL CHECK (messages >= 0),
    PRIMARY KEY (account, state)
) STRICT, WITHOUT ROWID;

-- The last claim token given; it only grows.
CREATE TABLE claim_counter (
    account TEXT PRIMARY KEY,
    token   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
