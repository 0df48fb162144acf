"""What the vault in PostgreSQL says to it.

Whoever changes what is kept has first locked the row of the account (LOCK, ENTER or OWN), for an instant
only: chunks are sent before. A backup that is being put holds those chunks that it counts on (HOLD) from the
start; who forgets passes over them.
"""

from typing import Final

SETTINGS: Final = """
    SET LOCAL lock_timeout = '8s';
    SET LOCAL statement_timeout = '30s';
    SET LOCAL idle_in_transaction_session_timeout = '5s';
    SELECT set_config('synchronous_commit', 'on', true)
    WHERE current_setting('synchronous_commit') = 'off'"""
"""For one transaction, because behind a pooler the next may have another server. A process that was stopped
loses its locks before anybody who waits for them gives up. Kept means on disk, whatever the server's default
is."""

EPOCH: Final = """
    SELECT greatest(
        coalesce((SELECT epoch FROM beacon_backup_owner WHERE account = $1), 0),
        coalesce((SELECT max(epoch) FROM beacon_backup WHERE account = $1), 0))"""

ENTER: Final = """
    INSERT INTO beacon_backup_owner AS owner (account, epoch, entry)
    SELECT $1, coalesce(max(epoch), 0) + 1, $2 FROM beacon_backup WHERE account = $1
    ON CONFLICT (account) DO UPDATE SET
        epoch = CASE WHEN owner.entry = excluded.entry THEN owner.epoch
                ELSE greatest(owner.epoch + 1, excluded.epoch) END,
        entry = excluded.entry
    RETURNING epoch"""

OWN: Final = """
    INSERT INTO beacon_backup_owner AS owner (account, epoch) VALUES ($1, $2)
    ON CONFLICT (account) DO UPDATE SET epoch = greatest(owner.epoch, excluded.epoch)
    RETURNING epoch"""

BURY: Final = "UPDATE beacon_backup_owner SET tombstone = $2 WHERE account = $1"

TOMBSTONE: Final = "SELECT tombstone FROM beacon_backup_owner WHERE account = $1"

LOCK: Final = "SELECT FROM beacon_backup_owner WHERE account = $1 FOR UPDATE"

LISTED: Final = """
    SELECT sequence, epoch, taken_at, clean, key_id, size_bytes, stored_bytes, verified_at
    FROM beacon_backup WHERE account = $1 ORDER BY sequence DESC"""

MANIFEST: Final = "SELECT manifest FROM beacon_backup WHERE account = $1 AND sequence = $2"

LATEST: Final = "SELECT max(sequence) FROM beacon_backup WHERE account = $1"

KNOWN: Final = "SELECT id FROM beacon_backup_chunk WHERE account = $1 AND id = ANY($2::text[])"

HOLD: Final = KNOWN + " ORDER BY id FOR KEY SHARE"

CHUNKS: Final = "SELECT id, data FROM beacon_backup_chunk WHERE account = $1 AND id = ANY($2::text[])"

KEEP_CHUNKS: Final = """
    INSERT INTO beacon_backup_chunk (account, id, data)
    SELECT $1, id, data FROM unnest($2::text[], $3::bytea[]) AS new (id, data) ORDER BY id
    ON CONFLICT (account, id) DO UPDATE SET data = excluded.data"""

KEEP: Final = """
    INSERT INTO beacon_backup
        (account, sequence, epoch, taken_at, clean, key_id, size_bytes, stored_bytes, manifest)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    RETURNING number"""

NAME: Final = """
    WITH named AS (
        INSERT INTO beacon_backup_part (backup, chunk)
        SELECT $2, number FROM beacon_backup_chunk WHERE account = $1 AND id = ANY($3::text[])
        RETURNING 1
    )
    SELECT count(*) FROM named"""

VERIFIED: Final = """
    UPDATE beacon_backup SET verified_at = $3 WHERE account = $1 AND sequence = $2 RETURNING true"""

FORGET: Final = """
    WITH forgotten AS (
        DELETE FROM beacon_backup WHERE account = $1 AND sequence = ANY($2::bigint[])
        RETURNING octet_length(manifest) AS size_bytes
    )
    SELECT coalesce(sum(size_bytes), 0)::bigint FROM forgotten"""

SWEEP: Final = """
    WITH unnamed AS (
        SELECT number FROM beacon_backup_chunk AS kept
        WHERE account = $1
            AND NOT EXISTS (SELECT FROM beacon_backup_part AS part WHERE part.chunk = kept.number)
        FOR UPDATE SKIP LOCKED
    ), swept AS (
        DELETE FROM beacon_backup_chunk WHERE number IN (SELECT number FROM unnamed)
        RETURNING octet_length(data) AS size_bytes
    )
    SELECT coalesce(sum(size_bytes), 0)::bigint FROM swept"""
