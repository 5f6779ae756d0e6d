"""hnswlib, M 16, ef_construction 200."""

import hnswlib

from . import WIDTHS


class Competitor:
    def build(self, base, metric, threads):
        self.index = hnswlib.Index(metric, base.shape[1])
        self.index.init_index(len(base), M=16, ef_construction=200)
        self.index.add_items(base, num_threads=threads)

    def efforts(self):
        return list(WIDTHS)

    def search(self, queries, k, effort):
        self.index.set_ef(max(effort, k))
        return self.index.knn_query(queries, k, num_threads=1)[0].astype("int64")
