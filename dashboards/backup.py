"""Backups of the session: are there some, can they be read, and was one needed?"""

from typing import Final

from dashboards.frame import Board, Row
from dashboards.panels import YES_NO, Look, bars, lines, said, tile
from dashboards.queries import WHOSE, Query, age, during, events, longest, of, quantiles, rate, ratio
from dashboards.shared import BY

DAY: Final = 86_400

NOW: Final = Row(
    "Now",
    (
        said(
            "How to read this",
            "If the session were lost now, would it come back? **Yes** when backups are made, the last one "
            "is "
            "young, and it was checked. All of this stands still while the session is kept in the database "
            "(SESSION_STORE=postgres), which makes no backups.",
        ),
        tile(
            "Backups are made",
            "Whether this process makes backups.",
            "bool_yes_no",
            of("whatsapp_backup_enabled"),
            says={"0": Look("no", "orange"), "1": Look("yes", "green")},
            width=3,
            legend=BY,
        ),
        tile(
            "Last backup",
            "Since when the session was last known to be in the vault as it was.",
            "s",
            age(of("whatsapp_backup_last_success_timestamp_seconds"), by=WHOSE),
            limits=[(2 * 3600, "orange"), (6 * 3600, "red")],
            none=Look("never", "orange"),
            width=3,
            runbook="WhatsAppBackupStale",
        ),
        tile(
            "Last check",
            "Since when the newest backup was last fetched and checked as a restore would.",
            "s",
            age(of("whatsapp_backup_last_verified_timestamp_seconds"), by=WHOSE),
            limits=[(1.5 * DAY, "orange"), (3 * DAY, "red")],
            none=Look("not yet", "blue"),
            width=3,
            runbook="WhatsAppBackupUnverified",
        ),
        tile(
            "Kept",
            "Backups in the vault, as last seen.",
            "short",
            of("whatsapp_backup_kept"),
            width=3,
            legend=BY,
        ),
        tile(
            "Size",
            "Size of the session that was last backed up.",
            "bytes",
            of("whatsapp_backup_size_bytes"),
            width=3,
            legend=BY,
        ),
        tile(
            "Protected",
            "No: the account is connected although the vault does not answer, and changes are not kept.",
            "bool_yes_no",
            f"1 - {of('whatsapp_backup_unprotected')}",
            says=YES_NO,
            width=3,
            runbook="WhatsAppBackupUnprotected",
            legend=BY,
        ),
        tile(
            "Owner number",
            "Number of this process's time as owner of the session; 0 while it may not write backups.",
            "none",
            of("whatsapp_backup_epoch"),
            width=3,
            legend=BY,
        ),
        tile(
            "Brought back",
            "Since when the session is one that was brought back from a backup.",
            "s",
            age(of("whatsapp_backup_last_restore_timestamp_seconds"), by=WHOSE),
            none=Look("never", "green"),
            width=3,
            runbook="WhatsAppSessionRestored",
        ),
    ),
)

RUNS: Final = Row(
    "Backups",
    (
        bars(
            "Backups by how they ended",
            "`kept` and `unchanged` are well; `refused`: the session looked unfit to replace a good copy.",
            Query(events("whatsapp_backup_runs_total", by=("outcome",)), "{{outcome}}"),
            runbook="WhatsAppBackupStale",
        ),
        bars(
            "Backups by cause",
            "Why backups were made. What changed is backed up within half a minute.",
            Query(events("whatsapp_backup_runs_total", by=("cause",)), "{{cause}}"),
        ),
        lines(
            "Time of a backup",
            "Time that a backup took, from the copy to its last byte kept.",
            "s",
            *quantiles("whatsapp_backup_duration_seconds"),
        ),
        bars(
            "Sessions unfit to be kept",
            "Times the session looked worse than the last good copy, which was kept instead, by reason.",
            Query(events("whatsapp_backup_refusals_total", by=("reason",)), "{{reason}}"),
            runbook="WhatsAppBackupRefused",
        ),
        lines(
            "Bytes",
            "Bytes of session read for backups, and of them added to the vault, or there already.",
            "Bps",
            Query(rate("whatsapp_backup_read_bytes_total", by=()), "read"),
            Query(rate("whatsapp_backup_stored_bytes_total", by=()), "added"),
            Query(rate("whatsapp_backup_saved_bytes_total", by=()), "there already"),
        ),
        tile(
            "Saved",
            "Share of the session's bytes that were in the vault already and were not stored anew, in the "
            "time "
            "that is shown.",
            "percentunit",
            ratio(
                during("whatsapp_backup_saved_bytes_total"),
                during("whatsapp_backup_read_bytes_total"),
            ),
            none=Look("none yet", "blue"),
            decimals=0,
            height=8,
        ),
        tile(
            "Removed",
            "Backups that were removed because their time was over, in the time that is shown.",
            "short",
            during("whatsapp_backup_forgotten_total"),
            decimals=0,
            height=8,
        ),
    ),
)

CHECKS: Final = Row(
    "Checks and restores",
    (
        bars(
            "Checks",
            "Checks of kept backups, by how they ended.",
            Query(events("whatsapp_backup_verifications_total", by=("result",)), "{{result}}"),
            width=6,
            runbook="WhatsAppBackupUnverified",
        ),
        bars(
            "Brought back",
            "Sessions brought back. `ratchets_dropped`: those with peers that could be older than the peers' "
            "were begun anew.",
            Query(events("whatsapp_backup_restores_total", by=("kind",)), "{{kind}}"),
            Query(events("whatsapp_backup_sessions_dropped_total", by=()), "sessions with peers begun anew"),
            width=6,
            runbook="WhatsAppSessionRestored",
        ),
        tile(
            "Time to bring back",
            "Longest of the times, in buckets, that bringing the session back took in the last day.",
            "s",
            longest("whatsapp_backup_restore_duration_seconds", span="1d"),
            none=Look("none", "green"),
            width=6,
            height=8,
            legend=BY,
        ),
        lines(
            "Could not be read at first",
            "Messages a second that could not be decrypted at first, since a session was brought back.",
            "cps",
            Query(rate("whatsapp_backup_undecryptable_total"), BY),
            width=6,
            runbook="WhatsAppSessionRestored",
        ),
        lines(
            "Age of the last backup",
            "Time since the session was last known to be in the vault as it was.",
            "s",
            Query(age(of("whatsapp_backup_last_success_timestamp_seconds"), by=WHOSE), "{{account}}"),
            width=8,
        ),
        lines(
            "Age of the last check",
            "Time since the newest backup was last fetched and checked.",
            "s",
            Query(age(of("whatsapp_backup_last_verified_timestamp_seconds"), by=WHOSE), "{{account}}"),
            width=8,
        ),
        lines(
            "Kept",
            "Backups in the vault.",
            "short",
            Query(of("whatsapp_backup_kept"), BY),
            width=8,
        ),
    ),
)

BACKUP: Final = Board(
    "backup",
    "Beacon / Backup",
    "If the session were lost now, would it come back?",
    (NOW, RUNS, CHECKS),
    since="now-24h",
)
