"""semblance, defaults."""

import numpy as np

import semblance as sb


class Competitor:
    def build(self, rows):
        self.index = sb.Index.build(rows, metric="l2")

    def search(self, queries, k, threads=1):
        return self.index.search(queries, k, threads=threads).ids

    def add(self, rows, first):
        self.index.add(rows, np.arange(first, first + len(rows)))

    def save(self, path):
        self.index.save(path)

    def load(self, path):
        self.index = sb.Index.load(path)
