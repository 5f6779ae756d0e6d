"""semblance's neighbour codes with 8-bit rows, as SymphonyQG has in its 8-bit variant."""

from . import semblance


class Competitor(semblance.Competitor):
    codes, rerank = "b1", "i8"
