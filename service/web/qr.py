"""The pairing code drawn three ways. WhatsApp's codes are about 240 characters; level L keeps them large."""

import io
from functools import lru_cache
from typing import Final

import segno

QUIET_MODULES: Final = 4
"""The white border that ISO/IEC 18004 asks for."""

PNG_SCALE: Final = 6

_HALF_BLOCKS: Final = {(True, True): " ", (True, False): "▄", (False, True): "▀", (False, False): "█"}


@lru_cache(maxsize=4)
def svg(text: str) -> str:
    """An `<svg>` element with a white ground, so that it can be scanned from a dark page."""
    drawn = io.BytesIO()
    _made(text).save(
        drawn, kind="svg", border=QUIET_MODULES, light="#fff", omitsize=True, xmldecl=False, nl=False
    )
    return drawn.getvalue().decode()


@lru_cache(maxsize=4)
def png(text: str) -> bytes:
    """A PNG image of `PNG_SCALE` pixels a module."""
    image = io.BytesIO()
    _made(text).save(image, kind="png", scale=PNG_SCALE, border=QUIET_MODULES)
    return image.getvalue()


@lru_cache(maxsize=4)
def terminal(text: str) -> str:
    """Lines of half blocks, two modules a character; light is drawn, so it needs a dark terminal."""
    rows = [[bool(module) for module in row] for row in _made(text).matrix_iter(border=QUIET_MODULES)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    return "\n".join(
        "".join(_HALF_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )


def _made(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="l")
