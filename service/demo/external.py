"""The service against a loopback WhatsApp server that somebody else started.

Three variables say where it is and whom to trust: WHATSAPP_PROXY (the way to it), SSL_CERT_FILE (the CA
of its TLS certificate) and SIMULATOR_ROOT_KEY (hex, the key that signs its Noise certificates).
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from service import app
from service.assembly import EngineCommand
from service.config import Settings
from service.errors import SettingsError
from service.simulator.engine import ENGINE_ENTRY


def serve(settings: Settings) -> int:
    """Run the service until it is told to stop; its exit code. Raises SettingsError."""
    if problems := list(_problems(settings, os.environ)):
        raise SettingsError(problems)
    return app.run(settings, engine=EngineCommand(entry=ENGINE_ENTRY))


def _problems(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    problems = []
    proxy = settings.whatsapp_proxy.get_secret_value() if settings.whatsapp_proxy else ""
    if not _is_loopback(urlsplit(proxy).hostname or ""):
        problems.append("WHATSAPP_PROXY: must lead to a loopback address, such as http://127.0.0.1:PORT")
    certificate = environment.get("SSL_CERT_FILE", "")
    if not Path(certificate).is_file():
        problems.append(f"SSL_CERT_FILE={certificate}: must be a file with the server's CA certificate")
    key = environment.get("SIMULATOR_ROOT_KEY", "")
    if len(key) != 64 or not set(key.lower()) <= set("0123456789abcdef"):
        problems.append("SIMULATOR_ROOT_KEY: must be 64 hex digits, the server's 32-byte root key")
    return problems


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
