"""Faiss HNSW32 on 8-bit codes, refined by float16."""

import faiss

from . import WIDTHS


class Competitor:
    def build(self, base, metric, threads):
        faiss.omp_set_num_threads(threads)
        kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
        self.index = faiss.index_factory(base.shape[1], "HNSW32_SQ8,Refine(SQfp16)", kind)
        self.refine = faiss.downcast_index(self.index)
        self.graph = faiss.downcast_index(self.refine.base_index)
        self.graph.hnsw.efConstruction = 200
        self.index.train(base)
        self.index.add(base)
        faiss.omp_set_num_threads(1)

    def efforts(self):
        return list(WIDTHS)

    def search(self, queries, k, effort):
        self.graph.hnsw.efSearch = effort
        self.refine.k_factor = max(1.0, min(effort / k, 4))
        return self.index.search(queries, k)[1]
