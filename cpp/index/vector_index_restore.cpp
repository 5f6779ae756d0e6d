// An index from the parts of a file, and the check of one that is in use.
#include <algorithm>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "index/vector_index.hpp"

namespace semblance {
namespace {

// An index that was saved after a change had been stopped has blocks that are older than their lists: the next change
// encodes them.
void note_old_blocks(RowSet& rows) {
  std::vector<std::uint32_t> list(rows.graph->degree(0));
  for (std::uint32_t node = 0; node < rows.graph->size(); ++node) {
    stop_if_asked(node);
    const std::size_t count = rows.graph->neighbours(0, node, list.data());
    if (!rows.links->names(node, list.data(), count)) rows.graph->note_changed(node);
  }
}

}  // namespace

void VectorIndex::restore(Parts parts) {
  auto rows = std::make_shared<RowSet>(params_);
  const std::size_t n = parts.n;
  if (rows->codes.own) rows->codes.arena.borrow(parts.codes, n);
  if (rows->fine) rows->fine->arena.borrow(parts.fine, n);
  rows->ids.borrow(reinterpret_cast<const std::byte*>(parts.ids), n);
  if (rows->graph) rows->graph->borrow(parts.graph);
  if (rows->links) {
    rows->links = std::move(parts.links);
    rows->links->borrow(parts.blocks, n);
    note_old_blocks(*rows);
  }
  rows->died.grow(n);
  std::int64_t next = 0;
  rows->map.reserve(n, parts.ids);
  for (std::size_t slot = 0; slot < n; ++slot) {
    stop_if_asked(slot);
    if (!((parts.live[slot / kWordBits] >> (slot % kWordBits)) & 1U)) {
      rows->bury(slot, 1);
      continue;
    }
    const std::int64_t id = parts.ids[slot];
    if (id < 0 || rows->find(id) != kNoSlot)
      throw FormatError(expected("ids", "ids of at least 0, each once", std::to_string(id)));
    rows->map.put(id, static_cast<std::uint32_t>(slot));
    next = std::max(next, id);
  }
  const std::size_t live = rows->map.size();
  rows->count.store(n);
  const DistanceProfile profile = parts.profile != nullptr ? DistanceProfile::from(parts.profile) : DistanceProfile();
  const auto writing = freeze();
  const std::unique_lock lock(map_mutex_);
  next_id_ = live > 0 && next < std::numeric_limits<std::int64_t>::max() ? next + 1 : next;
  moment_.swap({std::move(rows), n, live, next_version(moment_.pin()), profile});
}

CheckReport VectorIndex::check() const {
  const auto frozen = freeze();
  const Moment now = moment_.pin();
  const std::shared_ptr<const RowSet> rows = now.rows;
  CheckReport report;
  report.rows = rows->count.load();
  report.live = now.live;
  std::size_t live = 0;
  for (std::uint32_t slot = 0; slot < report.rows; ++slot) {
    stop_if_asked(slot);
    if (!rows->alive(slot)) continue;
    ++live;
    if (rows->find(rows->id(slot)) != slot)
      report.problems.push_back("ids: row " + std::to_string(slot) + " is not found by its id " +
                                std::to_string(rows->id(slot)));
  }
  if (live != report.live || rows->map.size() != live)
    report.problems.push_back("ids: " + std::to_string(live) + " live rows, " + std::to_string(rows->map.size()) +
                              " ids");
  report.reachable = report.rows;
  if (!rows->graph) return report;
  std::vector<std::uint32_t> list(rows->graph->degree(0));
  for (std::uint32_t node = 0; node < report.rows; ++node) {
    stop_if_asked(node);
    const std::size_t count = rows->graph->neighbours(0, node, list.data());
    std::sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(count));
    const auto end = list.begin() + static_cast<std::ptrdiff_t>(count);
    if (std::adjacent_find(list.begin(), end) != end || std::find(list.begin(), end, node) != end ||
        (count > 0 && list[count - 1] >= report.rows))
      report.problems.push_back("graph.links: the list of row " + std::to_string(node) + " is not a set of other rows");
  }
  report.reachable = count_reachable(*rows->graph);
  return report;
}

}  // namespace semblance
