"""Other people's commands: modules named in BOT_PLUGINS, each with a function `register(router)`."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from service.bot.router import Router
from service.errors import PluginError

log = structlog.get_logger(__name__)


def load_plugins(router: Router, modules: Sequence[str]) -> None:
    """Import each module and let it register its commands.

    Modules are looked for where Python looks and then in the working directory. Raises PluginError with
    the module's name when one cannot be imported, has no `register`, registers nothing, or takes a name
    that is taken.
    """
    if modules and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    for name in modules:
        before = len(router)
        _register(router, name)
        if len(router) == before:
            raise PluginError(f"BOT_PLUGINS={name}: its register(router) registered no command")
        log.info("plugin.loaded", plugin=name, commands=len(router) - before)


def _register(router: Router, name: str) -> None:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise PluginError(
            f"BOT_PLUGINS={name}: cannot be imported ({type(error).__name__}: {error})"
        ) from error
    register = getattr(module, "register", None)
    if not callable(register):
        raise PluginError(f"BOT_PLUGINS={name}: must have a function register(router)")
    try:
        register(router)
    except PluginError as error:
        raise PluginError(f"BOT_PLUGINS={name}: {error}") from error
    except Exception as error:
        raise PluginError(
            f"BOT_PLUGINS={name}: register(router) failed ({type(error).__name__}: {error})"
        ) from error
