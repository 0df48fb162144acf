-- Contents carry their own type and may name files; what pacing has to remember; second copies that were asked for;
-- listing by state and chat.

UPDATE message SET content = json_set(content, '$.type', content_type);

ALTER TABLE message ADD COLUMN resends INTEGER NOT NULL DEFAULT 0 CHECK (resends BETWEEN 0 AND 1);
ALTER TABLE message ADD COLUMN file TEXT
    GENERATED ALWAYS AS (CASE WHEN json_valid(content) THEN content ->> '$.file.sha256' END) VIRTUAL;
CREATE INDEX message_file ON message (account, file) WHERE file IS NOT NULL;
CREATE INDEX message_chat ON message (account, chat, seq);
CREATE INDEX message_rest ON message (account, state, seq) WHERE finished_at IS NOT NULL OR state = 'held';

-- The earliest accepted of all heads.
CREATE INDEX lane_fair ON lane (account, seq) WHERE turn = 'ready';

-- Files that messages name, by the SHA-256 of their bytes in lower-case hex. `check_at` is when to look whether
-- any message still names it; there is none while the messages that do are known to be kept.
CREATE TABLE file (
    account  TEXT NOT NULL,
    sha256   TEXT NOT NULL,
    check_at REAL,
    PRIMARY KEY (account, sha256)
) STRICT, WITHOUT ROWID;

CREATE INDEX file_check ON file (account, check_at) WHERE check_at IS NOT NULL;

CREATE TABLE file_bytes (
    account TEXT NOT NULL,
    sha256  TEXT NOT NULL,
    bytes   BLOB NOT NULL,
    PRIMARY KEY (account, sha256)
) STRICT;

CREATE TABLE acquaintance (
    account       TEXT NOT NULL,
    chat          TEXT NOT NULL,
    first_sent_at REAL,
    heard_at      REAL,
    PRIMARY KEY (account, chat)
) STRICT, WITHOUT ROWID;

CREATE INDEX acquaintance_stranger ON acquaintance (account, first_sent_at) WHERE heard_at IS NULL;

CREATE TABLE cooldown (
    account TEXT NOT NULL,
    cooling TEXT NOT NULL CHECK (cooling IN ('strangers', 'unasked')),
    until   REAL NOT NULL,
    times   INTEGER NOT NULL CHECK (times >= 1),
    PRIMARY KEY (account, cooling)
) STRICT, WITHOUT ROWID;

-- A queue that is being carried to another store: everything up to `seq` is there.
CREATE TABLE carried (
    account TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
