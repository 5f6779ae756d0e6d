#include "index/rows.hpp"

namespace semblance {

RowSet::RowSet(const IndexParams& params)
    : codes(make_codec(params.codes, params.dim, params.metric)),
      ids(sizeof(std::int64_t)),
      died(sizeof(std::uint32_t)) {
  if (!params.rerank.empty()) fine = std::make_unique<CodeRows>(make_codec(params.rerank, params.dim, params.metric));
  if (params.has_graph) graph = std::make_unique<Graph>(params.max_degree, params.seed);
  if (!params.link_codes) return;
  links = std::make_unique<LinkCodes>(params.dim, params.metric, params.max_degree, params.seed);
  graph->track_changes();
}

void RowSet::grow(std::size_t rows) {
  codes.arena.grow(rows);
  if (fine) fine->arena.grow(rows);
  ids.grow(rows);
  died.grow(rows);
  if (links) links->grow(rows);
}

}  // namespace semblance
