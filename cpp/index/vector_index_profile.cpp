// The distances around sampled rows, measured by the walks that the profile will stop.
#include <algorithm>
#include <bit>

#include "index/search_scratch.hpp"
#include "index/vector_index.hpp"

namespace semblance {
namespace {

constexpr std::size_t kProfileSamples = 128;
constexpr std::size_t kLeastProfiled = 2 * DistanceProfile::kDeepest;  // rows; fewer are searched quickly anyway

}  // namespace

float VectorIndex::score_origin() const { return params_.metric == Metric::cosine ? 1.0F : 0.0F; }

// The walk that begins at the row itself would find it first: it is left out.
DistanceProfile::Sample VectorIndex::distances_around(const RowSet& rows, std::uint32_t row,
                                                      IndexSearchScratch& scratch) const {
  constexpr std::size_t kEnough = DistanceProfile::kDeepest + 1;
  const std::size_t n = rows.count.load();
  scratch.unit.resize(params_.dim);
  rows.codes.codec->decode(rows.codes.arena.row(row), 1, reinterpret_cast<std::byte*>(scratch.unit.data()));
  rows.codes.codec->prepare_row(rows.codes.arena.row(row), scratch.query);
  rows.links->prepare(scratch.unit.data(), scratch.link_query);
  const Filter all{rows.died.as<std::uint32_t>(), 0, n, nullptr};
  LinkWalk& walk = scratch.link_walk;
  walk.start({rows.links.get(), rows.codes.scorer(scratch.query.query), scratch.link_query.query, all, n,
              rows.graph->entry(), kEnough, kEnough});
  while (!walk.done()) walk.step(walk.ask_for_second());

  DistanceProfile::Sample sample{};
  const auto keep = [&](std::array<float, DistanceProfile::kRanks>& out, std::size_t size, const auto& at) {
    std::size_t rank = 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (at(i).id == row) continue;
      if (++rank, (rank & (rank - 1)) == 0 && rank <= DistanceProfile::kDeepest)
        out[static_cast<std::size_t>(std::countr_zero(rank))] = std::max(0.0F, at(i).distance + score_origin());
    }
  };
  const std::vector<Neighbour>& found = walk.best().sorted();
  keep(sample.found, found.size(), [&](std::size_t i) { return found[i]; });
  const std::vector<Neighbour> estimates = walk.estimates();
  keep(sample.estimated, estimates.size(), [&](std::size_t i) { return estimates[i]; });
  // Nodes in line twice leave the last ranks empty: distances found are then taken to grow as the estimates do.
  for (std::size_t r = 1; r < DistanceProfile::kRanks; ++r) {
    sample.estimated[r] = std::max(sample.estimated[r], sample.estimated[r - 1]);
    const float growth = sample.estimated[r - 1] > 0.0F ? sample.estimated[r] / sample.estimated[r - 1] : 1.0F;
    if (sample.found[r] < sample.found[r - 1]) sample.found[r] = sample.found[r - 1] * growth;
  }
  return sample;
}

// Made again when the rows have doubled: distances by rank change little in between.
DistanceProfile VectorIndex::profile(const RowSet& rows, const DistanceProfile& before, std::size_t threads) const {
  const std::size_t n = rows.count.load();
  if (!rows.links || params_.metric == Metric::ip || n < kLeastProfiled || n < 2 * before.rows()) return before;
  std::vector<DistanceProfile::Sample> samples(kProfileSamples);
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    std::unique_ptr<IndexSearchScratch> scratch = take_scratch();
    for (std::size_t i = begin; i < end; ++i)
      samples[i] = distances_around(rows, static_cast<std::uint32_t>(i * n / kProfileSamples), *scratch);
    give_scratch(std::move(scratch));
  };
  parallel_for(kProfileSamples, threads, 1, body);
  return DistanceProfile(std::move(samples), n);
}

}  // namespace semblance
