// Neighbour codes by levels along learned axes: the kernels of every table against the definition, what is learned of
// differences along few axes and of others, and blocks of nodes that the axes tell little of.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/error.hpp"
#include "index/link_codes.hpp"
#include "kernel_tables.hpp"
#include "normals.hpp"

using namespace semblance;
using namespace semblance::kernels;
using test::normal, test::normals, test::random_engine;

namespace {

// A plan and its spread, as long as a difference along all axes.
struct Plan {
  std::size_t fine, middle, coarse;
  AlignedVector<float> spread{};
  LinkAxes axes{};

  Plan(std::size_t f, std::size_t m, std::size_t c) : fine(f), middle(m), coarse(c) {
    spread.resize((f + m + c) * kLinkPadding);
    float square = 0.0F;
    for (std::size_t i = 0; i < spread.size(); ++i) {
      spread[i] = 1.0F / static_cast<float>(i + 2);
      square += spread[i] * spread[i];
    }
    axes = {spread.data(), std::sqrt(square), f, m, c};
  }
  std::size_t bits(std::size_t axis) const {
    return axis < fine * kLinkPadding ? 4 : axis < (fine + middle) * kLinkPadding ? 2 : 1;
  }
  // Where an axis' bits lie: the group, and how far up in its four.
  std::pair<std::size_t, std::size_t> place(std::size_t axis) const {
    std::size_t bit = 0;
    for (std::size_t i = 0; i < axis; ++i) bit += bits(i);
    return {bit / 4, bit % 4};
  }
};

// The level of a code, lowest first, by the quantiser of so many bits for a normal distribution (Max 1960, table I).
double level_of(std::size_t bits, unsigned code) {
  static const std::vector<std::vector<double>> positive = {
      {0.7979}, {0.4528, 1.5104}, {}, {0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181, 2.0690, 2.7326}};
  const std::vector<double>& levels = positive[bits - 1];
  return code < levels.size() ? -levels[levels.size() - 1 - code] : levels[code - levels.size()];
}

const Plan kPlans[] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, 1, 1}, {4, 3, 2}, {0, 2, 3}, {12, 0, 0}, {20, 3, 9}};

