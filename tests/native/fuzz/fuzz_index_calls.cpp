// Any sequence of calls on an index, beside a map from ids to rows that says what must come out.
#include <algorithm>
#include <map>
#include <set>

#include "core/error.hpp"
#include "fuzz/index_shapes.hpp"
#include "fuzz/input.hpp"
#include "index/vector_index.hpp"

using namespace semblance;
using fuzz::Input;

namespace {

class Session {
 public:
  explicit Session(Input& input) : input_(input), params_(fuzz::any_params(input)), index_(params_) {}

  void step() {
    switch (input_.between(0, 9)) {
      case 0:
      case 1:
        return add(false);
      case 2:
        return add(true);
      case 3:
        return remove();
      case 4:
        return input_.between(0, 3) == 0 ? index_.compact(1, nullptr) : void();
      case 5:
        return within();
      case 6:
        return look();
      default:
        return search();
    }
  }

  void finish() const {
    const CheckReport report = index_.check();
    for (const std::string& problem : report.problems) std::fprintf(stderr, "%s\n", problem.c_str());
    CHECK(report.problems.empty());
    CHECK(report.live == truth_.size());
  }

 private:
  std::vector<std::int64_t> some_ids(std::size_t n) {
    std::vector<std::int64_t> ids(n);
    for (auto& id : ids) id = input_.between(0, 15) == 0 ? input_.take<std::int64_t>() : input_.take<std::uint8_t>();
    return ids;
  }

  void add(bool replace) {
    const std::size_t n = input_.between(0, 24);
    const std::vector<std::byte> rows = fuzz::any_rows(input_, params_, n);
    std::vector<std::int64_t> ids = some_ids(n), given(n);
    const bool own = input_.between(0, 1) == 0;
    const std::set<std::int64_t> distinct(ids.begin(), ids.end());
    const bool fits = own || (distinct.size() == n && (n == 0 || *distinct.begin() >= 0) &&
                              (replace || std::none_of(ids.begin(), ids.end(), [&](auto id) { return has(id); })));
    try {
      fuzz::check(rows, params_);
    } catch (const ArgumentError&) {
      return;  // the binding refuses such rows
    }
    try {
      index_.add({rows.data(), own ? nullptr : ids.data(), n}, replace, 1, nullptr, given.data());
    } catch (const ArgumentError&) {
      CHECK(!fits || own);  // consecutive ids can be used up
      return finish();
    }
    CHECK(fits);
    truth_.insert(given.begin(), given.end());
  }

  void remove() {
    const std::vector<std::int64_t> ids = some_ids(input_.between(0, 12));
    std::size_t removed = 0;
    for (const std::int64_t id : ids) removed += truth_.erase(id);
    CHECK(index_.remove(ids.data(), ids.size()) == removed);
  }

  void look() {
    const std::vector<std::int64_t> ids = some_ids(3);
    std::vector<std::byte> out(ids.size() * index_.input_bytes());
    bool all = true;
    for (const std::int64_t id : ids) {
      CHECK(index_.contains(id) == has(id));
      all = all && has(id);
    }
    try {
      index_.get(ids.data(), ids.size(), out.data());
      CHECK(all);
    } catch (const NotFoundError&) {
      CHECK(!all);
    }
    std::vector<std::int64_t> found = index_.ids();
    std::sort(found.begin(), found.end());
    CHECK(std::equal(found.begin(), found.end(), truth_.begin(), truth_.end()));
  }

  void search() {
    const std::size_t n = input_.between(0, 3), k = input_.between(1, 40);
    const std::vector<std::byte> queries = fuzz::any_rows(input_, params_, n);
    AllowedIds allowed;
    allowed.ids = some_ids(input_.between(0, 20));
    const bool filtered = input_.between(0, 2) == 0;
    const SearchOptions options{k, k + input_.between(0, 60), input_.between(0, 3) == 0, filtered ? &allowed : nullptr,
                                1};
    try {
      fuzz::check(queries, params_);
    } catch (const ArgumentError&) {
      return;
    }
    std::vector<std::int64_t> ids(n * k);
    std::vector<float> distances(n * k);
    index_.search({queries.data(), n}, options, nullptr, {ids.data(), distances.data()});
    std::set<std::int64_t> may(truth_);
    if (filtered)
      std::erase_if(may, [&](auto id) { return std::count(allowed.ids.begin(), allowed.ids.end(), id) == 0; });
    for (std::size_t q = 0; q < n; ++q) {
      const std::set<std::int64_t> found(ids.begin() + static_cast<std::ptrdiff_t>(q * k),
                                         ids.begin() + static_cast<std::ptrdiff_t>((q + 1) * k));
      const std::size_t wanted = std::min(k, may.size());
      CHECK(found.size() == wanted + (wanted < k ? 1 : 0));
      for (const std::int64_t id : found) CHECK(id == -1 || may.contains(id));
      CHECK(std::is_sorted(distances.begin() + static_cast<std::ptrdiff_t>(q * k),
                           distances.begin() + static_cast<std::ptrdiff_t>((q + 1) * k)));
    }
  }

  void within() {
    const std::vector<std::byte> queries = fuzz::any_rows(input_, params_, 1);
    try {
      fuzz::check(queries, params_);
    } catch (const ArgumentError&) {
      return;
    }
    const float radius = static_cast<float>(input_.take<std::uint8_t>());
    const RangeResult found =
        index_.within({queries.data(), 1}, radius, {1, 32, input_.between(0, 1) == 0, nullptr, 1}, nullptr);
    CHECK(found.offsets.size() == 2);
    CHECK(found.ids.size() == found.distances.size());
    for (const std::int64_t id : found.ids) CHECK(has(id));
    for (const float distance : found.distances) CHECK(distance <= radius);
  }

  bool has(std::int64_t id) const { return truth_.contains(id); }

  Input& input_;
  const IndexParams params_;
  VectorIndex index_;
  std::set<std::int64_t> truth_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Session session(input);
  for (int steps = 0; steps < 24 && !input.done(); ++steps) session.step();
  session.finish();
  return 0;
}
