-- `beacon_turn` of 0003_turn.sql, which says what it does, with two differences. Where all completions were made it
-- also remembers when those of their chats were first written to that the caller is not sure to know: a statement of
-- its own took a sixteenth of the time with eight messages in a commit. And claims come as columns: a row in one value
-- is put together here only to be taken apart again.
--
-- The one before has fewer parameters and stays: a process of an earlier version may still complete what it sent.
CREATE FUNCTION beacon_turn(
    my_account text, my_shard smallint, now float8, locks bigint[],
    done_seqs bigint[], done_tokens bigint[], whatsapp_ids text[], done_times float8[],
    my_worker text, times float8[], fairly boolean, new_chats text[], met_at float8[])
RETURNS TABLE (
    seq bigint, id text, chat text, content json, state text, priority smallint, attempts integer,
    max_attempts integer, on_unknown text, accepted_at float8, due_at float8, expires_at float8, idempotency_key text,
    traceparent text, secret bytea, whatsapp_id text, sent_at float8, delivered_at float8, read_at float8,
    finished_at float8, last_result text, last_error text, claim_token bigint, worker text, claimed_at float8,
    resends smallint,
    token bigint, behind bigint, ended boolean, late bigint,
    done bigint[], counts bigint[], oldest float8, txid bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    completed bigint[];
    finished integer := 0;
    wanted CONSTANT integer := cardinality(times);
    last_at CONSTANT float8 := (SELECT max(time) FROM unnest(times) AS time);
    step CONSTANT bigint := CASE WHEN fairly THEN 0 ELSE 1::bigint << 58 END; -- from one priority to the next
    picked text[];
    last_turn bigint;
    depth integer;
    entry record;
    at float8;
    given integer := 0;
    seqs bigint[];
    tokens bigint[];
    behinds bigint[];
    claimed integer := 0;
BEGIN
    IF cardinality(locks) > 0 THEN
        PERFORM pg_advisory_xact_lock(key) FROM unnest(locks) AS key;
    END IF;
    IF cardinality(done_seqs) > 0 THEN
        WITH sent AS (
            UPDATE beacon_message AS m
            SET state = 'sent', whatsapp_id = given.whatsapp_id, attempts = m.attempts + 1, sent_at = given.at,
                finished_at = given.at, claim_token = NULL, worker = NULL, last_result = 'sent', last_error = NULL
            FROM unnest(done_seqs, done_tokens, whatsapp_ids, done_times) AS given (seq, token, whatsapp_id, at)
            WHERE m.seq = given.seq AND m.claim_token = given.token
                AND m.account || '' = my_account AND m.state || '' = 'sending' AND NOT EXISTS (
                    SELECT FROM beacon_early_receipt AS early
                    WHERE early.whatsapp_id = given.whatsapp_id AND early.account = my_account OFFSET 0)
            RETURNING m.seq)
        SELECT array_agg(seq), count(*) INTO completed, finished FROM sent;
    END IF;
    ended := false;
    IF wanted > 0 AND finished = cardinality(done_seqs) THEN
        IF EXISTS (SELECT FROM beacon_lane WHERE account = my_account AND turn = 'waiting' AND due_at <= last_at) THEN
            UPDATE beacon_lane SET turn = 'ready' WHERE (chat, account) IN (
                SELECT chat, account FROM beacon_lane
                WHERE account = my_account AND turn = 'waiting' AND due_at <= last_at
                ORDER BY due_at, priority DESC, seq LIMIT 256 FOR UPDATE SKIP LOCKED);
        END IF;
        IF fairly THEN
            SELECT array_agg(lane.chat), max(lane.seq) INTO picked, last_turn FROM (
                SELECT lane.chat, lane.seq FROM beacon_lane AS lane
                WHERE lane.account = my_account AND lane.turn = 'ready' AND lane.due_at <= last_at AND NOT EXISTS (
                    SELECT FROM beacon_message AS other
                    WHERE other.account = lane.account AND other.chat = lane.chat
                        AND other.worker IS NOT NULL AND other.worker <> my_worker
                    OFFSET 0)
                ORDER BY lane.seq LIMIT wanted
                FOR UPDATE OF lane SKIP LOCKED) AS lane;
        ELSE
            SELECT array_agg(lane.chat), max((9 - lane.priority) * step + lane.seq) INTO picked, last_turn FROM (
                SELECT lane.chat, lane.priority, lane.seq FROM beacon_lane AS lane
                WHERE lane.account = my_account AND lane.turn = 'ready' AND lane.due_at <= last_at AND NOT EXISTS (
                    SELECT FROM beacon_message AS other
                    WHERE other.account = lane.account AND other.chat = lane.chat
                        AND other.worker IS NOT NULL AND other.worker <> my_worker
                    OFFSET 0)
                ORDER BY lane.priority DESC, lane.seq LIMIT wanted
                FOR UPDATE OF lane SKIP LOCKED) AS lane;
        END IF;
        IF coalesce(cardinality(picked), 0) < wanted THEN
            depth := least(64, 1 + ceil(2.0 * wanted / cardinality(picked)));
            ended := true;
            last_turn := NULL;
        ELSE
            depth := least(wanted, 2);
        END IF;
        FOR entry IN
            WITH line AS (
                SELECT line.*, (9 - line.priority) * step + line.seq AS own,
                       line.state = 'queued' AND least(line.due_at, line.expires_at) <= last_at
                           AND coalesce(sending.worker = my_worker, true) AS is_open,
                       ahead.seq AS ahead_seq, ahead.claim_token AS ahead_token
                FROM unnest(picked) AS lane (chat)
                LEFT JOIN LATERAL (
                    SELECT worker FROM beacon_message
                    WHERE account = my_account AND chat = lane.chat AND worker IS NOT NULL
                    LIMIT 1) AS sending ON true
                CROSS JOIN LATERAL (
                    SELECT chat, seq, priority, state, due_at, expires_at FROM beacon_message
                    WHERE account = my_account AND chat = lane.chat AND state IN ('queued', 'unknown')
                    ORDER BY seq LIMIT depth) AS line
                LEFT JOIN LATERAL (
                    SELECT claim_token, seq FROM beacon_message AS ahead
                    WHERE sending.worker IS NOT NULL AND ahead.account = my_account AND ahead.chat = lane.chat
                        AND ahead.worker IS NOT NULL AND ahead.seq < line.seq
                    ORDER BY ahead.seq DESC LIMIT 1) AS ahead ON true
            ), ranked AS (
                SELECT line.*, max(own) OVER chat AS turn, bool_and(is_open) OVER chat AS is_reached,
                       row_number() OVER chat AS place, lag(seq) OVER chat AS before
                FROM line WINDOW chat AS (PARTITION BY chat ORDER BY seq)
            )
            SELECT * FROM ranked WHERE is_reached AND (last_turn IS NULL OR turn <= last_turn) ORDER BY turn, seq
        LOOP
            EXIT WHEN given = wanted;
            at := times[given + 1];
            IF entry.expires_at <= at OR entry.due_at > at THEN
                late := CASE WHEN entry.expires_at <= at THEN entry.seq END;
                ended := false;
                EXIT;
            END IF;
            given := given + 1;
            seqs[given] := entry.seq;
            tokens[given] := nextval('beacon_claim_token');
            behinds[given] := CASE
                WHEN entry.before IS NULL OR entry.ahead_seq > entry.before THEN entry.ahead_token
                ELSE tokens[array_position(seqs, entry.before)] END;
            IF entry.place = depth THEN
                ended := false;
                EXIT;
            END IF;
        END LOOP;
        ended := ended AND given < wanted;
        IF given > 0 THEN
            RETURN QUERY
                UPDATE beacon_message AS m
                SET state = 'sending', claim_token = claim.token, worker = my_worker, claimed_at = claim.at
                FROM unnest(seqs, tokens, behinds, times[:given]) AS claim (seq, token, behind, at)
                WHERE m.seq = claim.seq AND m.state || '' = 'queued' AND m.account || '' = my_account
                RETURNING
                    m.seq, m.id, m.chat, m.content, m.state, m.priority, m.attempts, m.max_attempts, m.on_unknown,
                    m.accepted_at, m.due_at, m.expires_at, m.idempotency_key, m.traceparent, m.secret, m.whatsapp_id,
                    m.sent_at, m.delivered_at, m.read_at, m.finished_at, m.last_result, m.last_error, m.claim_token,
                    m.worker, m.claimed_at, m.resends,
                    claim.token, claim.behind, NULL::boolean, NULL::bigint, NULL::bigint[], NULL::bigint[], NULL::float8,
                    NULL::bigint;
            GET DIAGNOSTICS claimed = ROW_COUNT;
            IF claimed <> given THEN
                RAISE SQLSTATE '40001' USING MESSAGE = 'another process changed a row in between';
            END IF;
        END IF;
        IF picked IS NOT NULL THEN -- they name their heads again; one that has expired is ready, to be moved away
            WITH head AS MATERIALIZED (
                SELECT concerned.chat, line.seq, line.priority, line.state,
                       least(line.due_at, line.expires_at) AS at, line.due_at
                FROM unnest(picked) AS concerned (chat)
                LEFT JOIN LATERAL (
                    SELECT seq, priority, state, due_at, expires_at FROM beacon_message
                    WHERE account = my_account AND chat = concerned.chat AND state IN ('queued', 'unknown')
                    ORDER BY seq LIMIT 1) AS line ON true
            ), closed AS (
                DELETE FROM beacon_lane USING head
                WHERE beacon_lane.account = my_account AND beacon_lane.chat = head.chat AND head.seq IS NULL
            )
            UPDATE beacon_lane AS lane
            SET seq = head.seq, priority = head.priority,
                turn = CASE WHEN state = 'unknown' THEN 'blocked' WHEN at <= now THEN 'ready' ELSE 'waiting' END,
                due_at = CASE WHEN state = 'unknown' THEN head.due_at ELSE at END
            FROM head WHERE lane.account = my_account AND lane.chat = head.chat AND head.seq IS NOT NULL;
        END IF;
    END IF;
    IF cardinality(new_chats) > 0 AND finished = cardinality(done_seqs) THEN
        INSERT INTO beacon_acquaintance AS known (account, chat, first_sent_at)
        SELECT my_account, met.chat, met.at FROM unnest(new_chats, met_at) AS met (chat, at) ORDER BY met.chat COLLATE "C"
        ON CONFLICT (account, chat) DO UPDATE SET first_sent_at = excluded.first_sent_at
        WHERE known.first_sent_at IS NULL OR known.first_sent_at > excluded.first_sent_at;
    END IF;
    IF finished + claimed > 0 THEN
        INSERT INTO beacon_tally AS tally (account, shard, queued, sending, unknown, sent, delivered, read, held,
                                           dead, expired, cancelled)
        VALUES (my_account, my_shard, -claimed, claimed - finished, 0, finished, 0, 0, 0, 0, 0, 0)
        ON CONFLICT (account, shard) DO UPDATE
        SET queued = tally.queued + excluded.queued, sending = tally.sending + excluded.sending,
            sent = tally.sent + excluded.sent;
    END IF;
    done := completed;
    counts := (
        SELECT ARRAY[sum(queued), sum(sending), sum(unknown), sum(sent), sum(delivered), sum(read), sum(held),
                     sum(dead), sum(expired), sum(cancelled)]
        FROM beacon_tally WHERE account = my_account);
    oldest := (
        SELECT accepted_at FROM beacon_message WHERE account || ' ' || state = my_account || ' queued'
        ORDER BY seq LIMIT 1);
    txid := txid_current_if_assigned();
    RETURN NEXT;
END $$;

-- Each move of a message leaves its old entries in these indexes for a while, and none of them has equal keys but
-- those. To pack these together, and to look at the table for which of them are dead, before a full page is split
-- took a twentieth of the server's time with 250 messages in a commit. PostgreSQL 12 does neither.
DO $$ BEGIN
    IF current_setting('server_version_num')::integer >= 130000 THEN
        ALTER INDEX beacon_message_pkey SET (deduplicate_items = off);
        ALTER INDEX beacon_message_state SET (deduplicate_items = off);
        ALTER INDEX beacon_message_chat SET (deduplicate_items = off);
        ALTER INDEX beacon_message_line SET (deduplicate_items = off);
        ALTER INDEX beacon_message_sending SET (deduplicate_items = off);
    END IF;
END $$;
