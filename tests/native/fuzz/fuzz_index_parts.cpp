// An index restored from the parts of a healthy one, changed here and there as an attacker would who knows the
// checksums: refused, or safe to search, change and check, whatever its answers.
#include <algorithm>
#include <array>
#include <optional>

#include "core/error.hpp"
#include "fuzz/index_shapes.hpp"
#include "fuzz/input.hpp"
#include "index/vector_index.hpp"

using namespace semblance;
using fuzz::Input;

namespace {

using Bytes = AlignedVector<std::byte>;

Bytes copied(const void* from, std::size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(from);
  return bytes > 0 ? Bytes(begin, begin + bytes) : Bytes();
}

// The parts in memory of their own, to the byte: what is read beyond an end is seen.
struct Copies {
  Bytes codes, fine, links, ids, live, graph_links, levels, upper, entry, profile;
  std::size_t n = 0, link_bytes = 0;
  std::optional<Axes> axes;

  explicit Copies(const VectorIndex& index) {
    const Moment now = index.moment();
    const RowSet& rows = *now.rows;
    n = rows.count.load();
    codes = copied(rows.codes.arena.data(), n * rows.codes.arena.row_bytes());
    if (rows.fine) fine = copied(rows.fine->arena.data(), n * rows.fine->arena.row_bytes());
    if (rows.links) links = copied(rows.links->data(), n * (link_bytes = rows.links->row_bytes()));
    ids = copied(rows.ids.data(), n * sizeof(std::int64_t));
    std::vector<std::uint64_t> words(words_for(n));
    for (std::size_t slot = 0; slot < n; ++slot)
      words[slot / kWordBits] |= std::uint64_t{rows.alive(slot)} << (slot % kWordBits);
    live = copied(words.data(), words.size() * sizeof words[0]);
    if (!rows.graph) return;
    const Graph::Parts graph = rows.graph->parts();
    graph_links = copied(graph.links, n * rows.graph->degree(0) * 4);
    levels = copied(graph.levels, n);
    upper = copied(graph.upper, graph.blocks * rows.graph->degree(1) * 4);
    entry = copied(&graph.entry, sizeof graph.entry);
  }

  // Up to eight places overwritten, by words that are sometimes near the number of rows.
  void damage(Input& input) {
    if (!links.empty() && input.between(0, 1) == 0) forge_profile(input);
    Bytes* const parts[] = {&codes, &fine, &links, &ids, &live, &graph_links, &levels, &upper, &entry, &profile};
    for (std::size_t changes = input.between(0, 8); changes > 0; --changes) {
      Bytes& part = *parts[input.between(0, std::size(parts) - 1)];
      if (part.empty()) continue;
      const std::size_t at = input.between(0, 65535) % part.size();
      std::uint32_t word = input.take<std::uint32_t>();
      if (input.between(0, 1) == 0) word = static_cast<std::uint32_t>(n + input.between(0, 3)) - 2;
      std::memcpy(part.data() + at, &word, std::min(sizeof word, part.size() - at));
    }
  }

  // Distances by rank, as an index of many more rows would have them.
  void forge_profile(Input& input) {
    std::array<double, DistanceProfile::kNumbers> numbers{1024.0};
    double sum = 0.0;
    for (std::size_t i = 1; i < numbers.size(); ++i) numbers[i] = sum += input.take<std::uint8_t>() / 4.0;
    profile = copied(numbers.data(), sizeof numbers);
  }

  // The same neighbours, their bits read as levels along axes that were learned of nothing.
  void forge_axes(Input& input, const IndexParams& params) {
    axes.emplace();
    std::size_t count = 0;
    for (std::uint32_t& words : axes->words) count += kernels::kLinkPadding * (words = input.between(0, 2));
    const std::size_t row_bytes = LevelCodec::basis_row_bytes(params.dim);
    for (std::size_t i = 0; i < count; ++i) {
      axes->offset.push_back(static_cast<float>(input.take<std::int8_t>()));
      axes->spread.push_back(static_cast<float>(input.between(0, 255)) / 64.0F);
      axes->basis.resize((i + 1) * row_bytes, static_cast<std::byte>(input.take<std::uint8_t>()));
      const float tail[2] = {axes->offset.back() / 99.0F, axes->spread.back()};
      std::memcpy(&axes->basis[i * row_bytes + kernels::i8_tail_offset(params.dim)], tail, sizeof tail);
    }
    const std::size_t codes_bytes =
        kernels::LinkAxes{nullptr, 0.0F, axes->words[0], axes->words[1], axes->words[2]}.groups() *
        kernels::kLinkGroupBytes;
    const std::size_t lanes = (params.max_degree + kernels::kLinkLanes - 1) / kernels::kLinkLanes;
    const std::size_t to_bytes = lanes * (3 * kernels::kLinkLanes * sizeof(float) + codes_bytes);
    Bytes blocks(n * to_bytes);
    for (std::size_t i = 0; i < n; ++i)
      std::copy_n(&links[i * link_bytes], std::min(link_bytes, to_bytes), &blocks[i * to_bytes]);
    links.swap(blocks);
  }

