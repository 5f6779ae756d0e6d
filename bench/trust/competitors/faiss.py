"""Faiss, HNSW32 over float32."""

import faiss


class Competitor:
    def build(self, rows):
        self.index = faiss.IndexHNSWFlat(rows.shape[1], 32)
        self.index.add(rows)

    def search(self, queries, k, threads=1):
        faiss.omp_set_num_threads(threads)
        self.index.hnsw.efSearch = 64
        return self.index.search(queries, k)[1]

    def add(self, rows, first):
        self.index.add(rows)  # ids are always the next ones

    def save(self, path):
        faiss.write_index(self.index, path)

    def load(self, path):
        self.index = faiss.read_index(path)
