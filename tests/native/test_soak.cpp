// Ten threads on one index for as long as its argument says (seconds a layout; a second and a half without one):
// adding, replacing, removing, compacting, saving, looking, searching with and without filters. Meant for
// ThreadSanitizer.
//
// Groups of rows are replaced by one call each, all of a group equally far from the group's query: a search that saw
// two states at once would find different distances in a group.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "index/vector_index.hpp"

using namespace semblance;

namespace {

constexpr std::size_t kDim = 24, kGroups = 12, kMembers = 8;
constexpr std::int64_t kOthers = 1000;  // ids of the rows that come and go, from here on

struct Layout {
  const char* name;
  bool has_graph, link_codes;
  const char *codes, *rerank;
  std::int64_t others = 500;  // rows that come and go
};
// A distance profile is made from 1024 rows on.
constexpr Layout kLayouts[] = {{"graph i8 and f32", true, false, "i8", "f32"},
                               {"graph f32", true, false, "f32", ""},
                               {"graph i4 and i8", true, false, "i4", "i8"},
                               {"neighbour codes over f32", true, true, "f32", ""},
                               {"neighbour codes and a distance profile", true, true, "f32", "", 2200},
                               {"flat", false, false, "f32", ""}};

IndexParams params_of(const Layout& layout) {
  IndexParams params;
  params.dim = kDim;
  params.metric = Metric::l2;
  params.has_graph = layout.has_graph;
  params.link_codes = layout.link_codes;
  params.codes = layout.codes;
  params.rerank = layout.rerank;
  params.max_degree = 8;
  params.ef_construction = 40;
  return params;
}

using Row = std::array<float, kDim>;

// The member's own direction, and its group's state along the last axis: members of one state are equally far from the
// group's query, which lies on that axis.
Row member(std::size_t group, std::size_t i, std::size_t state) {
  Row row{};
  row[group] = 8.0F;
  row[kGroups + i] = 1.0F;
  row[kDim - 1] = static_cast<float>(state % 1024) / 64.0F;
  return row;
}

Row query_of(std::size_t group) {
  Row row{};
  row[group] = 8.0F;
  return row;
}

Row other(std::uint64_t seed, std::size_t i) {
  Row row;
  for (std::size_t j = 0; j < kDim; ++j) row[j] = 4.0F * static_cast<float>(uniform(seed, i * kDim + j)) - 2.0F;
  return row;
}

const std::byte* bytes(const Row* rows) { return reinterpret_cast<const std::byte*>(rows); }

class Soak {
 public:
  explicit Soak(const Layout& layout)
      : range_(layout.others), index_(params_of(layout)), gone_(static_cast<std::size_t>(range_ / 2)) {
    for (auto& each : gone_) each.store(false);
    for (std::size_t group = 0; group < kGroups; ++group) replace(group, 0);
    std::vector<Row> rows;
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < range_; ++i) {
      rows.push_back(other(7, static_cast<std::size_t>(i)));
      ids.push_back(kOthers + i);
    }
    index_.add({bytes(rows.data()), ids.data(), ids.size()}, false, 1, nullptr, ids.data());
    allowed_.ids = ids;
  }

  void run(double seconds) {
    std::vector<std::thread> threads;
    const auto start = [&](void (Soak::*work)(std::uint64_t)) {
      threads.emplace_back([this, work, seed = threads.size()] {
        for (std::uint64_t turn = 0; !stop_.load(); ++turn) (this->*work)(seed * 1000003 + turn);
      });
    };
    for (auto work : {&Soak::replace_one, &Soak::come_and_go, &Soak::retire, &Soak::tidy, &Soak::save, &Soak::look,
                      &Soak::find_group, &Soak::find_group, &Soak::walk, &Soak::filtered})
      start(work);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    stop_.store(true);
    for (std::thread& thread : threads) thread.join();
    CHECK(index_.check().problems.empty());
  }

  void say(const Layout& layout) const {
    std::printf("%s: %d changes, %d searches, %d saves, %d compactions\n", layout.name, changes_.load(),
                searches_.load(), saves_.load(), compactions_.load());
  }

