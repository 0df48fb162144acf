"""The shipped rules and the example for Alertmanager with every duration shortened, nothing else changed."""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

from tests.unit.alerts.shipped import ALERTS, RULE_FILES

USUAL: Final = 60.0
"""A minute lasts a second."""

FACTORS: Final[Mapping[str, float]] = {
    "WhatsAppDispatcherStuck": 10.0,  # its heart beats every second, whatever the rules say
    "WhatsAppBackupStale": 1440.0,  # six hours are 15 s
    "WhatsAppBackupUnverified": 2880.0,  # a day is 30 s
    "WhatsAppSessionRestored": 240.0,
    "WhatsAppEventLoopLags": 30.0,  # a process that is starved is not always scraped
    "WhatsAppEngineCrashLoop": 30.0,  # engines take their time to start, whatever the rules say
    "WhatsAppBackupUnreadable": 120.0,
    "WhatsAppBackupRefused": 120.0,
    "WhatsAppDeliveryBudgetBurnsFast": 360.0,
    "WhatsAppDeliveryBudgetBurnsSlowly": 360.0,
}
RECORDED: Final = 360.0

LEAST_RANGE_MS: Final = 4000
"""Four scrapes and more: the shortest windows of the objective would have less."""
LEAST_WAIT_MS: Final = 1000

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def rules() -> dict[str, Any]:
    """All shipped groups as one file of rules."""
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    for group in groups:
        group["rules"] = [_rule(rule) for rule in group["rules"]]
    return {"groups": groups}


def alertmanager(inbox: str, *, token_file: str) -> dict[str, Any]:
    """The example with its waits shortened, and every channel led to `inbox`: /beacon, /mail, /heartbeat."""
    config: dict[str, Any] = yaml.safe_load((ALERTS / "alertmanager.yml").read_text())
    del config["global"]
    for route in (config["route"], *config["route"]["routes"]):
        for name in ("group_wait", "group_interval", "repeat_interval"):
            if name in route and route[name] != "0s":
                route[name] = _shorter(route[name], USUAL, LEAST_WAIT_MS)
    for receiver in config["receivers"]:
        if receiver["name"] == "people":
            beacon = receiver["webhook_configs"][0]
            beacon["url"] = f"{inbox}/beacon"
            beacon["http_config"]["authorization"]["credentials_file"] = token_file
            mail = receiver.pop("email_configs")[0]
            receiver["webhook_configs"].append(
                {"url": f"{inbox}/mail", "send_resolved": mail["send_resolved"]}
            )
        elif receiver["name"] == "heartbeat":
            receiver["webhook_configs"][0]["url"] = f"{inbox}/heartbeat"
    return config


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    factor = FACTORS.get(rule["alert"], USUAL) if "alert" in rule else RECORDED
    expression = re.sub(
        r"\[(\w+)\]", lambda found: f"[{_shorter(found[1], factor, _least(found[1]))}]", rule["expr"]
    )
    expression = re.sub(
        r"(\d+) \* (60|3600)\b",
        lambda found: f"{int(found[1]) * int(found[2]) / factor:g}",
        expression,
    )
    waits: dict[str, Any] = {
        name: _shorter(rule[name], factor, LEAST_WAIT_MS)
        for name in ("for", "keep_firing_for")
        if name in rule
    }
    return {**rule, "expr": expression, **waits}


def _least(window: str) -> int:
    return LEAST_RANGE_MS if window != "2m" else 2000


def _shorter(duration: str, factor: float, least_ms: int) -> str:
    seconds = int(duration[:-1]) * UNITS_S[duration[-1]]
    return f"{max(least_ms, round(1000 * seconds / factor))}ms"