// Each code is that of the closest level, sums are those of the levels, other neighbours' bits stay, and every table
// does the same.
void test_writing() {
  for (const Plan& plan : kPlans) {
    const std::size_t dim = plan.axes.dim();
    const AlignedVector<float> node = normals(dim);
    AlignedVector<float> neighbour = normals(dim);
    for (std::size_t i = 0; i < dim; ++i) neighbour[i] = node[i] + 3.0F * plan.spread[i] * neighbour[i];
    for (const unsigned shift : {0U, 4U}) {
      constexpr std::size_t kColumn = 7;
      std::vector<std::uint8_t> first_lane;
      DifferenceSums first{};
      for (const KernelTable* table : test::all_tables()) {
        std::vector<std::uint8_t> lane(plan.axes.groups() * kLinkGroupBytes);
        const DifferenceSums sums =
            table->links.write_levels(plan.axes, neighbour.data(), node.data(), shift, lane.data() + kColumn);
        double square = 0.0, size = 0.0, coded_node = 0.0, all = 0.0;
        for (std::size_t i = 0; i < dim; ++i) square += std::pow(double{neighbour[i]} - node[i], 2.0);
        for (std::size_t i = 0; i < dim; ++i) {
          const auto [group, bit] = plan.place(i);
          const std::size_t bits = plan.bits(i);
          const unsigned code = lane[group * kLinkGroupBytes + kColumn] >> (shift + bit) & ((1U << bits) - 1U);
          const double o = double{neighbour[i]} - node[i], unit = plan.spread[i] * std::sqrt(square) / plan.axes.reach;
          const double off = std::abs(level_of(bits, code) - o / unit);
          for (unsigned other = 0; other < 1U << bits; ++other)
            CHECK(off <= std::abs(level_of(bits, other) - o / unit) + 1e-4);
          const double level = level_of(bits, code) * plan.spread[i];
          size += level * o;
          coded_node += level * node[i];
          all += std::abs(level) * (std::abs(o) + std::abs(node[i]));
        }
        CHECK(std::abs(sums.square - square) <= 1e-5 * square);
        CHECK(std::abs(sums.size - size) <= 1e-4 * all && std::abs(sums.coded_node - coded_node) <= 1e-4 * all);
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

// <levels, query> from the definition of the layout, and by every table, which agree bit for bit.
void test_scores() {
  for (const Plan& plan : kPlans) {
    const AlignedVector<float> query = normals(plan.axes.dim()), add = normals(kLinkLanes),
                               factor = normals(kLinkLanes);
    std::vector<std::byte> codes(plan.axes.groups() * kLinkGroupBytes);
    for (std::byte& b : codes) b = static_cast<std::byte>(random_engine()() & 255U);
    std::vector<float> first;
    for (const KernelTable* table : test::all_tables()) {
      AlignedVector<std::uint8_t> luts(codes.size());
      const kernels::LinkQuery prepared = table->links.tabulate_levels(plan.axes, query.data(), luts.data());
      CHECK(prepared.groups == plan.axes.groups());
      std::vector<float> scores(kLinkLanes);
      table->links.score(prepared, {add.data(), factor.data(), codes.data()}, 0.5F, codes.data(), scores.data());
      for (std::size_t n = 0; n < kLinkLanes; ++n) {
        double product = 0.0, most = 0.0;
        for (std::size_t i = 0; i < query.size(); ++i) {
          const auto [group, bit] = plan.place(i);
          const auto byte = static_cast<unsigned>(codes[group * kLinkGroupBytes + n % 16]);
          const unsigned code = byte >> (bit + (n < 16 ? 0 : 4)) & ((1U << plan.bits(i)) - 1U);
          product += level_of(plan.bits(i), code) * plan.spread[i] * query[i];
          most = std::max(most, 4 * 2.8 * std::abs(double{plan.spread[i]} * query[i]));
        }
        // Half a step of the largest group is lost in each, and one in the base.
        const double lost = (static_cast<double>(plan.axes.groups()) / 2 + 1) * most / 127;
        CHECK(std::abs(scores[n] - (0.5 + add[n] + factor[n] * product)) <= std::abs(factor[n]) * lost + 1e-4);
      }
      if (first.empty()) first = scores;
      CHECK(std::memcmp(first.data(), scores.data(), kLinkLanes * sizeof(float)) == 0);
    }
  }
}

// Queries and differences at the ends of what a float holds: defined codes, the same in every table.
void test_extremes() {
  const Plan plan(1, 1, 1);
  const std::size_t dim = plan.axes.dim();
  const std::vector<std::byte> codes(plan.axes.groups() * kLinkGroupBytes, std::byte{0x5A});
  const AlignedVector<float> zeros(kLinkLanes);
  for (const float extreme : {0.0F, 1e-45F, 1e-36F, 1e25F, std::numeric_limits<float>::max(),
                              std::numeric_limits<float>::infinity(), std::nanf("")}) {
    AlignedVector<float> values(dim), node(dim);
    for (std::size_t i = 0; i < dim; ++i) values[i] = i % 2 == 0 ? extreme : -extreme;
    std::vector<std::uint8_t> first_lane;
    std::vector<float> first;
    for (const KernelTable* table : test::all_tables()) {
      AlignedVector<std::uint8_t> luts(codes.size());
      std::vector<float> scores(kLinkLanes);
      const kernels::LinkQuery prepared = table->links.tabulate_levels(plan.axes, values.data(), luts.data());
      CHECK(prepared.step > 0.0F && std::isfinite(prepared.step) && prepared.base >= 0);
      table->links.score(prepared, {zeros.data(), zeros.data(), codes.data()}, 0.5F, codes.data(), scores.data());
      std::vector<std::uint8_t> lane(codes.size());
      table->links.write_levels(plan.axes, values.data(), node.data(), 0, lane.data());
      if (first.empty()) {
        first = scores;
        first_lane = lane;
      }
      CHECK(scores == first && lane == first_lane);
    }
  }
}

// Differences along `axes` random directions of unequal variance, with a little of everything; those from one row have
// something in common, as neighbours do.
DifferenceSample sample_of(std::size_t dim, std::size_t axes) {
  constexpr std::size_t kCount = 1500;
  const AlignedVector<float> directions = normals(axes * dim);
  DifferenceSample sample{dim, kCount, {}, {}, AlignedVector<float>(dim)};
  for (AlignedVector<float>* part : {&sample.first, &sample.second}) {
    for (std::size_t s = 0; s < kCount; ++s) {
      AlignedVector<float> x = normals(dim);
      for (float& v : x) v *= 0.02F;
      for (std::size_t k = 0; k < axes; ++k) {
        const float along = normal() / static_cast<float>(k + 1);
        for (std::size_t i = 0; i < dim; ++i) x[i] += along * directions[k * dim + i];
      }
      const auto shorten = [&] {
        float square = 0.0F;
        for (const float v : x) square += v * v;
        for (float& v : x) v /= std::sqrt(square);
      };
      shorten();
      if (part == &sample.second) {
        for (std::size_t i = 0; i < dim; ++i) x[i] += 0.4F * sample.first[s * dim + i];
        shorten();
      }
      part->insert(part->end(), x.begin(), x.end());
    }
  }
  return sample;
}

// Few axes are learned, in far fewer bytes; none where all directions are alike; the same on any number of threads.
void test_learning() {
  constexpr std::size_t kDim = 320;
  const SignCodec signs(kDim, 1);
  const DifferenceSample few = sample_of(kDim, 20);
  const auto one = learn_levels(few, signs, 10.0, 1, nullptr), three = learn_levels(few, signs, 10.0, 3, nullptr);
  CHECK(one != nullptr && three != nullptr && one->groups() <= signs.groups() / 2);
  CHECK(one->axes().words == three->axes().words && one->axes().basis == three->axes().basis);
  CHECK(one->axes().spread == three->axes().spread && one->axes().offset == three->axes().offset);
  CHECK(one->usual_share() > 0.9F && one->usual_share() < 1.05F);
  CHECK(learn_levels(sample_of(kDim, 0), signs, 10.0, 2, nullptr) == nullptr);
  for (const int part : {0, 1, 2, 3, 4}) {  // what a file may not hold
    Axes axes = one->axes();
    if (part == 0) axes.words[2] += 1;
    if (part == 1) axes.words = {1000, 1000, 1000};
    if (part == 2) axes.spread[3] = 0.0F;
    if (part == 3) axes.offset[3] = std::nanf("");
    if (part == 4) std::fill(axes.basis.begin(), axes.basis.end(), std::byte{0xFF});
    bool refused = false;
    try {
      LevelCodec::checked(kDim, std::move(axes));
    } catch (const FormatError&) {
      refused = true;
    }
    CHECK(refused);
  }
  CHECK(LevelCodec::checked(kDim, one->axes())->groups() == one->groups());
}

// Estimates from a node of the learned kind and from one of another kind, with a query prepared before the first such
// node was coded and after.
void test_estimates(Metric metric) {
  constexpr std::size_t kDim = 320, kHalf = 33;
  DifferenceSample sample = sample_of(kDim, 20);
  AlignedVector<float> centre = normals(kDim);  // some way off; half of the rows lie around it any way
  for (float& x : centre) x *= 0.3F;
  sample.mean = centre;
  const float size = metric == Metric::cosine ? 0.3F * std::sqrt(static_cast<float>(kDim)) : 1.0F;
  for (float& x : sample.mean) x /= size;
  auto levels = learn_levels(sample, SignCodec(kDim, 1), 10.0, 1, nullptr);
  const std::size_t groups = levels->groups();
  LinkCodes links(metric, 32, std::move(levels), std::make_unique<SignCodec>(kDim, 1, groups));
  const std::unique_ptr<Codec> codec = make_codec("f32", kDim, metric);
  Arena rows(codec->row_bytes());
  rows.grow(2 * kHalf);
  for (std::size_t r = 0; r < 2 * kHalf; ++r) {
    const AlignedVector<float> any = normals(kDim);
    double square = 0.0;
    for (std::size_t i = 0; i < kDim; ++i) {
      const float off = r < kHalf ? sample.first[r * kDim + i] : any[i] / std::sqrt(static_cast<float>(kDim));
      rows.as<float>(r)[i] = centre[i] + off;
      square += std::pow(double{rows.as<float>(r)[i]}, 2.0);
    }
    if (metric == Metric::cosine)
      for (std::size_t i = 0; i < kDim; ++i) rows.as<float>(r)[i] /= static_cast<float>(std::sqrt(square));
  }
  links.grow(2 * kHalf);
  LinkCodes::EncodeScratch scratch;
  semblance::LinkQuery query;
  const auto error = [&](std::uint32_t node) {  // over the sizes of what is estimated
    PreparedQuery own;
    codec->prepare(rows.row(node + 1), own);
    std::vector<float> scores(2 * kHalf), estimates(kLinkLanes);
    codec->scorer()(own.query, {rows.data(), codec->row_bytes(), kDim}, nullptr, 2 * kHalf, scores.data());
    links.score(query.query, node, 0, scores[node], node, estimates.data());
    double off = 0.0, size = 0.0;
    for (std::size_t i = 0; i < kHalf - 2; ++i) {
      off += std::pow(estimates[i] - scores[node + 2 + i], 2.0);
      size += std::pow(scores[node + 2 + i] - scores[node + 1], 2.0);
    }
    return std::sqrt(off / size);
  };
  for (const std::uint32_t node : {0U, static_cast<std::uint32_t>(kHalf)}) {
    std::vector<std::uint32_t> ids;
    for (std::uint32_t i = 2; i < kHalf; ++i) ids.push_back(node + i);
    links.prepare(rows.as<float>(node + 1), query);
    links.encode(node, ids.data(), ids.size(), links.placed(*codec, rows), scratch);
    if (node > 0) {
      CHECK(error(node) < 1.2);  // all as far as the node
      links.prepare(rows.as<float>(node + 1), query);
    }
    CHECK(error(node) < (node > 0 ? 0.3 : 0.1));
  }
  // A file's blocks are known to be of both kinds.
  std::vector<std::byte> blocks(links.data(), links.data() + 2 * kHalf * links.row_bytes());
  LinkCodes other(metric, 32, std::make_unique<LevelCodec>(kDim, links.levels()->axes()),
                  std::make_unique<SignCodec>(kDim, 1, groups));
  other.borrow(blocks.data(), 2 * kHalf);
  semblance::LinkQuery again;
  other.prepare(rows.as<float>(kHalf + 1), again);
  CHECK(again.query.apart.step < 0.0F && again.tables_apart == query.tables_apart);
}

}  // namespace

int main() {
  test_writing();
  test_scores();
  test_extremes();
  test_learning();
  test_estimates(Metric::l2);
  test_estimates(Metric::cosine);
  return 0;
}
