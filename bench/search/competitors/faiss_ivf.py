"""Faiss IVF with 4-bit product quantisation by FastScan, refined by the vectors themselves."""

import faiss
import numpy as np


class Competitor:
    def build(self, base, metric, threads):
        faiss.omp_set_num_threads(threads)
        kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
        lists, parts = int(4 * np.sqrt(len(base))), base.shape[1] // 2
        self.index = faiss.index_factory(base.shape[1], f"IVF{lists},PQ{parts}x4fs,RFlat", kind)
        self.refine = faiss.downcast_index(self.index)
        self.inverted = faiss.downcast_index(self.refine.base_index)
        self.index.train(base)
        self.index.add(base)
        faiss.omp_set_num_threads(1)

    def efforts(self):
        return [(probes, factor) for probes in (4, 8, 16, 24, 32, 48, 64, 96, 128, 192) for factor in (4, 10)]

    def search(self, queries, k, effort):
        self.inverted.nprobe, self.refine.k_factor = effort
        return self.index.search(queries, k)[1]
