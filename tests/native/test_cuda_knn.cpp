// Neighbour lists as a card makes them, against the rule written down plainly.
#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "check.hpp"
#include "cuda/device.cu"
#include "cuda/flat_search.cu"
#include "cuda/knn_graph.cu"

using namespace semblance;
using namespace semblance::cuda;
using emulated::every_schedule;

namespace {

using List = std::vector<std::pair<float, std::uint32_t>>;  // score and row, closest first

struct Problem {
  std::size_t n, dim, nearest;
  PruneRule rule;
  FlatShape shape;
};

// Small whole numbers: every sum is exact, so that both sides see the same scores.
std::vector<float> whole_rows(const Problem& p, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> rows(p.n * p.dim);
  for (float& x : rows) x = static_cast<float>(static_cast<int>(random() % 41) - 20);
  return rows;
}

class Twin {
 public:
  Twin(const Problem& p, const std::vector<float>& rows) : p_(p), rows_(rows) {}

  std::vector<std::uint32_t> links() const {
    std::vector<List> forward(p_.n), lists(p_.n);
    for (std::uint32_t a = 0; a < p_.n; ++a) lists[a] = forward[a] = prune(nearest(a));
    for (std::uint32_t a = 0; a < p_.n; ++a)
      for (const auto& [s, b] : forward[a])
        if (!holds(forward[b], a)) lists[b].push_back({s, a});
    std::vector<std::uint32_t> out;
    for (List& list : lists) {
      std::sort(list.begin(), list.end());
      list.resize(std::min(list.size(), kMaxCandidates));
      if (list.size() > p_.rule.degree) list = prune(list);
      for (std::size_t i = 0; i < p_.rule.degree; ++i) out.push_back(i < list.size() ? list[i].second : kNoRow);
    }
    return out;
  }

 private:
  float score(std::uint32_t a, std::uint32_t b) const {
    float sum = 0;
    for (std::size_t j = 0; j < p_.dim; ++j) {
      const float x = rows_[a * p_.dim + j], y = rows_[b * p_.dim + j];
      sum += p_.shape.score == Score::l2 ? (x - y) * (x - y) : x * y;
    }
    return p_.shape.score == Score::l2 ? sum : 0.0F - sum;
  }
  List nearest(std::uint32_t a) const {
    List list;
    for (std::uint32_t b = 0; b < p_.n; ++b)
      if (b != a) list.push_back({score(a, b), b});
    std::sort(list.begin(), list.end());
    // The search returns one row more, and the row itself leaves; where it is not among them, the last does.
    list.resize(std::min(list.size(), p_.nearest));
    return list;
  }
  static bool holds(const List& list, std::uint32_t row) {
    return std::any_of(list.begin(), list.end(), [&](const auto& link) { return link.second == row; });
  }
  bool covers(float to_kept, float to_node) const {
    if (p_.rule.alpha == 1.0F) return to_kept < to_node;
    const float least = p_.rule.least_score;
    return p_.rule.alpha * std::max(0.0F, to_kept - least) < std::max(0.0F, to_node - least);
  }
  List prune(const List& candidates) const {
    const std::size_t degree = p_.rule.degree;
    List kept, open = candidates;
    std::vector<std::pair<float, std::size_t>> covered;  // minus the share, and which
    while (!open.empty() && kept.size() < degree) {
      const auto link = open.front();
      kept.push_back(link);
      open.erase(open.begin());
      if (kept.size() == degree) break;
      std::erase_if(open, [&](const auto& candidate) {
        const float to_kept = score(link.second, candidate.second);
        const bool copy = 4 * kept.size() >= degree && to_kept <= score(link.second, link.second);
        if (!copy && !covers(to_kept, candidate.first)) return false;
        const float share = copy ? 0.0F : (to_kept - p_.rule.least_score) / (candidate.first - p_.rule.least_score);
        const auto place = std::find(candidates.begin(), candidates.end(), candidate) - candidates.begin();
        if (copy || p_.rule.fill) covered.push_back({-share, static_cast<std::size_t>(place)});
        return true;
      });
    }
    std::sort(covered.begin(), covered.end());
    for (std::size_t i = 0; i < covered.size() && kept.size() < degree; ++i)
      kept.push_back(candidates[covered[i].second]);
    return kept;
  }

