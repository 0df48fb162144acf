# Beacon's alerts in New Relic, for metrics that Beacon pushes there (docs/new-relic.md).
#
#   terraform apply -var runbooks=https://wiki.example.com/beacon -var account_id=1234567
#
# The names, the thresholds and the runbooks are those of the Prometheus rules beside this file. Here an account
# that somebody logged out also counts as disconnected: a condition has one query. Counters arrive as deltas, and
# those that did not move are not sent, so what counts them waits by a timer; gauges arrive every minute.

terraform {
  required_providers {
    newrelic = {
      source  = "newrelic/newrelic"
      version = ">= 3.0"
    }
  }
}

variable "account_id" {
  type        = number
  description = "Your New Relic account's number."
}

variable "runbooks" {
  type        = string
  description = "Where alerts/runbooks is served."
}

locals {
  age = "max(timestamp) / 1000 - latest"

  # Figures that arrive with every push.
  gauges = {
    WhatsAppDisconnected = {
      severity = "critical"
      says     = "WhatsApp is disconnected. First read the reason on the service's page or in /healthz."
      query    = "SELECT max(whatsapp_connected) FROM Metric FACET account"
      operator = "below"
      limit    = 1
      for      = 300
    }
    WhatsAppQueueDeep = {
      severity = "warning"
      says     = "Many messages wait to be sent. First see whether the connection is up and what pacing holds back."
      query    = "SELECT min(whatsapp_queue_messages) FROM Metric WHERE state = 'queued' FACET account"
      operator = "above"
      limit    = 1000
      for      = 600
    }
    WhatsAppOldestMessageWaits = {
      severity = "warning"
      says     = "A message has been waiting for long. First see what for: beacon queue list --state queued."
      query    = "SELECT ${local.age}(whatsapp_queue_oldest_timestamp_seconds) FROM Metric FACET account"
      operator = "above"
      limit    = 1800
      for      = 300
    }
    WhatsAppUnknownOutcomes = {
      severity = "warning"
      says     = "It is not known whether messages were sent. First see whether the engine crashes."
      query    = "SELECT min(whatsapp_queue_messages) FROM Metric WHERE state = 'unknown' FACET account"
      operator = "above"
      limit    = 0
      for      = 600
    }
    WhatsAppHeldMessages = {
      severity = "warning"
      says     = "Messages wait for a person to decide: beacon queue list --state held."
      query    = "SELECT min(whatsapp_queue_messages) FROM Metric WHERE state = 'held' FACET account"
      operator = "above"
      limit    = 0
      for      = 600
    }
    WhatsAppDispatcherStuck = {
      severity = "critical"
      says     = "The part that sends has stopped. First keep the log, then restart; what was accepted is kept."
      query    = "SELECT ${local.age}(whatsapp_queue_dispatcher_heartbeat_timestamp_seconds) FROM Metric FACET account"
      operator = "above"
      limit    = 120
      for      = 180
    }
    WhatsAppLeaseHindered = {
      severity = "critical"
      says     = "Something keeps the service from connecting as the account's owner: database, folder or key."
      query    = "SELECT min(whatsapp_lease_hindered) FROM Metric WHERE hindrance != 'held_elsewhere' FACET account, hindrance"
      operator = "above"
      limit    = 0
      for      = 300
    }
    WhatsAppBackupStale = {
      severity = "warning"
      says     = "The session has not been backed up for hours. First make one: beacon backup now."
      query    = "SELECT (${local.age}(whatsapp_backup_last_success_timestamp_seconds)) * latest(whatsapp_backup_enabled) * latest(whatsapp_connected) FROM Metric FACET account"
      operator = "above"
      limit    = 21600
      for      = 900
    }
    WhatsAppBackupUnverified = {
      severity = "warning"
      says     = "No backup has been checked for a day. First check one: beacon backup verify."
      query    = "SELECT (${local.age}(whatsapp_backup_last_verified_timestamp_seconds)) * clamp_max(latest(whatsapp_backup_kept), 1) FROM Metric FACET account"
      operator = "above"
      limit    = 86400
      for      = 28800
    }
    WhatsAppBackupUnprotected = {
      severity = "warning"
      says     = "The account is connected, and nothing backs up its session: beacon doctor."
      query    = "SELECT min(whatsapp_backup_unprotected) FROM Metric FACET account"
      operator = "above"
      limit    = 0
      for      = 600
    }
    WhatsAppMemoryNearLimit = {
      severity = "warning"
      says     = "Memory is near its limit. First see which process grew, service or engine."
      query    = "SELECT min(whatsapp_memory_used_bytes) / max(whatsapp_memory_limit_bytes) FROM Metric FACET account"
      operator = "above"
      limit    = 0.9
      for      = 600
    }
  }

  # What happened within a while.
  counts = {
    WhatsAppLoggedOut = {
      severity = "critical"
      says     = "The phone has unlinked this device. First see Linked devices on the phone, then link it again."
      query    = "SELECT sum(whatsapp_connection_state_seconds_total) FROM Metric WHERE state = 'logged_out' FACET account"
      limit    = 30
      within   = 300
    }
    WhatsAppBanned = {
      severity = "critical"
      says     = "WhatsApp has banned the account. First read what the phone says; link and restart nothing before."
      query    = "SELECT sum(whatsapp_connection_state_seconds_total) FROM Metric WHERE state = 'banned' FACET account"
      limit    = 30
      within   = 300
    }
    WhatsAppReplaced = {
      severity = "critical"
      says     = "Another program keeps taking the session. First find and stop that one."
      query    = "SELECT sum(whatsapp_connection_state_seconds_total) FROM Metric WHERE state = 'replaced' FACET account"
      limit    = 120
      within   = 300
    }
    WhatsAppOutdated = {
      severity = "critical"
      says     = "WhatsApp refuses this version of the client. First upgrade Beacon."
      query    = "SELECT sum(whatsapp_connection_state_seconds_total) FROM Metric WHERE state = 'outdated' FACET account"
      limit    = 30
      within   = 300
    }
    WhatsAppNotLinked = {
      severity = "warning"
      says     = "No phone is linked. First open the service's page and scan the code."
      query    = "SELECT sum(whatsapp_connection_state_seconds_total) FROM Metric WHERE state IN ('pairing', 'unpaired') FACET account"
      limit    = 840
      within   = 900
    }
    WhatsAppReconnectStorm = {
      severity = "warning"
      says     = "WhatsApp reconnects again and again. First look which reason is counted."
      query    = "SELECT sum(whatsapp_disconnects_total) FROM Metric WHERE reason NOT IN ('logout_asked', 'restarted', 'session_cleared') FACET account"
      limit    = 5
      within   = 1800
    }
    WhatsAppDeaf = {
      severity = "warning"
      says     = "A connection looked alive and let nothing through. First see that messages arrive again."
      query    = "SELECT sum(whatsapp_disconnects_total) FROM Metric WHERE reason = 'deaf' FACET account"
      limit    = 0
      within   = 1800
    }
    WhatsAppSendsFail = {
      severity = "warning"
      says     = "WhatsApp refuses messages, or does not answer. First look which reason is counted."
      query    = "SELECT sum(whatsapp_queue_attempts_total) FROM Metric WHERE result IN ('permanent', 'rate_limited', 'retryable', 'unknown') FACET account"
      limit    = 4
      within   = 900
    }
    WhatsAppMessagesGivenUp = {
      severity = "warning"
      says     = "Messages were given up and not sent. First read why: beacon queue list --state dead."
      query    = "SELECT sum(whatsapp_queue_terminal_total) FROM Metric WHERE state IN ('dead', 'expired') FACET account"
      limit    = 0
      within   = 1800
    }
    WhatsAppDeliveryBudgetBurnsFast = {
      severity = "critical"
      says     = "Messages are late faster than the objective (99 % within 5 minutes) allows. First look at the other alerts: they name the cause. The first four late messages of an hour do not count."
      query    = "SELECT clamp_min(count(whatsapp_queue_sent_seconds) - getCdfCount(whatsapp_queue_sent_seconds, 300) - 4, 0) / count(whatsapp_queue_sent_seconds) FROM Metric FACET account"
      limit    = 0.144
      within   = 3600
    }
    WhatsAppCoolingDown = {
      severity = "warning"
      says     = "WhatsApp asked for fewer messages. First stop what sends to people who never wrote to this account."
      query    = "SELECT sum(whatsapp_pace_cooldowns_total) FROM Metric FACET account"
      limit    = 0
      within   = 1800
    }
    WhatsAppStoreFails = {
      severity = "critical"
      says     = "The queue cannot be written. First look at the disk of DATA_DIR or at the database: beacon doctor."
      query    = "SELECT sum(whatsapp_queue_store_errors_total) FROM Metric FACET account, reason"
      limit    = 0
      within   = 300
    }
    WhatsAppEngineCrashLoop = {
      severity = "critical"
      says     = "The WhatsApp client crashes again and again. First keep the log: it has the traceback."
      query    = "SELECT sum(whatsapp_engine_exits_total) FROM Metric WHERE cause != 'stopped' FACET account"
      limit    = 3
      within   = 1800
    }
    WhatsAppBackupUnreadable = {
      severity = "critical"
      says     = "A backup could not be read when it was checked. First make a new one and check it."
      query    = "SELECT sum(whatsapp_backup_verifications_total) FROM Metric WHERE result IN ('failed', 'key_missing', 'unreadable') FACET account"
      limit    = 0
      within   = 3600
    }
    WhatsAppBackupRefused = {
      severity = "warning"
      says     = "The session was found unfit to be kept. First see on the phone whether this device is still linked."
      query    = "SELECT sum(whatsapp_backup_refusals_total) FROM Metric FACET account, reason"
      limit    = 0
      within   = 3600
    }
    WhatsAppSessionRestored = {
      severity = "warning"
      says     = "The session was brought back from an older backup. First see that messages arrive."
      query    = "SELECT sum(whatsapp_backup_restores_total) FROM Metric WHERE kind = 'ratchets_dropped' FACET account"
      limit    = 0
      within   = 3600
    }
  }
}

