"""Voyager, M 16, ef_construction 200, float32."""

import numpy as np
import voyager


class Competitor:
    def build(self, rows):
        self.index = voyager.Index(
            voyager.Space.Euclidean, num_dimensions=rows.shape[1], M=16, ef_construction=200, random_seed=1
        )
        self.index.add_items(rows)

    def search(self, queries, k, threads=1):
        return np.asarray(self.index.query(queries, k, num_threads=threads, query_ef=64)[0]).astype(np.int64)

    def add(self, rows, first):
        self.index.add_items(rows, list(range(first, first + len(rows))))

    def save(self, path):
        self.index.save(path)

    def load(self, path):
        self.index = voyager.Index.load(path)
