"""What backups tell. Every label set exists from the start: rates are right from the first event."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.backup.model import Cause, Refusal, RestoreKind
from service.backup.report import Finding, Outcome, Restored
from service.telemetry.exemplar import exemplar

DURATION_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class BackupMetrics:
    """Runs, what they cost, what is kept, and what came back."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        self._account = account
        self._registry = registry
        self._declare_gauges()
        self._declare_counters()
        self._run_seconds = self._histogram(
            "whatsapp_backup_duration_seconds",
            "Time that a backup took, from the copy to its last byte kept.",
        )
        self._restore_seconds = self._histogram(
            "whatsapp_backup_restore_duration_seconds",
            "Time that bringing a session back took, without waiting for the vault.",
        )

    def _declare_gauges(self) -> None:
        self.enabled = self._gauge("whatsapp_backup_enabled", "1 when this process makes backups.")
        self.epoch = self._gauge(
            "whatsapp_backup_epoch",
            "Number of this process's time as owner of the session; 0 while it may not write backups.",
        )
        self.unprotected = self._gauge(
            "whatsapp_backup_unprotected",
            "1 while the account is connected without an epoch, because the vault does not answer.",
        )
        self.kept = self._gauge("whatsapp_backup_kept", "Backups in the vault, as last seen.")
        self.size_bytes = self._gauge("whatsapp_backup_size_bytes", "Size of the session last backed up.")
        self.last_success = self._gauge(
            "whatsapp_backup_last_success_timestamp_seconds",
            "When the session was last known to be in the vault as it was, Unix time; 0 for never.",
        )
        self.last_verified = self._gauge(
            "whatsapp_backup_last_verified_timestamp_seconds",
            "When the newest backup was last fetched and checked as a restore would, Unix time; 0 for never.",
        )
        self.last_refusal = self._gauge(
            "whatsapp_backup_last_refusal_timestamp_seconds",
            "When a session was last found unfit to replace the last good copy, Unix time; 0 for never.",
        )
        self.last_restore = self._gauge(
            "whatsapp_backup_last_restore_timestamp_seconds",
            "When this process brought a session back, Unix time; 0 when it did not.",
        )

    def _declare_counters(self) -> None:
        self._runs = Counter(
            "whatsapp_backup_runs",
            "Backups, by cause and by how they ended.",
            ["account", "cause", "outcome"],
            registry=self._registry,
        )
        for cause in Cause:
            for outcome in Outcome:
                self._runs.labels(self._account, cause.value, outcome.value)
        self._refusals = self._counted(
            "whatsapp_backup_refusals", "Sessions unfit to be kept, by reason.", "reason", Refusal
        )
        self._verifications = self._counted(
            "whatsapp_backup_verifications", "Checks of kept backups, by how they ended.", "result", Finding
        )
        self._restores = self._counted(
            "whatsapp_backup_restores", "Sessions brought back, by kind.", "kind", RestoreKind
        )
        self._read = self._counter("whatsapp_backup_read_bytes", "Bytes of session read for backups.")
        self._stored = self._counter("whatsapp_backup_stored_bytes", "Sealed bytes added to the vault.")
        self._saved = self._counter(
            "whatsapp_backup_saved_bytes",
            "Bytes of session that were in the vault already and not stored anew.",
        )
        self._dropped = self._counter(
            "whatsapp_backup_sessions_dropped",
            "Sessions with peers that were begun anew, because theirs could be ahead of what was kept.",
        )
        self._undecryptable = self._counter(
            "whatsapp_backup_undecryptable",
            "Messages that could not be decrypted at first, since this process brought a session back.",
        )
        self._forgotten = self._counter(
            "whatsapp_backup_forgotten", "Backups removed because their time was over."
        )

    # --- what happens -------------------------------------------------------------------------------

    def ran(self, cause: Cause, outcome: Outcome, *, seconds: float) -> None:
        """A backup ended."""
        self._runs.labels(self._account, cause.value, outcome.value).inc()
        if outcome.success:
            self._run_seconds.observe(seconds, exemplar())

    def cost(self, *, read_bytes: int, stored_bytes: int, saved_bytes: int) -> None:
        """A backup was kept."""
        self.size_bytes.set(read_bytes)
        self._read.inc(read_bytes)
        self._stored.inc(stored_bytes)
        self._saved.inc(saved_bytes)

    def refused(self, reason: Refusal, *, at: float) -> None:
        """A session was found unfit."""
        self._refusals.labels(self._account, reason.value).inc()
        self.last_refusal.set(at)

    def verified(self, finding: Finding) -> None:
        """A kept backup was checked."""
        self._verifications.labels(self._account, finding.value).inc()

    def restored(self, restored: Restored, *, at: float) -> None:
        """A session was brought back and is in use now."""
        self._restores.labels(self._account, restored.kind.value).inc()
        self._restore_seconds.observe(restored.took_s, exemplar())
        self.last_restore.set(at)

    def dropped(self, sessions: int) -> None:
        """So many sessions with peers are begun anew."""
        self._dropped.inc(sessions)

    def undecryptable(self) -> None:
        """A message could not be decrypted after a restore."""
        self._undecryptable.inc()

    def forgot(self, backups: int) -> None:
        """Backups were removed."""
        self._forgotten.inc(backups)

    # --- declarations -------------------------------------------------------------------------------

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["account"], registry=self._registry).labels(self._account)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["account"], registry=self._registry).labels(self._account)

    def _counted(self, name: str, text: str, label: str, values: Iterable[StrEnum]) -> Counter:
        counter = Counter(name, text, ["account", label], registry=self._registry)
        for value in values:
            counter.labels(self._account, value.value)
        return counter

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ["account"], buckets=DURATION_BUCKETS, registry=self._registry).labels(
            self._account
        )
