-- As sql/sqlite, with `account` in every key: many processes, each with its account, share a database.
-- Times are Unix seconds. A message's states: service/queue/model.py.
--
-- `account` is the last column of an index wherever it can be. Until a table is analysed PostgreSQL takes any
-- equality to leave one row in two hundred; with few accounts an index that begins with `account` would look
-- good for everything, and be a scan of the whole queue. For the same reason no B-tree begins with `seq`: in the
-- order of acceptance one would find whatever is asked for, after everything else; and the indexes for lists of a
-- state or of a chat are by an expression, which no claim can take for its own.

CREATE SEQUENCE beacon_message_seq;

CREATE TABLE beacon_message (
    account         text COLLATE "C" NOT NULL,
    seq             bigint NOT NULL DEFAULT nextval('beacon_message_seq'), -- order of acceptance, never given twice
    id              text COLLATE "C" NOT NULL,                             -- UUIDv7
    chat            text COLLATE "C" NOT NULL,
    content         json NOT NULL,
    file            text COLLATE "C",                                      -- the SHA-256 that the content names
    priority        smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    on_unknown      text NOT NULL CHECK (on_unknown IN ('resend', 'hold')),
    max_attempts    integer NOT NULL CHECK (max_attempts >= 1),
    idempotency_key text COLLATE "C",
    traceparent     text,
    state           text COLLATE "C" NOT NULL
                    CHECK (state IN ('queued', 'sending', 'unknown', 'sent', 'delivered',
                                     'read', 'held', 'dead', 'expired', 'cancelled')),
    attempts        integer NOT NULL CHECK (attempts >= 0),
    secret          bytea NOT NULL CHECK (octet_length(secret) = 32),
    whatsapp_id     text COLLATE "C",
    claim_token     bigint,
    worker          text COLLATE "C",
    accepted_at     double precision NOT NULL,
    due_at          double precision NOT NULL,
    expires_at      double precision NOT NULL,
    claimed_at      double precision,
    sent_at         double precision,
    delivered_at    double precision,
    read_at         double precision,
    finished_at     double precision,
    last_result     text,
    last_error      text,
    resends         smallint NOT NULL CHECK (resends BETWEEN 0 AND 1),
    PRIMARY KEY (id, account),
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
);

ALTER SEQUENCE beacon_message_seq OWNED BY beacon_message.seq;

CREATE INDEX beacon_message_number ON beacon_message USING hash (seq);
CREATE UNIQUE INDEX beacon_message_idempotency ON beacon_message (idempotency_key, account)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX beacon_message_whatsapp_id ON beacon_message (whatsapp_id, account) WHERE whatsapp_id IS NOT NULL;
CREATE INDEX beacon_message_line ON beacon_message (chat, account, seq) WHERE state IN ('queued', 'unknown');
CREATE INDEX beacon_message_sending ON beacon_message (chat, account, seq) WHERE state = 'sending';
CREATE INDEX beacon_message_state ON beacon_message ((account || ' ' || state), seq);
CREATE INDEX beacon_message_chat ON beacon_message ((account || ' ' || chat), seq);
CREATE INDEX beacon_message_expiry ON beacon_message (account, expires_at) WHERE state = 'queued';
CREATE INDEX beacon_message_finished ON beacon_message (state, account, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX beacon_message_file ON beacon_message (file, account) WHERE file IS NOT NULL;

-- One row for each chat that has live messages which nobody is sending: the first of them. So a claim
-- looks at chats, never at the messages behind their heads. The row is also the chat's lock: who puts a
-- message into the line or takes one out holds it until the commit.
--   ready    may be claimed now
--   waiting  not before due_at, which is when it is due or expires
--   blocked  its outcome is unknown; the chat stands still
--   locked   made only to be locked; no other transaction ever sees it
CREATE TABLE beacon_lane (
    account  text COLLATE "C" NOT NULL,
    chat     text COLLATE "C" NOT NULL,
    seq      bigint NOT NULL,
    priority smallint NOT NULL,
    turn     text COLLATE "C" NOT NULL CHECK (turn IN ('ready', 'waiting', 'blocked', 'locked')),
    due_at   double precision NOT NULL,
    PRIMARY KEY (chat, account)
);

CREATE INDEX beacon_lane_ready ON beacon_lane (account, priority DESC, seq) WHERE turn = 'ready';
CREATE INDEX beacon_lane_fair ON beacon_lane (account, seq) WHERE turn = 'ready';
CREATE INDEX beacon_lane_waiting ON beacon_lane (account, due_at, priority DESC, seq) WHERE turn = 'waiting';

-- The last claim token given; they only grow.
CREATE SEQUENCE beacon_claim_token;

-- Receipts that came before their send returned.
CREATE TABLE beacon_early_receipt (
    account     text COLLATE "C" NOT NULL,
    whatsapp_id text COLLATE "C" NOT NULL,
    state       text NOT NULL CHECK (state IN ('delivered', 'read')),
    at          double precision NOT NULL,
    kept_at     double precision NOT NULL,
    PRIMARY KEY (whatsapp_id, account)
);

CREATE INDEX beacon_early_receipt_kept ON beacon_early_receipt ((account || ''), kept_at);

-- Messages by state, moved in the same transactions as they are. Every process has a shard of its own, so
-- that they do not wait for each other; one shard may be negative, the sum is right.
CREATE TABLE beacon_tally (
    account   text COLLATE "C" NOT NULL,
    shard     smallint NOT NULL,
    queued    bigint NOT NULL,
    sending   bigint NOT NULL,
    unknown   bigint NOT NULL,
    sent      bigint NOT NULL,
    delivered bigint NOT NULL,
    read      bigint NOT NULL,
    held      bigint NOT NULL,
    dead      bigint NOT NULL,
    expired   bigint NOT NULL,
    cancelled bigint NOT NULL,
    PRIMARY KEY (account, shard)
) WITH (fillfactor = 10);

-- Files that messages name, by the SHA-256 of their bytes in lower-case hex. `check_at` is when to look whether
-- any message still names it; there is none while the messages that do are known to be kept.
CREATE TABLE beacon_file (
    account  text COLLATE "C" NOT NULL,
    sha256   text COLLATE "C" NOT NULL,
    check_at double precision,
    bytes    bytea NOT NULL,
    PRIMARY KEY (sha256, account)
);

ALTER TABLE beacon_file ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX beacon_file_check ON beacon_file (account, check_at) WHERE check_at IS NOT NULL;

CREATE TABLE beacon_acquaintance (
    account       text COLLATE "C" NOT NULL,
    chat          text COLLATE "C" NOT NULL,
    first_sent_at double precision,
    heard_at      double precision,
    PRIMARY KEY (chat, account)
);

CREATE INDEX beacon_acquaintance_stranger ON beacon_acquaintance (account, first_sent_at) WHERE heard_at IS NULL;

CREATE TABLE beacon_cooldown (
    account text COLLATE "C" NOT NULL,
    cooling text NOT NULL CHECK (cooling IN ('strangers', 'unasked')),
    until   double precision NOT NULL,
    times   integer NOT NULL CHECK (times >= 1),
    PRIMARY KEY (account, cooling)
);

-- Rows move often: old versions are cleared away early, so that the front of an index stays short.
ALTER TABLE beacon_message SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
                                autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE beacon_lane SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE beacon_tally SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
