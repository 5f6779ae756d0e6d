"""USearch, connectivity 16, float16."""

import numpy as np
from usearch.index import Index

from . import WIDTHS


class Competitor:
    dtype = "f16"

    def build(self, base, metric, threads):
        kind = "cos" if metric == "cosine" else "l2sq"
        self.index = Index(ndim=base.shape[1], metric=kind, dtype=self.dtype, connectivity=16, expansion_add=200)
        self.index.add(np.arange(len(base)), base, threads=threads)

    def efforts(self):
        return list(WIDTHS)

    def search(self, queries, k, effort):
        self.index.expansion_search = effort
        return self.index.search(queries, k, threads=1).keys.astype("int64")
