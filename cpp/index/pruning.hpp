// Which candidates a node is linked to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "index/candidates.hpp"
#include "index/hnsw.hpp"

namespace semblance {

// A candidate stays unless a kept one is closer to it than the node is, by the factor alpha (HNSW's heuristic, its
// algorithm 4; alpha as in Subramanya et al., DiskANN, NeurIPS 2019). Each kept one strikes out what it covers, so that
// a row is prepared as a query once for each link and not for each candidate.
class Pruner {
 public:
  Pruner(RowScorers& rows, const BuildOptions& options, std::size_t worker)
      : rows_(rows), options_(options), worker_(worker) {}

  // At most `degree` of the candidates; of equally distant ones, copies mostly, those that come first are preferred.
  // Ends the life of the worker's scorer; the answer lives until the next call.
  const std::vector<Neighbour>& choose(const std::vector<Neighbour>& candidates, std::size_t degree);

 private:
  // A candidate that a kept one covers: its distance from that one over its distance from the node.
  struct Covered {
    float share;
    Neighbour candidate;
    friend bool operator<(const Covered& a, const Covered& b) {
      return a.share > b.share || (a.share == b.share && a.candidate < b.candidate);
    }
  };

  void strike_out(Neighbour kept, std::size_t first, bool and_copies);
  void fill_up(std::size_t degree);
  bool closer(float to_kept, float to_node) const;

  RowScorers& rows_;
  const BuildOptions& options_;
  const std::size_t worker_;
  std::vector<std::uint32_t> names_;  // of the candidates: what is called id below is a place among them
  std::vector<Neighbour> open_, kept_;
  std::vector<Covered> covered_;
  std::vector<std::uint32_t> ids_;
  std::vector<float> distances_;
};

}  // namespace semblance
