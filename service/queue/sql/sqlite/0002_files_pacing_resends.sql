-- Contents carry their own type and may name files; what pacing has to remember; second copies that were asked for.

UPDATE message SET content = json_set(content, '$.type', content_type);

ALTER TABLE message ADD COLUMN resends INTEGER NOT NULL DEFAULT 0 CHECK (resends BETWEEN 0 AND 1);
ALTER TABLE message ADD COLUMN file TEXT 
    GENERATED ALWAYS AS (CASE WHEN json_valid(content) THEN content ->> '$.file.sha256' END) VIRTUAL;
CREATE INDEX message_file ON message (account, file) WHERE file IS NOT NULL;

-- Bytes that messages name, by their SHA-256 in lower-case hex.
CREATE TABLE file (
    account TEXT NOT NULL,
    sha256  TEXT NOT NULL,
    bytes   BLOB NOT NULL,
    kept_at REAL NOT NULL,
    PRIMARY KEY (account, sha256)
) STRICT;

CREATE INDEX file_kept ON file (account, kept_at);

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
