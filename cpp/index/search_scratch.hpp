// What one searching thread keeps between queries.
#pragma once

#include <vector>

#include "codec/codec.hpp"
#include "index/hnsw.hpp"

namespace semblance {

struct IndexSearchScratch {
  WalkScratch walk;
  PreparedQuery query, fine_query;
  std::vector<float> unit;       // the query, normalised
  std::vector<Neighbour> found;  // closest first
  std::vector<std::uint32_t> slots;
  std::vector<float> scores;
};

}  // namespace semblance
