"""USearch, connectivity 16, float32."""

import numpy as np
from usearch.index import Index


class Competitor:
    def build(self, rows):
        self.index = Index(ndim=rows.shape[1], metric="l2sq", dtype="f32", connectivity=16)
        self.index.add(np.arange(len(rows)), rows)

    def search(self, queries, k, threads=1):
        return np.asarray(self.index.search(queries, k, threads=threads).keys).astype(np.int64)

    def add(self, rows, first):
        self.index.add(np.arange(first, first + len(rows)), rows)

    def save(self, path):
        self.index.save(path)

    def load(self, path):
        self.index = Index.restore(path)
