"""SymphonyQG as in rabitqlib, degree 32, 8-bit vectors."""

from . import symphonyqg


class Competitor(symphonyqg.Competitor):
    bits = 8
