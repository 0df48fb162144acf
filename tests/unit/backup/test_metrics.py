"""Every series of the backups is there before anything has happened."""

from prometheus_client import CollectorRegistry

from service.backup.metrics import BackupMetrics
from service.backup.model import Cause, Refusal, RestoreKind
from service.backup.report import Finding, Outcome

CLOSED = {
    "whatsapp_backup_runs_total": len(Cause) * len(Outcome),
    "whatsapp_backup_refusals_total": len(Refusal),
    "whatsapp_backup_restores_total": len(RestoreKind),
    "whatsapp_backup_verifications_total": len(Finding),
}


def test_every_series_is_zero_from_the_start_and_of_one_account() -> None:
    registry = CollectorRegistry()
    BackupMetrics(registry, "default")
    samples = [sample for family in registry.collect() for sample in family.samples]
    samples = [sample for sample in samples if not sample.name.endswith("_created")]
    assert all(sample.value == 0 for sample in samples)
    assert {sample.labels["account"] for sample in samples} == {"default"}
    assert {sample.name.startswith("whatsapp_backup_") for sample in samples} == {True}
    counted = {name: sum(sample.name == name for sample in samples) for name in CLOSED}
    assert counted == CLOSED


def test_every_metric_says_what_it_is() -> None:
    registry = CollectorRegistry()
    BackupMetrics(registry, "default")
    assert all(
        family.documentation.endswith(".") or ";" in family.documentation for family in registry.collect()
    )
