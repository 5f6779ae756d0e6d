"""semblance's compact layout: 8-bit codes with a finer copy."""

from . import semblance


class Competitor(semblance.Competitor):
    codes = "i8"
