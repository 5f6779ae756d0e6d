"""SymphonyQG as in rabitqlib, degree 32, raw vectors: built once, no rows can be added."""

import numpy as np
import rabitqlib


class Competitor:
    def build(self, rows):
        self.index = rabitqlib.SymqgIndex(rows.shape[1], 32, "l2", 0)
        self.index.build(rows, 200, 1)

    def search(self, queries, k, threads=1):
        return self.index.search_batch(queries, k, 64, threads)[0].astype(np.int64)

    def save(self, path):
        self.index.save(path)

    def load(self, path):
        self.index = rabitqlib.SymqgIndex.load(path)