resource "newrelic_alert_policy" "beacon" {
  account_id          = var.account_id
  name                = "Beacon"
  incident_preference = "PER_CONDITION_AND_TARGET"
}

# New Relic's dead man's switch: nothing at all arrives any more. It waits longer than a dyno takes to restart.
resource "newrelic_nrql_alert_condition" "silence" {
  account_id                     = var.account_id
  policy_id                      = newrelic_alert_policy.beacon.id
  type                           = "static"
  name                           = "WhatsAppDown"
  description                    = "Beacon has stopped to send metrics. First see whether the service runs: its log, and /livez."
  runbook_url                    = "${var.runbooks}/WhatsAppDown.md"
  enabled                        = true
  violation_time_limit_seconds   = 259200
  aggregation_window             = 60
  aggregation_method             = "event_flow"
  aggregation_delay              = 120
  fill_option                    = "none"
  expiration_duration            = 300
  open_violation_on_expiration   = true
  close_violations_on_expiration = false

  nrql {
    query = "SELECT count(whatsapp_connected) FROM Metric FACET account"
  }

  # A condition has to have a threshold: no row is none at all, so that this one is never met by silence.
  critical {
    operator              = "below"
    threshold             = 0
    threshold_duration    = 60
    threshold_occurrences = "all"
  }
}

