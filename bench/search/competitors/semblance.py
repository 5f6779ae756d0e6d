"""semblance with its defaults."""

import semblance as sb

from . import WIDTHS


class Competitor:
    codes, rerank = "auto", "auto"

    def build(self, base, metric, threads):
        self.index = sb.Index.build(base, metric=metric, codes=self.codes, rerank=self.rerank, threads=threads)

    def efforts(self):
        return list(WIDTHS)

    def search(self, queries, k, effort):
        return self.index.search(queries, k, ef=effort, threads=1).ids
