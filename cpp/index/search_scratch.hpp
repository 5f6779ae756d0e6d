// What one searching thread keeps between queries.
#pragma once

#include <vector>

#include "codec/codec.hpp"
#include "index/hnsw.hpp"
#include "index/input.hpp"
#include "index/link_walk.hpp"
#include "index/rows.hpp"

namespace semblance {

struct IndexSearchScratch {
  WalkScratch walk;
  LinkWalk link_walk;
  PreparedQuery query, fine_query;
  LinkQuery link_query;
  std::vector<float> unit;       // the query, normalised
  std::vector<Neighbour> found;  // closest first
  std::vector<std::uint32_t> slots;
  std::vector<float> scores;
};

// A query as the codecs take it: a unit vector under cosine.
inline const std::byte* as_unit(const std::byte* query, const IndexParams& params, std::vector<float>& unit) {
  if (params.metric != Metric::cosine) return query;
  unit.resize(params.dim);
  normalise(reinterpret_cast<const float*>(query), params.dim, unit.data());
  return reinterpret_cast<const std::byte*>(unit.data());
}

}  // namespace semblance
