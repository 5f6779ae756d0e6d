"""hnswlib, M 16, ef_construction 200."""

import hnswlib
import numpy as np


class Competitor:
    def build(self, rows):
        self.index = hnswlib.Index("l2", rows.shape[1])
        self.index.init_index(4 * len(rows) + 100_000, M=16, ef_construction=200)
        self.index.add_items(rows)

    def search(self, queries, k, threads=1):
        self.index.set_ef(64)
        return self.index.knn_query(queries, k, num_threads=threads)[0].astype(np.int64)

    def add(self, rows, first):
        self.index.resize_index(max(self.index.get_max_elements(), self.index.get_current_count() + len(rows)))
        self.index.add_items(rows, np.arange(first, first + len(rows)))

    def save(self, path):
        self.index.save_index(path)

    def load(self, path):
        self.index = hnswlib.Index("l2", DIM)
        self.index.load_index(path, 1_000_000)


DIM = 64
