-- `worker` is set exactly while a message is `sending`. Said with it, the statements that look for what is being
-- sent in a chat have only this index: analysed while nothing was being sent, the one of states looked as good,
-- and made each claim a scan of everything that is.

DROP INDEX beacon_message_sending;
CREATE INDEX beacon_message_sending ON beacon_message (chat, account, seq) WHERE worker IS NOT NULL;
