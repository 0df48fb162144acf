"""The engine's entry point when WhatsApp is the simulator: trust its root key in memory, then as ever.

`python -m service.simulator.engine --fd N`, with SIMULATOR_ROOT_KEY (64 hexadecimal digits) and
SSL_CERT_FILE in the environment. Production has no way to get here.
"""

import os
import sys
from typing import Final

from service.engine import child
from service.errors import SimulatorError
from service.simulator import library

ENGINE_ENTRY: Final = (sys.executable, "-m", "service.simulator.engine")


def main() -> None:
    """Be the engine, but trust the simulator."""
    try:
        root_key = bytes.fromhex(os.environ["SIMULATOR_ROOT_KEY"])
    except (KeyError, ValueError) as error:
        raise SimulatorError("SIMULATOR_ROOT_KEY: must be 64 hexadecimal digits") from error
    child.main(prepare=lambda: library.trust(root_key))


if __name__ == "__main__":
    main()
