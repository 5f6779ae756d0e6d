"""Intel SVS: Vamana of degree 32 on LVQ codes of 4 + 8 bits."""

import tempfile
from pathlib import Path

import numpy as np
import svs

from . import WIDTHS


class Competitor:
    def build(self, base, metric, threads):
        cosine = metric == "cosine"
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "base.fvecs")
            svs.write_vecs(np.ascontiguousarray(base), file)
            loader = svs.VectorDataLoader(file, svs.float32, base.shape[1])
            codes = svs.LVQLoader(loader, 4, 8, padding=32)
            settings = svs.VamanaBuildParameters(
                alpha=0.95 if cosine else 1.2, graph_max_degree=32, window_size=200, prune_to=28
            )
            distance = svs.DistanceType.MIP if cosine else svs.DistanceType.L2
            self.index = svs.Vamana.build(settings, codes, distance, num_threads=threads)
        self.index.num_threads = 1

    def efforts(self):
        return list(WIDTHS)

    def search(self, queries, k, effort):
        self.index.search_window_size = max(effort, k)
        return self.index.search(queries, k)[0].astype("int64")
