"""The main promise, end to end: 200 messages through cuts and kills, counted where they are decrypted."""

import json

from tests.e2e.process import environment, run_to_end


async def test_nothing_is_lost_doubled_or_out_of_order_through_cuts_and_kills() -> None:
    code, out, err = await run_to_end("demo", "--check", "--json", env=environment())
    assert out, err
    figures = json.loads(out.splitlines()[-1])
    assert (figures["accepted"], figures["delivered"]) == (200, 200), err
    assert (figures["lost"], figures["out_of_order"]) == (0, 0)
    assert figures["duplicates"] <= 1
    assert figures["recover_first_ms"] <= figures["recover_all_ms"]
    assert code == 0
