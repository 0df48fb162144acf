"""Two commands of your own. Try it: BOT_PLUGINS=examples.bot_plugin make run, then write `!roll 2d6`.

A plugin is a module with a function `register(router)`. Each command is a coroutine function that gets a
`Context`: `context.args` and `context.text` are what followed the command's name, `reply` answers where
it was asked, `send` writes to somebody else. Both only queue: the answer is safe before they return, and
goes out as soon as WhatsApp can be reached. Commands run one at a time and must not block the event loop
(use `asyncio.to_thread` for what does); one that takes longer than 30 s is given up.
"""

import random
import re

from service.bot.router import Context, Router

DICE = re.compile(r"([1-9]\d?)d([1-9]\d{0,2})")


def register(router: Router) -> None:
    """Called once at start."""

    @router.command("roll", help="Roll dice, for example: roll 2d6")
    async def roll(context: Context) -> None:
        asked = DICE.fullmatch(context.text or "1d6")
        if asked is None:
            await context.reply("Say how many dice with how many sides, for example: 2d6")
            return
        number, sides = int(asked[1]), int(asked[2])
        rolled = [random.randint(1, sides) for _ in range(number)]  # noqa: S311 - a game, no secret
        await context.reply(f"{' + '.join(map(str, rolled))} = {sum(rolled)}")

    @router.command("tell", help="Pass a message on: tell +15551234567 Dinner is ready", admin=True)
    async def tell(context: Context) -> None:
        to, _, text = context.text.partition(" ")
        if not text:
            await context.reply("Say whom and what: tell +15551234567 Dinner is ready")
            return
        await context.send(to, text)
        await context.reply("It is on its way.")
