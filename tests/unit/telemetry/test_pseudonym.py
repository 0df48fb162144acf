"""How a chat is shown where others may look."""

import hashlib
import hmac

from service.telemetry.pseudonym import Pseudonyms

ANN, BEN = "15550000001@s.whatsapp.net", "15550000002@s.whatsapp.net"


def test_a_chat_keeps_its_name_and_shares_it_with_no_other() -> None:
    pseudonyms = Pseudonyms(b"key")

    assert pseudonyms.chat(ANN) == pseudonyms.chat(ANN) == Pseudonyms(b"key").chat(ANN)
    assert pseudonyms.chat(BEN) != pseudonyms.chat(ANN) != Pseudonyms(b"another").chat(ANN)


def test_the_name_is_the_beginning_of_a_keyed_hash() -> None:
    assert Pseudonyms(b"key").chat(ANN) == hmac.new(b"key", ANN.encode(), hashlib.sha256).hexdigest()[:12]
