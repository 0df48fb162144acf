-- Sealed backups; `account` is in every key: several accounts may share a database. Times are Unix seconds.

CREATE TABLE beacon_backup_owner (
    account text COLLATE "C" PRIMARY KEY,
    epoch   bigint NOT NULL CHECK (epoch >= 0), -- entered last; its row is locked by whoever changes what is kept
    entry   uuid                                -- of the call that entered it: asked twice, it enters once
);

CREATE TABLE beacon_backup (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      text COLLATE "C" NOT NULL,
    sequence     bigint NOT NULL CHECK (sequence >= 1),
    epoch        bigint NOT NULL,
    taken_at     double precision NOT NULL,
    clean        boolean NOT NULL,
    key_id       text COLLATE "C" NOT NULL,
    size_bytes   bigint NOT NULL,
    stored_bytes bigint NOT NULL,
    verified_at  double precision,
    manifest     bytea NOT NULL,
    UNIQUE (account, sequence)
);

CREATE TABLE beacon_backup_chunk (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    data    bytea NOT NULL,
    UNIQUE (account, id)
);

-- Compressed and sealed already.
ALTER TABLE beacon_backup ALTER COLUMN manifest SET STORAGE EXTERNAL;
ALTER TABLE beacon_backup_chunk ALTER COLUMN data SET STORAGE EXTERNAL;

-- Numbers, because there are many: 16 bytes for each chunk that a backup names.
CREATE TABLE beacon_backup_part (
    backup bigint NOT NULL REFERENCES beacon_backup ON DELETE CASCADE,
    chunk  bigint NOT NULL REFERENCES beacon_backup_chunk,
    PRIMARY KEY (backup, chunk)
);

CREATE INDEX beacon_backup_part_chunk ON beacon_backup_part (chunk);
