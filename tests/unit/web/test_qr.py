"""The code to scan, in each of its forms, is the same code."""

import io

import segno

from service.web import qr

TEXT = "2@" + "AbCdEf/+" * 30 + "=="


def modules(text: str) -> list[list[bool]]:
    return [[bool(module) for module in row] for row in segno.make_qr(text, error="l").matrix_iter(border=4)]


def test_the_blocks_for_a_terminal_are_the_code_in_light_on_dark() -> None:
    halves = {" ": (True, True), "▄": (True, False), "▀": (False, True), "█": (False, False)}
    drawn: list[list[bool]] = []
    for line in qr.terminal(TEXT).splitlines():
        pairs = [halves[character] for character in line]
        drawn += [[upper for upper, _ in pairs], [lower for _, lower in pairs]]

    expected = modules(TEXT)
    assert drawn[: len(expected)] == expected
    assert not any(any(row) for row in drawn[len(expected) :])


def test_the_svg_scales_and_stands_on_white() -> None:
    svg = qr.svg(TEXT)
    side = len(modules(TEXT))

    assert f'viewBox="0 0 {side} {side}"' in svg
    assert 'fill="#fff"' in svg
    assert 'xmlns="http://www.w3.org/2000/svg"' in svg
    assert "<?xml" not in svg


def test_the_png_is_one() -> None:
    image = io.BytesIO(qr.png(TEXT))
    assert image.read(8) == b"\x89PNG\r\n\x1a\n"


def test_another_code_is_another_picture() -> None:
    assert qr.svg(TEXT) != qr.svg(TEXT + "x")
