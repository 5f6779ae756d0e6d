"""SymphonyQG as in rabitqlib, degree 32, raw vectors."""

import rabitqlib

from . import WIDTHS


class Competitor:
    bits = 0

    def build(self, base, metric, threads):
        self.index = rabitqlib.SymqgIndex(base.shape[1], 32, "ip" if metric == "cosine" else "l2", self.bits)
        self.index.build(base, 200, threads)

    def efforts(self):
        return list(WIDTHS)

    def search(self, queries, k, effort):
        return self.index.search_batch(queries, k, max(effort, k), 1)[0].astype("int64")
