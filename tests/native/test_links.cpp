// Neighbour codes: the kernels of every table against plain sums, and the estimates against true scores.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/limits.hpp"
#include "index/link_codes.hpp"
#include "kernel_tables.hpp"
#include "normals.hpp"

using namespace semblance;
using namespace semblance::kernels;
using test::normal, test::normals, test::random_engine;

namespace {

bool same_bits(const float* a, const float* b, std::size_t n) { return std::memcmp(a, b, n * sizeof(float)) == 0; }

constexpr std::size_t kDims[] = {16, 32, 48, 64, 80, 96, 112, 128, 384, 784, 1008, 1024, 1040, 2064, 4096};

// <signs, query> in double precision from the definition of the layout, and by every table, which agree bit for bit.
void test_scores() {
  for (const std::size_t dim : kDims) {
    const AlignedVector<float> query = normals(dim), add = normals(kLinkLanes), factor = normals(kLinkLanes);
    const std::size_t groups = dim / kLinkGroup;
    std::vector<std::byte> signs(groups * kLinkGroupBytes);
    for (std::byte& b : signs) b = static_cast<std::byte>(random_engine()() & 255U);
    std::vector<float> first;
    for (const KernelTable* table : test::all_tables()) {
      AlignedVector<std::uint8_t> luts(groups * kLinkGroupBytes);
      const kernels::LinkQuery prepared = table->links.tabulate(query.data(), dim, luts.data());
      CHECK(prepared.groups == groups);
      std::vector<float> scores(kLinkLanes);
      table->links.score(prepared, {add.data(), factor.data(), signs.data()}, 0.5F, signs.data(), scores.data());
      double size = 0.0;
      for (const float q : query) size += std::abs(q);
      for (std::size_t i = 0; i < kLinkLanes; ++i) {
        double product = 0.0;
        for (std::size_t j = 0; j < dim; ++j) {
          const auto byte = static_cast<unsigned>(signs[j / kLinkGroup * kLinkGroupBytes + i % 16]);
          const bool set = (byte >> (j % kLinkGroup + (i < 16 ? 0 : 4))) & 1U;
          product += set ? query[j] : -query[j];
        }
        const double want = 0.5 + add[i] + factor[i] * product;
        CHECK(std::abs(scores[i] - want) <= std::abs(factor[i]) * size * 0.02 + 1e-4);
      }
      if (first.empty()) first = scores;
      CHECK(same_bits(first.data(), scores.data(), kLinkLanes));
    }
  }
}

// Signs and sums of a difference against their definition, each neighbour's bits alone, and the same in every table.
void test_signs() {
  for (const std::size_t dim : kDims) {
    const AlignedVector<float> node = normals(dim), neighbour = normals(dim);
    for (const unsigned shift : {0U, 4U}) {
      std::vector<std::uint8_t> first_lane;
      DifferenceSums first{};
      for (const KernelTable* table : test::all_tables()) {
        constexpr std::size_t kColumn = 5;
        std::vector<std::uint8_t> lane(dim / kLinkGroup * kLinkGroupBytes);
        const DifferenceSums sums =
            table->links.write_signs(neighbour.data(), node.data(), dim, shift, lane.data() + kColumn);
        double square = 0.0, size = 0.0, signed_node = 0.0;
        for (std::size_t j = 0; j < dim; ++j) {
          const double u = node[j], o = double{neighbour[j]} - u;
          square += o * o;
          size += std::abs(o);
          signed_node += o < 0.0 ? -u : u;
          const unsigned bit = lane[j / kLinkGroup * kLinkGroupBytes + kColumn] >> (shift + j % kLinkGroup) & 1U;
          CHECK(bit == (neighbour[j] >= node[j] ? 1U : 0U));
        }
        const auto near = [&](float got, double want) { return std::abs(got - want) <= 1e-5 * (square + size); };
        CHECK(near(sums.square, square) && near(sums.size, size) && near(sums.coded_node, signed_node));
        for (std::size_t i = 0; i < lane.size(); ++i)
          CHECK(i % kLinkGroupBytes == kColumn ? (lane[i] & ~(15U << shift)) == 0U : lane[i] == 0U);
        if (first_lane.empty()) {
          first_lane = lane;
          first = sums;
        }
        CHECK(lane == first_lane && std::memcmp(&sums, &first, sizeof sums) == 0);
      }
    }
  }
}

// Queries at the ends of what a float holds, and what their rotation overflows to: defined codes, the same in every
// table.
void test_extreme_queries() {
  constexpr std::size_t kDim = 64, kBytes = kDim / kLinkGroup * kLinkGroupBytes;
  constexpr float kMost = std::numeric_limits<float>::max(), kInfinity = std::numeric_limits<float>::infinity();
  const AlignedVector<float> add = normals(kLinkLanes), factor = normals(kLinkLanes);
  const std::vector<std::byte> signs(kBytes, std::byte{0x5A});
  const auto tables = test::all_tables();
  for (const float extreme : {0.0F, 1e-45F, 1e-39F, 1e-36F, 1e35F, kMost, kInfinity, std::nanf("")}) {
    for (const std::size_t from : {std::size_t{0}, std::size_t{3}, kDim - 1}) {
      AlignedVector<float> query(kDim);
      for (std::size_t i = from; i < kDim; ++i) query[i] = i % 2 == 0 ? extreme : -extreme;
      std::vector<float> first, scores(kLinkLanes);
      for (const KernelTable* table : tables) {
        AlignedVector<std::uint8_t> luts(kBytes);
        const kernels::LinkQuery prepared = table->links.tabulate(query.data(), kDim, luts.data());
        CHECK(prepared.step > 0.0F && std::isfinite(prepared.step) && prepared.base >= 0);
        table->links.score(prepared, {add.data(), factor.data(), signs.data()}, 0.5F, signs.data(), scores.data());
        if (first.empty()) first = scores;
        CHECK(same_bits(first.data(), scores.data(), kLinkLanes));
      }
    }
  }
}

// Lengths and angles stay, a single peak spreads, and every table gives the same bits.
void test_rotations() {
  for (const std::size_t dim : {1UL, 7UL, 16UL, 25UL, 64UL, 100UL, 384UL, 784UL, 1000UL, 1025UL}) {
    const RandomRotation rotation(dim, 3);
    const std::size_t n = rotation.rotated_dim();
    CHECK(n % kLinkPadding == 0 && n >= dim && n < dim + kLinkPadding);
    AlignedVector<float> a = normals(n), b = normals(n), peak(n), room;
    std::fill(a.begin() + static_cast<std::ptrdiff_t>(dim), a.end(), 0.0F);
    peak[0] = 1.0F;
    const auto dot = [n](const AlignedVector<float>& x, const AlignedVector<float>& y) {
      double sum = 0.0;
      for (std::size_t i = 0; i < n; ++i) sum += double{x[i]} * y[i];
      return sum;
    };
    const double aa = dot(a, a), ab = dot(a, b);
    rotation.apply(a.data(), room);
    rotation.apply(b.data(), room);
    rotation.apply(peak.data(), room);
    CHECK(std::abs(dot(a, a) - aa) <= 1e-4 * (aa + 1.0));
    CHECK(std::abs(dot(a, b) - ab) <= 1e-3 * static_cast<double>(n));
    CHECK(std::abs(dot(peak, peak) - 1.0) <= 1e-5);
    if (n >= 64) CHECK(*std::max_element(peak.begin(), peak.end()) < 0.7F);
  }
  for (const std::size_t dim : kDims) {
    AlignedVector<float> signs(4 * dim), first;
    for (float& s : signs) s = normal() > 0 ? 1.0F : -1.0F;
    const AlignedVector<float> x = normals(dim);
    std::size_t window = 1;
    while (window * 2 <= dim) window *= 2;
    for (const KernelTable* table : test::all_tables()) {
      AlignedVector<float> y = x, room(dim);
      table->links.rotate({signs.data(), dim, window, 4}, y.data(), room.data());
      if (first.empty()) first = y;
      CHECK(same_bits(first.data(), y.data(), dim));
    }
  }
}

// A block is the same whether rows were placed ahead, all or some of them, or not.
void test_placed_ahead() {
  constexpr std::size_t kRows = 30, kDim = 100;
  const std::unique_ptr<Codec> codec = make_codec("f16", kDim, Metric::l2);
  Arena rows(codec->row_bytes());
  rows.grow(kRows);
  const AlignedVector<float> values = normals(kRows * kDim);
  codec->encode(reinterpret_cast<const std::byte*>(values.data()), kRows, rows.data());
  const std::vector<std::uint32_t> ids = {29, 3, 17, 2, 11};
  std::vector<std::byte> first;
  for (const std::size_t ahead : {std::size_t{0}, kRows / 2, kRows}) {
    LinkCodes links(Metric::l2, 32, std::make_unique<SignCodec>(kDim, 5));
    links.grow(kRows);
    PlacedRows placed = links.placed(*codec, rows);
    placed.make_ahead(ahead, 2, nullptr);
    LinkCodes::EncodeScratch scratch;
    links.encode(1, ids.data(), ids.size(), placed, scratch);
    const std::byte* block = links.data() + links.row_bytes();
    if (first.empty()) first.assign(block, block + links.row_bytes());
    CHECK(std::equal(first.begin(), first.end(), block));
  }
}

// Estimates of all neighbours from one node: right on average, and about as close as RaBitQ's bound says.
void test_estimates(Metric metric) {
  constexpr std::size_t kRows = 40, kDim = 200, kDegree = 33;
  const std::unique_ptr<Codec> codec = make_codec("f32", kDim, metric);
  Arena rows(codec->row_bytes());
  rows.grow(kRows);
  AlignedVector<float> values = normals(kRows * kDim);
  if (metric == Metric::cosine) {
    for (std::size_t r = 0; r < kRows; ++r) {
      double square = 0.0;
      for (std::size_t j = 0; j < kDim; ++j) square += double{values[r * kDim + j]} * values[r * kDim + j];
      for (std::size_t j = 0; j < kDim; ++j) values[r * kDim + j] /= static_cast<float>(std::sqrt(square));
    }
  }
  codec->encode(reinterpret_cast<const std::byte*>(values.data()), kRows, rows.data());
  LinkCodes links(metric, kDegree, std::make_unique<SignCodec>(kDim, 5));
  links.grow(kRows);
  std::vector<std::uint32_t> ids(kDegree);
  for (std::size_t i = 0; i < kDegree; ++i) ids[i] = static_cast<std::uint32_t>(i + 2);
  LinkCodes::EncodeScratch scratch;
  links.encode(0, ids.data(), kDegree, links.placed(*codec, rows), scratch);
  PreparedQuery own;
  semblance::LinkQuery query;
  codec->prepare(rows.row(1), own);
  links.prepare(rows.as<float>(1), query);
  const kernels::Rows all{rows.data(), codec->row_bytes(), kDim};
  const auto score = [&](std::uint32_t id) {
    float out = 0.0F;
    codec->scorer()(own.query, all, &id, 1, &out);
    return out;
  };
  CHECK(links.lanes() == 2);
  double bias = 0.0, error = 0.0, spread = 0.0;
  for (std::size_t lane = 0; lane < links.lanes(); ++lane) {
    float estimates[kLinkLanes];
    links.score(query.query, 0, lane, score(0), 0, estimates);
    for (std::size_t i = 0; i < kLinkLanes; ++i) {
      const std::size_t at = lane * kLinkLanes + i;
      CHECK(links.id(0, at) == (at < kDegree ? ids[at] : kNoSlot));
      if (at >= kDegree) {
        CHECK(estimates[i] == std::numeric_limits<float>::infinity());
        continue;
      }
      const double off = estimates[i] - score(ids[at]);
      bias += off / kDegree;
      error += off * off / kDegree;
      spread += double{score(ids[at])} * score(ids[at]) / kDegree;
    }
  }
  const double scale = metric == Metric::l2 ? std::sqrt(spread) : metric == Metric::cosine ? 1.0 : double{kDim};
  CHECK(std::sqrt(error) <= 0.15 * scale);
  CHECK(std::abs(bias) <= 0.05 * scale);
  // What a file may not hold: a block that leads out of the index.
  std::vector<std::byte> blocks(links.data(), links.data() + kRows * links.row_bytes());
  LinkCodes other(metric, kDegree, std::make_unique<SignCodec>(kDim, 5));
  other.borrow(blocks.data(), kRows);
  const std::uint32_t outside = kRows;
  std::memcpy(blocks.data() + 4, &outside, sizeof outside);
  bool refused = false;
  try {
    LinkCodes(metric, kDegree, std::make_unique<SignCodec>(kDim, 5)).borrow(blocks.data(), kRows);
  } catch (const std::exception&) {
    refused = true;
  }
  CHECK(refused);
}

}  // namespace

