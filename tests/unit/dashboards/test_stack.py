"""The example stack, as far as it can be checked without starting its containers."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dashboards.__main__ import BOARDS, RUNBOOKS
from service.config import Settings
from tests.boards import FOLDER, RULES

STACK: Final = FOLDER / "stack"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]


def mounts(service: str) -> dict[str, str]:
    """What of the repository or of a volume is seen where in a container."""
    pairs = (volume.removesuffix(":ro").split(":") for volume in SERVICES[service].get("volumes", ()))
    return {target: source for source, target in pairs}


def said(name: str) -> Any:
    """A file of the stack."""
    return yaml.safe_load((STACK / name).read_text())


def tool(*command: str) -> None:
    """Debian's tool has nothing against it."""
    assert shutil.which(command[0]), f"these tests need Debian's {command[0]} (.ci/run installs it)"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_else_reaches_it(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service]["ports"])


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_to_a_version(service: str) -> None:
    image = SERVICES[service].get("image", "")
    if service == "beacon":
        assert (FOLDER / SERVICES[service]["build"] / "Dockerfile").is_file()
    else:
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", image), image


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_there(service: str) -> None:
    for source in mounts(service).values():
        if source.startswith("."):
            assert (FOLDER / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]
    for secret in SERVICES[service].get("secrets", ()):
        assert secret in COMPOSE["secrets"]


def test_beacon_is_given_settings_that_it_has() -> None:
    own = {name for name in SERVICES["beacon"]["environment"] if not name.startswith("OTEL_")}
    assert {name.lower() for name in own} <= set(Settings.model_fields)


def test_no_secret_is_written_down() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("TOKEN|PASSWORD", name):
                assert re.match(r"\$\{[A-Z_]+:\?", value), f"{name} has a value of its own"
    ignored = (FOLDER.parent / ".gitignore").read_text().splitlines()
    assert "/dashboards/.env" in ignored, "where the secrets are"


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    here = {target: str((FOLDER / source).resolve()) for target, source in mounts("prometheus").items()}
    text = (STACK / "prometheus.yml").read_text()
    text = text.replace("/etc/prometheus/rules", here["/etc/prometheus/rules"])
    token = tmp_path / "metrics_token"
    token.write_text("a token for the metrics")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/metrics_token", str(token)))
    tool("promtool", "check", "config", str(tmp_path / "prometheus.yml"))


def test_prometheus_scrapes_the_job_that_the_rules_ask_for() -> None:
    jobs = {job["job_name"] for job in said("prometheus.yml")["scrape_configs"]}
    assert set(re.findall(r'up\{job="(\w+)"\}', (RULES / "runtime.yml").read_text())) == jobs


def test_prometheus_keeps_exemplars() -> None:
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_alertmanager_takes_its_configuration() -> None:
    tool("amtool", "check-config", str(STACK / "alertmanager.yml"))


def test_what_mutes_what_is_as_in_the_example_for_production() -> None:
    example = yaml.safe_load((RULES.parent / "alertmanager.yml").read_text())
    assert said("alertmanager.yml")["inhibit_rules"] == example["inhibit_rules"]


def test_the_collector_passes_traces_from_beacon_to_tempo() -> None:
    config = said("collector.yaml")
    (pipeline,) = config["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == set(config[kind]), f"what is declared of {kind} is used"
    sent = SERVICES["beacon"]["environment"]["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    listens = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert sent == f"http://collector:{listens.rpartition(':')[2]}/v1/traces"
    taken = said("tempo.yaml")["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert config["exporters"]["otlp_http"]["endpoint"] == f"http://tempo:{taken.rpartition(':')[2]}"


def test_an_exemplar_leads_to_tempo() -> None:
    sources = {one["uid"]: one for one in said("grafana/datasources/beacon.yaml")["datasources"]}
    (way,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert way["name"] == "trace_id"
    assert sources[way["datasourceUid"]]["type"] == "tempo"
    assert sources["tempo"]["url"] == f"http://tempo:{said('tempo.yaml')['server']['http_listen_port']}"


def test_grafana_knows_how_often_is_scraped() -> None:
    sources = {one["uid"]: one for one in said("grafana/datasources/beacon.yaml")["datasources"]}
    assert (
        sources["prometheus"]["jsonData"]["timeInterval"]
        == said("prometheus.yml")["global"]["scrape_interval"]
    )


def test_grafana_shows_every_dashboard_and_nothing_else() -> None:
    (provider,) = said("grafana/dashboards/beacon.yaml")["providers"]
    folder = provider["options"]["path"]
    shown = {Path(target).name for target in mounts("grafana") if target.startswith(f"{folder}/")}
    assert shown == {f"{board.name}.json" for board in BOARDS}
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounts("grafana")


def test_links_of_alerts_and_dashboards_lead_into_the_stack() -> None:
    linked = set(
        re.findall(r"_url: (http://localhost:\d+)", "".join(p.read_text() for p in RULES.glob("*.yml")))
    )
    served = {
        port.replace("127.0.0.1:", "http://localhost:").rpartition(":")[0]
        for one in SERVICES.values()
        for port in one["ports"]
    }
    assert linked <= served
    assert RUNBOOKS in linked
    assert mounts("runbooks")["/runbooks"] == "../alerts/runbooks"
    assert f":{RUNBOOKS.rpartition(':')[2]} {{" in (STACK / "Caddyfile").read_text()