resource "newrelic_nrql_alert_condition" "gauge" {
  for_each                       = local.gauges
  account_id                     = var.account_id
  policy_id                      = newrelic_alert_policy.beacon.id
  type                           = "static"
  name                           = each.key
  description                    = each.value.says
  runbook_url                    = "${var.runbooks}/${each.key}.md"
  enabled                        = true
  violation_time_limit_seconds   = 259200
  aggregation_window             = 60
  aggregation_method             = "event_flow"
  aggregation_delay              = 120
  fill_option                    = "none"
  expiration_duration            = 600
  open_violation_on_expiration   = false
  close_violations_on_expiration = true

  nrql {
    query = each.value.query
  }

  dynamic "critical" {
    for_each = each.value.severity == "critical" ? [each.value] : []
    content {
      operator              = critical.value.operator
      threshold             = critical.value.limit
      threshold_duration    = critical.value.for
      threshold_occurrences = "all"
    }
  }

  dynamic "warning" {
    for_each = each.value.severity == "warning" ? [each.value] : []
    content {
      operator              = warning.value.operator
      threshold             = warning.value.limit
      threshold_duration    = warning.value.for
      threshold_occurrences = "all"
    }
  }
}

resource "newrelic_nrql_alert_condition" "count" {
  for_each                       = local.counts
  account_id                     = var.account_id
  policy_id                      = newrelic_alert_policy.beacon.id
  type                           = "static"
  name                           = each.key
  description                    = each.value.says
  runbook_url                    = "${var.runbooks}/${each.key}.md"
  enabled                        = true
  violation_time_limit_seconds   = 259200
  aggregation_window             = each.value.within
  slide_by                       = 60
  aggregation_method             = "event_timer"
  aggregation_timer              = 120
  fill_option                    = "static"
  fill_value                     = 0
  expiration_duration            = each.value.within + 600
  open_violation_on_expiration   = false
  close_violations_on_expiration = true

  nrql {
    query = each.value.query
  }

  dynamic "critical" {
    for_each = each.value.severity == "critical" ? [each.value] : []
    content {
      operator              = "above"
      threshold             = critical.value.limit
      threshold_duration    = critical.value.within
      threshold_occurrences = "at_least_once"
    }
  }

  dynamic "warning" {
    for_each = each.value.severity == "warning" ? [each.value] : []
    content {
      operator              = "above"
      threshold             = warning.value.limit
      threshold_duration    = warning.value.within
      threshold_occurrences = "at_least_once"
    }
  }
}

resource "newrelic_one_dashboard_json" "beacon" {
  account_id = var.account_id
  json       = replace(file("${path.module}/../dashboards/newrelic.json"), "/(\"accountIds\": \\[\\s*)0/", "$${1}${var.account_id}")
}
