"""Other people's commands: loaded by name, refused with a sentence that names the module."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bot.plugins import load_plugins
from service.bot.router import Context, Router
from service.errors import PluginError
from tests.people import ANN, BEN
from tests.unit.bot.conversation import Conversation, jid

ROOT = Path(__file__).parents[3]
GOOD = """
from service.bot.router import Context, Router

def register(router: Router) -> None:
    @router.command("hello", help="Greet.")
    async def hello(context: Context) -> None:
        await context.reply(f"Hello, {context.text}")
"""
BAD = {
    "import error": ("import nosuchmodule\n", "cannot be imported (ModuleNotFoundError"),
    "syntax error": ("def register(router:\n", "cannot be imported (SyntaxError"),
    "raises at import": ("raise RuntimeError('no key')\n", "cannot be imported (RuntimeError: no key)"),
    "no register": ("x = 1\n", "must have a function register(router)"),
    "register is no function": ("register = 1\n", "must have a function register(router)"),
    "registers nothing": ("def register(router): pass\n", "registered no command"),
    "register raises": ("def register(router): router.nosuch\n", "register(router) failed (AttributeError"),
    "name taken": (GOOD.replace('"hello"', '"ping"'), "command 'ping': is already there"),
    "name is no name": (GOOD.replace('"hello"', '"Say Hello"'), "command 'Say Hello': must be 1 to 32 of"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory outside the package; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def router() -> Router:
    router = Router(prefix="!")

    @router.command("ping", help="Am I there?")
    async def ping(context: Context) -> None:
        await context.reply("pong")

    return router


async def test_a_module_in_the_working_directory_adds_its_command(talk: Conversation, folder: Path) -> None:
    (folder / "greeting.py").write_text(GOOD)
    load_plugins(talk.router, ["greeting"])
    assert await talk.hears("!hello Ann") == ["Hello, Ann"]


@pytest.mark.parametrize(("source", "sentence"), BAD.values(), ids=BAD.keys())
def test_a_plugin_that_cannot_be_used_is_named(
    folder: Path, router: Router, source: str, sentence: str
) -> None:
    (folder / "somebody_elses.py").write_text(source)
    with pytest.raises(PluginError) as refused:
        load_plugins(router, ["somebody_elses"])
    assert str(refused.value).startswith("BOT_PLUGINS=somebody_elses: ")
    assert sentence in str(refused.value)


def test_a_module_that_does_not_exist_is_named(folder: Path, router: Router) -> None:
    with pytest.raises(PluginError, match=r"BOT_PLUGINS=no\.such\.module: cannot be imported"):
        load_plugins(router, ["no.such.module"])


async def test_the_example_rolls_dice_and_passes_messages_on(
    talk: Conversation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    load_plugins(talk.router, ["examples.bot_plugin"])
    (rolled,) = await talk.hears("!roll 3d1")
    assert rolled == "1 + 1 + 1 = 3"
    assert await talk.hears("!roll many") == ["Say how many dice with how many sides, for example: 2d6"]
    assert await talk.hears(talk.said(f"!tell +{ANN} Dinner is ready", by=BEN)) == [
        "Dinner is ready",
        "It is on its way.",
    ]
    assert talk.kept[-2].message.chat == jid(ANN)
