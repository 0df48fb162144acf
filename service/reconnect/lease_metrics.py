"""What the lease tells. Every label set exists from the start: rates are right from the first event."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WAIT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 300, 900, 3600)
RENEWAL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)


class Hindrance(StrEnum):
    """What stands between this process and connecting; the operator does something else for each."""

    HELD_ELSEWHERE = "held_elsewhere"  # another process holds it: the ordinary wait of a standby
    UNREACHABLE = "unreachable"  # the database does not answer
    REFUSED = "refused"  # the database answers and does not let us: password, rights, full disk
    DATA_DIR = "data_dir"  # what has to be written before a login cannot be written
    VAULT_UNREACHABLE = "vault_unreachable"  # where the session's backups are does not answer
    BACKUP_UNREADABLE = "backup_unreadable"  # there are backups of the session, and none can be read
    BACKUP_KEY_MISSING = "backup_key_missing"  # there are, sealed with a key that we do not have


class LostReason(StrEnum):
    """Why a lease that was held could be trusted no longer."""

    TAKEN = "taken"  # the row says that another process holds it
    UNREACHABLE = "unreachable"  # no renewal was answered in time
    STALLED = "stalled"  # this process did not run for so long that none was tried in time


class RenewalResult(StrEnum):
    """How a renewal ended."""

    RENEWED = "renewed"
    TAKEN = "taken"
    FAILED = "failed"


class LeaseMetrics:
    """Who may connect, since when, and how reliably."""

    def __init__(self, registry: CollectorRegistry, account: str) -> None:
        self._account = account
        self._held = Gauge(
            "whatsapp_lease_held",
            "1 while this process may connect the account.",
            ["account"],
            registry=registry,
        ).labels(account)
        self._fence = Gauge(
            "whatsapp_lease_fence",
            "Fencing number of this process's latest lease, held or not; 0 before the first. A process with "
            "a greater one came later.",
            ["account"],
            registry=registry,
        ).labels(account)
        self._hindered = Gauge(
            "whatsapp_lease_hindered",
            "1 for what keeps this process from connecting as the account's owner; all 0 while nothing does.",
            ["account", "hindrance"],
            registry=registry,
        )
        self._lost = Counter(
            "whatsapp_lease_lost",
            "Leases that could be trusted no longer, by reason; giving one up at a stop is not losing it.",
            ["account", "reason"],
            registry=registry,
        )
        self._renewals = Counter(
            "whatsapp_lease_renewals",
            "Attempts to renew a held lease, by result.",
            ["account", "result"],
            registry=registry,
        )
        self._wait_seconds = Histogram(
            "whatsapp_lease_wait_seconds",
            "Time from asking for the lease to holding it.",
            ["account"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        ).labels(account)
        self._renewal_seconds = Histogram(
            "whatsapp_lease_renewal_seconds",
            "Time that an answered renewal took.",
            ["account"],
            buckets=RENEWAL_BUCKETS,
            registry=registry,
        ).labels(account)
        for hindrance in Hindrance:
            self._hindered.labels(account, hindrance.value)
        for reason in LostReason:
            self._lost.labels(account, reason.value)
        for result in RenewalResult:
            self._renewals.labels(account, result.value)

    def hindered(self, hindrance: Hindrance | None) -> None:
        """Something else stands in the way now; None: nothing does, or nobody waits."""
        for each in Hindrance:
            self._hindered.labels(self._account, each.value).set(each is hindrance)

    def acquired(self, fence: int, *, wait_s: float) -> None:
        """The lease is ours."""
        self._held.set(1)
        self._fence.set(fence)
        self._wait_seconds.observe(wait_s)

    def renewed(self, result: RenewalResult, *, seconds: float) -> None:
        """A renewal was answered, or was not."""
        self._renewals.labels(self._account, result.value).inc()
        if result is not RenewalResult.FAILED:
            self._renewal_seconds.observe(seconds)

    def lost(self, reason: LostReason) -> None:
        """The lease was ours."""
        self._held.set(0)
        self._lost.labels(self._account, reason.value).inc()

    def released(self) -> None:
        """We gave it up."""
        self._held.set(0)
