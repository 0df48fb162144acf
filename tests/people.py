"""The people of the tests. Their numbers are nobody's: 555-0100 to 555-0199 are for fiction."""

from typing import Final

BEACON: Final = "12025550100"
ANN: Final = "12025550101"
BEN: Final = "12025550102"
CLEO: Final = "12025550103"