  VectorIndex::Parts parts(const IndexParams& params, std::size_t upper_degree) const {
    VectorIndex::Parts out{};
    if (params.link_codes) out.links = make_link_codes(params, axes ? LevelCodec::checked(params.dim, *axes) : nullptr);
    out.codes = codes.data();
    out.fine = fine.data();
    out.blocks = links.data();
    out.ids = reinterpret_cast<const std::int64_t*>(ids.data());
    out.live = reinterpret_cast<const std::uint64_t*>(live.data());
    if (!profile.empty()) out.profile = reinterpret_cast<const double*>(profile.data());
    out.n = n;
    out.graph.links = reinterpret_cast<const std::uint32_t*>(graph_links.data());
    out.graph.levels = reinterpret_cast<const std::uint8_t*>(levels.data());
    out.graph.upper = reinterpret_cast<const std::uint32_t*>(upper.data());
    out.graph.nodes = n;
    out.graph.blocks = upper_degree > 0 ? upper.size() / 4 / upper_degree : 0;
    if (!entry.empty()) std::memcpy(&out.graph.entry, entry.data(), sizeof out.graph.entry);
    return out;
  }
};

void use(VectorIndex& index, const IndexParams& params, Input& input) {
  std::vector<std::byte> rows = fuzz::any_rows(input, params, 3);
  try {
    fuzz::check(rows, params);
  } catch (const ArgumentError&) {
    std::fill(rows.begin(), rows.end(), std::byte{0x3F});
  }
  constexpr std::size_t kMost = 30;
  std::int64_t ids[3 * kMost];
  float distances[3 * kMost];
  AllowedIds allowed;
  allowed.ids = index.ids();
  allowed.ids.resize(allowed.ids.size() / 2);
  for (const bool exact : {false, true})
    for (AllowedIds* const those : {static_cast<AllowedIds*>(nullptr), &allowed})
      index.search({rows.data(), 3}, {kMost, 40, exact, those, 1}, nullptr, {ids, distances});
  index.within({rows.data(), 1}, 2.0F, {1, 20, false, nullptr, 1}, nullptr);
  index.check();
  const std::vector<std::int64_t> all = index.ids();
  std::vector<std::byte> out(all.size() * index.input_bytes());
  index.get(all.data(), all.size(), out.data());
  std::int64_t given[3];
  index.add({rows.data(), nullptr, 3}, false, 1, nullptr, given);
  index.remove(all.data(), all.size() / 3);
  index.search({rows.data(), 3}, {5, 20, false, nullptr, 1}, nullptr, {ids, distances});
  index.compact(1, nullptr);
  index.search({rows.data(), 3}, {5, 20, false, nullptr, 1}, nullptr, {ids, distances});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const IndexParams params = fuzz::any_params(input);
  VectorIndex healthy(params);
  const std::size_t n = input.between(0, 80);
  std::vector<std::byte> rows(n * healthy.input_bytes());
  if (is_binary(params.metric)) {
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(i * 37 % 251);
  } else {
    auto* values = reinterpret_cast<float*>(rows.data());
    for (std::size_t i = 0; i < n * params.dim; ++i) values[i] = static_cast<float>(i * 37 % 251) - 120.0F;
  }
  std::vector<std::int64_t> given(n);
  healthy.add({rows.data(), nullptr, n}, false, 1, nullptr, given.data());
  healthy.remove(given.data(), n / 8);
  Copies copies(healthy);
  if (!copies.links.empty() && input.between(0, 1) == 0) copies.forge_axes(input, params);
  copies.damage(input);
  const Moment now = healthy.moment();
  try {
    VectorIndex restored(params);
    restored.restore(copies.parts(params, now.rows->graph ? now.rows->graph->degree(1) : 0));
    use(restored, params, input);
  } catch (const Error&) {
  }
  return 0;
}