  const Problem& p_;
  const std::vector<float>& rows_;
};

std::vector<std::uint32_t> links_of(const Problem& p, const std::vector<float>& rows, std::size_t at_once = 16384) {
  FlatRows flat(p.shape);
  flat.append({rows.data(), p.n, false}, nullptr);
  Candidates candidates(p.n, p.nearest, nullptr);
  candidates.find(flat, nullptr, {flat, nullptr, p.nearest, 0, {}, at_once}, nullptr);
  std::vector<std::uint32_t> links(p.n * p.rule.degree);
  link_rows(flat, candidates, p.rule, links.data(), nullptr);
  return links;
}

void check_problem(const Problem& p, unsigned seed) {
  const std::vector<float> rows = whole_rows(p, seed);
  CHECK(links_of(p, rows) == Twin(p, rows).links());
}

void the_rule() {
  const float none = -std::numeric_limits<float>::infinity();
  for (const RowFormat format : {RowFormat::f32, RowFormat::bf16}) {
    check_problem({300, 6, 40, {8, 1.2F, 0.0F, false}, {format, Score::l2, 6, false}}, 1);
    check_problem({260, 6, 24, {8, 1.0F, 0.0F, true}, {format, Score::l2, 6, false}}, 2);
    check_problem({300, 9, 30, {12, 1.0F, none, false}, {format, Score::ip, 9, false}}, 3);
  }
  check_problem({5, 3, 16, {8, 1.0F, 0.0F, true}, {RowFormat::f32, Score::l2, 3, false}}, 4);
  check_problem({1, 3, 4, {8, 1.0F, 0.0F, true}, {RowFormat::f32, Score::l2, 3, false}}, 5);
}

// One row is everybody's nearest: it gets far more links back than are looked at.
void a_hub() {
  Problem p{
      400, 2, 4, {4, 1.0F, -std::numeric_limits<float>::infinity(), false}, {RowFormat::f32, Score::ip, 2, false}};
  std::vector<float> rows = whole_rows(p, 6);
  for (std::size_t r = 0; r < p.n; ++r) rows[2 * r + 1] = static_cast<float>(r % 7 + 1);
  rows[0] = 0;
  rows[1] = 1000;
  CHECK(links_of(p, rows) == Twin(p, rows).links());
}

// More copies of each row than a list has places.
void copies() {
  for (const bool fill : {false, true}) {
    const Problem p{240, 3, 40, {8, 1.0F, 0.0F, fill}, {RowFormat::f32, Score::l2, 3, false}};
    std::vector<float> rows = whole_rows(p, 11);
    for (std::size_t r = 20; r < p.n; ++r) std::copy_n(&rows[r % 20 * p.dim], p.dim, &rows[r * p.dim]);
    CHECK(links_of(p, rows) == Twin(p, rows).links());
  }
}

void equal_rows() {
  const Problem p{60, 4, 10, {6, 1.0F, 0.0F, false}, {RowFormat::f32, Score::l2, 4, false}};
  const std::vector<float> rows(p.n * p.dim, 2.0F);
  const std::vector<std::uint32_t> links = links_of(p, rows);
  for (std::size_t i = 0; i < links.size(); ++i) CHECK(links[i] != i / p.rule.degree);
}

void the_same_in_every_order() {
  const Problem p{150, 5, 20, {8, 1.0F, 0.0F, true}, {RowFormat::f32, Score::l2, 5, false}};
  const std::vector<float> rows = whole_rows(p, 7);
  const std::vector<std::uint32_t> first = links_of(p, rows);
  every_schedule([&] { CHECK(links_of(p, rows) == first); });
}

void the_same_part_by_part() {
  const Problem p{200, 5, 20, {8, 1.0F, 0.0F, true}, {RowFormat::bf16, Score::l2, 5, false}};
  const std::vector<float> rows = whole_rows(p, 10);
  CHECK(links_of(p, rows) == links_of(p, rows, 64));
}

// Candidates from two places, one of which numbers its rows otherwise.
void two_sources() {
  const Problem p{200, 5, 12, {8, 1.0F, 0.0F, false}, {RowFormat::f32, Score::l2, 5, false}};
  const std::vector<float> rows = whole_rows(p, 8);
  std::vector<float> every_third;
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t r = 0; r < p.n; r += 3) {
    every_third.insert(every_third.end(), &rows[r * p.dim], &rows[r * p.dim] + p.dim);
    numbers.push_back(r);
  }
  FlatRows all(p.shape), some(p.shape);
  all.append({rows.data(), p.n, false}, nullptr);
  some.append({every_third.data(), numbers.size(), false}, nullptr);
  Candidates candidates(p.n, 20, nullptr);
  candidates.find(all, nullptr, {all, nullptr, 12, 0}, nullptr);
  candidates.find(all, nullptr, {some, numbers.data(), 8, 12}, nullptr);
  const auto* keys = reinterpret_cast<const Key*>(candidates.keys());
  for (std::uint32_t r = 0; r < p.n; ++r)
    for (std::size_t i = 12; i < 20; ++i) CHECK(row_of(keys[r * 20 + i]) % 3 == 0 && row_of(keys[r * 20 + i]) != r);
  std::vector<std::uint32_t> links(p.n * p.rule.degree);
  link_rows(all, candidates, p.rule, links.data(), nullptr);
  for (std::uint32_t r = 0; r < p.n; ++r) {
    const auto* list = &links[r * p.rule.degree];
    for (std::size_t i = 0; i < p.rule.degree && list[i] != kNoRow; ++i)
      CHECK(list[i] < p.n && list[i] != r && std::find(list, list + i, list[i]) == list + i);
  }
}

// Whoever waits for the neighbours of many rows may give up between two parts of them.
void stopped_between_parts() {
  const Problem p{150, 2, 3, {4, 1.0F, 0.0F, false}, {RowFormat::f32, Score::l2, 2, false}};
  const std::vector<float> rows = whole_rows(p, 9);
  FlatRows many(p.shape), few(p.shape);
  many.append({rows.data(), p.n, false}, nullptr);
  few.append({rows.data(), 8, false}, nullptr);
  Candidates candidates(p.n, p.nearest, nullptr);
  int turns = 0;
  const auto count = [&] { ++turns; };
  candidates.find(many, nullptr, {few, nullptr, p.nearest, 0, count, 64}, nullptr);
  CHECK(turns == 2);
  bool stopped = false;
  try {
    candidates.find(many, nullptr, {few, nullptr, p.nearest, 0, [] { throw 7; }, 64}, nullptr);
  } catch (int) {
    stopped = true;
  }
  CHECK(stopped);
}

}  // namespace

int main() {
  stopped_between_parts();
  the_rule();
  a_hub();
  copies();
  equal_rows();
  the_same_in_every_order();
  the_same_part_by_part();
  two_sources();
}
