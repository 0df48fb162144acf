"""Every error that Beacon raises on purpose, as one tree.

BeaconError
 ├─ SettingsError            a setting is missing or wrong; lists every one
 ├─ StartError               the surroundings do not allow a start
 │   ├─ DataDirUnusable      DATA_DIR cannot be created, entered or written
 │   ├─ DataDirInUse         another process holds DATA_DIR
 │   ├─ AccountInUse         another process holds the account's lease
 │   └─ AddressUnusable      the HTTP address is taken or not ours
 ├─ InvalidInput             a caller sent something that is not allowed; names field, value, rule
 │   ├─ InputTooLarge        its size is what is not allowed
 │   └─ NotFetched           what it names elsewhere cannot be had from there now
 ├─ StoreError               the queue's store
 │   ├─ StoreUnavailable     try again later; nothing was changed
 │   │   └─ StoreFull        the disk is full; nothing was changed
 │   ├─ StoreTooNew          the schema is newer than this program
 │   ├─ StoreMoved           its messages are in another store, or on their way there
 │   └─ ClaimLost            a completion came after the claim had been given away
 ├─ BackupError              a copy of the session could not be made, kept or read
 │   ├─ VaultUnavailable     where copies are kept cannot be used now; nothing was changed
 │   │   └─ VaultFull        it has no room; nothing was changed
 │   ├─ FenceTooOld          another process owns the account by now; nothing was changed
 │   ├─ SnapshotRefused      the session is not fit to be kept; names the reason
 │   ├─ SessionInPlace       a session that can be used is where one is to be restored
 │   ├─ BackupMissing        there is no such copy
 │   └─ BackupUnreadable     a copy is there, but cannot be read: damaged, or sealed with another key
 │       └─ BackupKeyMissing it names a key that we do not have
 ├─ EngineError              the child process that owns neonize
 │   ├─ EngineGone           it ended; what was in flight has an unknown outcome
 │   ├─ EngineTimeout        a command passed its deadline; its outcome is unknown
 │   ├─ EngineRefused        it answered that it could not do the command
 │   ├─ EngineStartFailed    it did not come up
 │   └─ FrameError           a frame was malformed, oversized or of another version
 ├─ PluginError              a bot plugin cannot be loaded
 ├─ ApiError                 a running service did not do what the command line asked of it
 │   ├─ ApiUnreachable       nothing that speaks Beacon's API answers there
 │   ├─ ApiDenied            the token is missing or wrong
 │   └─ ApiRefused           it answered with a problem; nothing was changed
 └─ SimulatorError           the loopback WhatsApp server (tests and demo only)

Each carries `exit_code`, which the command line returns (BSD sysexits where one fits).
"""

from collections.abc import Sequence
from typing import ClassVar


class BeaconError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1


class SettingsError(BeaconError):
    """One or more settings are wrong; `problems` holds one sentence for each."""

    exit_code = 78  # EX_CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(BeaconError):
    """The surroundings do not allow a start."""


class DataDirUnusable(StartError):
    """DATA_DIR cannot be created, entered or written."""

    exit_code = 73  # EX_CANTCREAT


class DataDirInUse(StartError):
    """Another process holds DATA_DIR."""

    exit_code = 75  # EX_TEMPFAIL


class AccountInUse(StartError):
    """Another process holds the account's lease."""

    exit_code = 75  # EX_TEMPFAIL


class AddressUnusable(StartError):
    """The HTTP address is in use or does not belong to this machine."""

    exit_code = 69  # EX_UNAVAILABLE


class InvalidInput(BeaconError):
    """A caller's input breaks a rule. `field` is a path such as `messages[3].to`; `others` are further faults
    that were found with this one."""

    exit_code = 65  # EX_DATAERR

    def __init__(self, field: str, sentence: str, *, others: Sequence["InvalidInput"] = ()) -> None:
        super().__init__(f"{field}: {sentence}")
        self.field = field
        self.sentence = sentence
        self.others = others


class InputTooLarge(InvalidInput):
    """It is its size that breaks a rule."""


class NotFetched(InvalidInput):
    """The URL that it names gave no file; a later try may."""


class StoreError(BeaconError):
    """The queue's store failed."""


class StoreUnavailable(StoreError):
    """The store cannot be used now; nothing was changed, try again later."""

    exit_code = 75  # EX_TEMPFAIL


class StoreFull(StoreUnavailable):
    """The disk under the store is full; nothing was changed."""


class StoreTooNew(StoreError):
    """The store's schema is newer than this program."""

    exit_code = 78  # EX_CONFIG


class StoreMoved(StoreError):
    """The store's messages are in another store, or on their way there."""

    exit_code = 78  # EX_CONFIG


class ClaimLost(StoreError):
    """A completion came for a claim that is no longer held; nothing was changed."""


class BackupError(BeaconError):
    """A copy of the session could not be made, kept or read."""


class VaultUnavailable(BackupError):
    """Where copies are kept cannot be used now; nothing was changed, try again later."""

    exit_code = 75  # EX_TEMPFAIL


class VaultFull(VaultUnavailable):
    """Where copies are kept has no room for another; nothing was changed."""


class FenceTooOld(BackupError):
    """Another process owns the account by now, and may have written; nothing was changed."""


class SnapshotRefused(BackupError):
    """The session is not fit to stand in for the last good copy. `reason` is one of a closed set."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class SessionInPlace(BackupError):
    """A session that can be used is where a copy is to be restored; nothing was changed."""

    exit_code = 73  # EX_CANTCREAT


class BackupMissing(BackupError):
    """There is no copy, or none of that number."""

    exit_code = 66  # EX_NOINPUT


class BackupUnreadable(BackupError):
    """A copy is there and cannot be read: damaged, cut short, or sealed with another key."""

    exit_code = 65  # EX_DATAERR


class BackupKeyMissing(BackupUnreadable):
    """A copy is sealed with a key that is not among ours; `key_id` names it."""

    exit_code = 78  # EX_CONFIG

    def __init__(self, key_id: str) -> None:
        super().__init__(f"sealed with key {key_id}, which is not in BACKUP_KEYS")
        self.key_id = key_id


class EngineError(BeaconError):
    """The child process that owns neonize failed."""


class EngineGone(EngineError):
    """The engine ended; the outcome of what was in flight is unknown."""


class EngineTimeout(EngineError):
    """A command passed its deadline; its outcome is unknown."""


class EngineStartFailed(EngineError):
    """The engine ended or stayed silent before its first frame."""


class FrameError(EngineError):
    """A frame between parent and engine was malformed, oversized or of another version."""


class EngineRefused(EngineError):
    """The engine answered that it could not do the command; `text` is neonize's own words."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class PluginError(BeaconError):
    """A bot plugin cannot be imported or has no commands."""

    exit_code = 78  # EX_CONFIG


class ApiError(BeaconError):
    """A running service did not do what the command line asked of it."""


class ApiUnreachable(ApiError):
    """Nothing that speaks Beacon's API answers at the address."""

    exit_code = 69  # EX_UNAVAILABLE


class ApiDenied(ApiError):
    """The token is missing or wrong."""

    exit_code = 77  # EX_NOPERM


class ApiRefused(ApiError):
    """The service answered with a problem; nothing was changed. `kind` names it for programs."""

    exit_code = 65  # EX_DATAERR

    def __init__(self, sentence: str, *, kind: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind


class SimulatorError(BeaconError):
    """The loopback WhatsApp server failed."""
