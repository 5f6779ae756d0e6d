"""ScaNN: a tree, anisotropic product quantisation, reordering."""

import numpy as np
import scann


class Competitor:
    def build(self, base, metric, threads):
        kind = "dot_product" if metric == "cosine" else "squared_l2"
        self.leaves = int(2 * np.sqrt(len(base)))
        builder = scann.scann_ops_pybind.builder(base, 10, kind)
        builder = builder.tree(self.leaves, self.leaves // 10, training_sample_size=min(len(base), 100_000))
        self.index = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100).build()

    def efforts(self):
        return [(leaves, again) for leaves in (4, 8, 16, 32, 64, 96, 128, 192) for again in (30, 100)]

    def search(self, queries, k, effort):
        leaves, again = effort
        found = self.index.search_batched(
            queries, k, leaves_to_search=min(leaves, self.leaves), pre_reorder_num_neighbors=again
        )
        return found[0].astype("int64")