// A line by every table against one that is made of pairs, through all that a walk does with it.
void test_lines() {
  constexpr std::size_t kNodes = 3000, kRoom = 4096;
  constexpr float kNothing = std::numeric_limits<float>::infinity();
  for (const KernelTable* table : test::all_tables()) {
    std::vector<std::uint32_t> words((kNodes + 31) / 32);
    AlignedVector<float> distances(kRoom, kNothing), estimates(kLinkLanes);
    std::vector<std::uint32_t> ids(kRoom), from(kLinkLanes);
    std::vector<std::pair<float, std::uint32_t>> plain;
    std::size_t size = 0;
    const auto check = [&] {
      CHECK(size == plain.size());
      for (std::size_t i = 0; i < size; ++i) CHECK(distances[i] == plain[i].first && ids[i] == plain[i].second);
      for (std::size_t i = size; i < kRoom; ++i) CHECK(distances[i] == kNothing);
    };
    for (std::size_t turn = 0; turn < 400; ++turn) {
      const float worst = turn % 5 == 0 ? kNothing : normal();
      for (std::size_t i = 0; i < kLinkLanes; ++i) {
        const auto odd = random_engine()() % 16;
        estimates[i] = odd == 0 ? kNothing : odd == 1 ? std::nanf("") : odd == 2 ? worst : normal();
        from[i] = odd == 3 ? 0xFFFFFFFFU - static_cast<std::uint32_t>(i) : random_engine()() % (kNodes + 100);
      }
      const Seen seen{words.data(), kNodes};
      const std::size_t count =
          table->links.line_up(estimates.data(), from.data(), seen, worst, &distances[size], &ids[size]);
      for (std::size_t i = 0; i < kLinkLanes; ++i) {
        if (from[i] >= kNodes || ((words[from[i] / 32] >> (from[i] % 32)) & 1U) != 0) continue;
        if (estimates[i] < worst) plain.emplace_back(estimates[i], from[i]);
      }
      CHECK(size + count == plain.size());
      size += count;
      for (std::size_t pops = 0; pops < 5 && size > 0; ++pops) {
        const std::size_t at = table->links.find_closest(distances.data(), size);
        CHECK(at == static_cast<std::size_t>(std::min_element(plain.begin(), plain.end(),
                                                              [](auto& a, auto& b) { return a.first < b.first; }) -
                                             plain.begin()));
        words[ids[at] / 32] |= 1U << (ids[at] % 32);
        --size;
        distances[at] = distances[size];
        ids[at] = ids[size];
        distances[size] = kNothing;
        plain[at] = plain.back();
        plain.pop_back();
      }
      if (turn % 7 == 0 || size > kRoom / 2) {
        const float bound = size > kRoom / 2 ? 0.0F : turn % 2 == 0 ? -kNothing : 0.5F * normal() + 1.0F;
        size = table->links.keep_closer(distances.data(), ids.data(), size, bound);
        std::erase_if(plain, [&](const auto& n) { return !(n.first < bound); });
      }
      check();
    }
  }
}

int main() {
  test_lines();
  test_scores();
  test_signs();
  test_placed_ahead();
  test_extreme_queries();
  test_rotations();
  test_estimates(Metric::l2);
  test_estimates(Metric::cosine);
  test_estimates(Metric::ip);
  return 0;
}
