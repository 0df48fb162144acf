"""Bytes as a bad disk or a bad cable gives them back."""

from random import Random


def damaged(data: bytes, rng: Random) -> bytes:
    """Flipped, cut, lengthened, overwritten or with a piece moved; never the same."""
    at = rng.randrange(max(1, len(data)))
    length = rng.randint(1, 64)
    choices = (
        data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :] if data else b"\0",
        data[:at],
        data + rng.randbytes(length),
        data[:at] + rng.randbytes(length) + data[at + length :],
        data[:at] + bytes(length) + data[at + length :],
        data[at:] + data[:at],
    )
    result = rng.choice(choices)
    if result != data:
        return result
    return data[:-1] if data else b"\0"
