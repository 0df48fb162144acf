-- Which backups are of a session that was ended on purpose; docs/backup-format.md has its form.
ALTER TABLE beacon_backup_owner ADD COLUMN tombstone bytea;
