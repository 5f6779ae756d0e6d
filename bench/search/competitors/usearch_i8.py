"""USearch, connectivity 16, 8-bit integers."""

from . import usearch_f16


class Competitor(usearch_f16.Competitor):
    dtype = "i8"