 private:
  void replace(std::size_t group, std::size_t state) {
    std::vector<Row> rows;
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i < kMembers; ++i) {
      rows.push_back(member(group, i, state));
      ids.push_back(static_cast<std::int64_t>(group * kMembers + i));
    }
    index_.add({bytes(rows.data()), ids.data(), kMembers}, true, 1, nullptr, ids.data());
    changes_.fetch_add(1);
  }

  void replace_one(std::uint64_t turn) { replace(turn % kGroups, turn / kGroups); }

  // The upper half of the others: removed and added again.
  void come_and_go(std::uint64_t turn) {
    const std::int64_t id = kOthers + range_ / 2 + static_cast<std::int64_t>(turn) % (range_ / 2);
    index_.remove(&id, 1);
    const Row row = other(turn, 0);
    std::int64_t given = id;
    index_.add({bytes(&row), &id, 1}, true, 1 + turn % 2, nullptr, &given);
    changes_.fetch_add(2);
  }

  // The lower half: removed one by one, for ever.
  void retire(std::uint64_t turn) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto i = static_cast<std::int64_t>(turn) % (range_ / 2);
    const std::int64_t id = kOthers + i;
    index_.remove(&id, 1);
    gone_[static_cast<std::size_t>(i)].store(true);
    CHECK(!index_.contains(id));
    changes_.fetch_add(1);
  }

  void tidy(std::uint64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    index_.compact(1, nullptr);
    CHECK(index_.check().problems.empty());
    compactions_.fetch_add(1);
  }

  // What a save reads.
  void save(std::uint64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const auto frozen = index_.freeze();
    const Moment now = index_.moment();
    const RowSet& rows = *now.rows;
    const std::size_t n = rows.count.load();
    std::uint64_t sum = 0;
    const auto read = [&](const std::byte* part, std::size_t size) {
      for (std::size_t i = 0; i < size; ++i) sum += static_cast<std::uint64_t>(part[i]);
    };
    read(rows.codes.arena.data(), n * rows.codes.arena.row_bytes());
    if (rows.fine) read(rows.fine->arena.data(), n * rows.fine->arena.row_bytes());
    if (rows.links) read(rows.links->data(), n * rows.links->row_bytes());
    if (rows.graph) read(reinterpret_cast<const std::byte*>(rows.graph->parts().links), n * rows.graph->degree(0) * 4);
    std::size_t live = 0;
    for (std::size_t slot = 0; slot < n; ++slot) live += rows.alive(slot);
    CHECK(live == now.live && sum > 0);
    saves_.fetch_add(1);
  }

  void look(std::uint64_t turn) {
    const std::size_t group = turn % kGroups;
    std::int64_t ids[kMembers];
    for (std::size_t i = 0; i < kMembers; ++i) ids[i] = static_cast<std::int64_t>(group * kMembers + i);
    std::array<Row, kMembers> out;
    index_.get(ids, kMembers, reinterpret_cast<std::byte*>(out.data()));
    for (const Row& row : out) CHECK(row[kDim - 1] == out[0][kDim - 1]);
    const std::vector<std::int64_t> all = index_.ids();
    CHECK(std::set<std::int64_t>(all.begin(), all.end()).size() == all.size() && index_.size() >= kGroups * kMembers);
  }

  struct Found {
    std::vector<std::int64_t> ids;
    std::vector<float> distances;
  };

  Found search(const Row& query, const SearchOptions& options) {
    Found out{std::vector<std::int64_t>(options.k), std::vector<float>(options.k)};
    index_.search({bytes(&query), 1}, options, nullptr, {out.ids.data(), out.distances.data()});
    for (std::size_t i = 1; i < options.k; ++i) CHECK(out.distances[i - 1] <= out.distances[i]);
    searches_.fetch_add(1);
    return out;
  }

  // All members, in one state.
  void find_group(std::uint64_t turn) {
    const std::size_t group = turn % kGroups;
    AllowedIds members;
    for (std::size_t i = 0; i < kMembers; ++i) members.ids.push_back(static_cast<std::int64_t>(group * kMembers + i));
    const bool exact = turn % 2 == 0;
    const Found found = search(query_of(group), {kMembers, 64, exact, turn % 3 == 0 ? nullptr : &members, 1});
    if (turn % 3 == 0) return same_state(found, group);
    CHECK(std::set<std::int64_t>(found.ids.begin(), found.ids.end()) ==
          std::set<std::int64_t>(members.ids.begin(), members.ids.end()));
    same_state(found, group);
  }

  void same_state(const Found& found, std::size_t group) {
    float seen = -1.0F;
    for (std::size_t i = 0; i < found.ids.size(); ++i) {
      if (found.ids[i] < 0 || static_cast<std::size_t>(found.ids[i]) / kMembers != group) continue;
      if (seen < 0.0F) seen = found.distances[i];
      CHECK(found.distances[i] == seen);
    }
  }

  // What was gone before the search began is not found.
  void walk(std::uint64_t turn) {
    std::vector<bool> before(gone_.size());
    for (std::size_t i = 0; i < before.size(); ++i) before[i] = gone_[i].load();
    const auto at = static_cast<std::size_t>(uniform(turn, 1) * static_cast<double>(range_ / 2));
    const Found found = search(other(7, at), {20, 40, false, nullptr, 1 + turn % 2});
    const Row query = other(7, at);
    const RangeResult near = index_.within({bytes(&query), 1}, 4.0F, {1, 40, false, nullptr, 1}, nullptr);
    for (const auto* ids : {&found.ids, &near.ids})
      for (const std::int64_t id : *ids)
        CHECK(id < kOthers || id >= kOthers + range_ / 2 || !before[static_cast<std::size_t>(id - kOthers)]);
  }

  void filtered(std::uint64_t turn) {
    const Found found = search(other(turn, 2), {10, 40, turn % 4 == 0, &allowed_, 1});
    for (const std::int64_t id : found.ids) CHECK(id == -1 || (id >= kOthers && id < kOthers + range_));
  }

  const std::int64_t range_;
  VectorIndex index_;
  AllowedIds allowed_;  // shared by threads
  std::vector<std::atomic<bool>> gone_;
  std::atomic<bool> stop_{false};
  std::atomic<int> changes_{0}, searches_{0}, saves_{0}, compactions_{0};
};

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.5;
  for (const Layout& layout : kLayouts) {
    Soak soak(layout);
    soak.run(seconds);
    soak.say(layout);
  }
}
