#include "index/rows.hpp"

namespace semblance {

namespace {

std::unique_ptr<CodeRows> fine_rows(const IndexParams& params) {
  if (params.rerank.empty()) return nullptr;
  return std::make_unique<CodeRows>(is_split(params) ? make_i4x2_codec(params.rerank, params.dim, params.metric)
                                                     : make_codec(params.rerank, params.dim, params.metric));
}

CodeRows walked_rows(const IndexParams& params, const CodeRows* fine) {
  auto codec = make_codec(params.codes, params.dim, params.metric);
  return is_split(params) ? CodeRows(std::move(codec), *fine) : CodeRows(std::move(codec));
}

}  // namespace

std::unique_ptr<LinkCodes> make_link_codes(const IndexParams& params, std::unique_ptr<LevelCodec> levels) {
  std::unique_ptr<DifferenceCodec> usual = std::make_unique<SignCodec>(params.dim, params.seed), apart;
  if (levels) {
    apart = std::make_unique<SignCodec>(params.dim, params.seed, levels->groups());
    usual = std::move(levels);
  }
  return std::make_unique<LinkCodes>(params.metric, params.max_degree, std::move(usual), std::move(apart));
}

RowSet::RowSet(const IndexParams& params)
    : fine(fine_rows(params)),
      codes(walked_rows(params, fine.get())),
      ids(sizeof(std::int64_t)),
      died(sizeof(std::uint32_t)) {
  if (params.has_graph) graph = std::make_unique<Graph>(params.max_degree, params.seed);
  if (!params.link_codes) return;
  links = make_link_codes(params, nullptr);
  graph->track_changes();
}

void RowSet::grow(std::size_t rows) {
  if (codes.own) codes.arena.grow(rows);
  if (fine) fine->arena.grow(rows);
  ids.grow(rows);
  died.grow(rows);
  if (links && graph->size() > 0) links->grow(rows);
}

}  // namespace semblance
