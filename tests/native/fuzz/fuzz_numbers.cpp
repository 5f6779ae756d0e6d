// Codecs, exact search and k-means over any finite numbers, in blocks of memory of exactly their size.
#include <algorithm>
#include <memory>

#include "codec/kmeans.hpp"
#include "core/aligned.hpp"
#include "core/error.hpp"
#include "fuzz/index_shapes.hpp"
#include "fuzz/input.hpp"
#include "index/exact.hpp"

using namespace semblance;
using fuzz::Input;

namespace {

void codecs(Input& input) {
  IndexParams params = fuzz::any_params(input);
  const std::size_t n = input.between(1, 20);
  const std::vector<std::byte> rows = fuzz::any_rows(input, params, n);
  fuzz::check(rows, params);
  const auto codec = make_codec(params.codes, params.dim, params.metric);
  AlignedVector<std::byte> codes(n * codec->row_bytes()), back(n * codec->input_bytes());
  codec->encode(rows.data(), n, codes.data());
  codec->decode(codes.data(), n, back.data());
  if (params.codes == "f32" || params.codes == "b1") CHECK(std::memcmp(back.data(), rows.data(), rows.size()) == 0);
  PreparedQuery query, row;
  codec->prepare(rows.data(), query);
  codec->prepare_row(codes.data(), row);
  std::vector<std::uint32_t> ids(n);
  for (auto& id : ids) id = static_cast<std::uint32_t>(input.between(0, n - 1));
  std::vector<float> one(n), all(n);
  const kernels::Rows stored{codes.data(), codec->row_bytes(), params.dim};
  for (const PreparedQuery* each : {&query, &row}) {
    codec->scorer()(each->query, stored, ids.data(), n, one.data());
    codec->scorer()(each->query, stored, nullptr, n, all.data());
    for (std::size_t i = 0; i < n; ++i) CHECK(one[i] == all[ids[i]] || one[i] != one[i]);
  }
}

void exact(Input& input) {
  IndexParams params = fuzz::any_params(input);
  const std::size_t n = input.between(0, 40), q = input.between(0, 4), k = input.between(1, 45);
  const std::vector<std::byte> rows = fuzz::any_rows(input, params, n), queries = fuzz::any_rows(input, params, q);
  fuzz::check(rows, params);
  fuzz::check(queries, params);
  std::vector<std::int64_t> ids(q * k);
  std::vector<float> distances(q * k);
  search_exactly({params.metric, params.dim, rows.data(), queries.data(), n, q, k, 1, ids.data(), distances.data()},
                 nullptr);
  for (std::size_t i = 0; i < q * k; ++i) {
    const bool real = i % k < n;
    CHECK(real ? ids[i] >= 0 && ids[i] < static_cast<std::int64_t>(n) : ids[i] == -1);
    CHECK(i % k == 0 || distances[i - 1] <= distances[i]);
    CHECK(!real || !std::isnan(distances[i]));
  }
}

void kmeans(Input& input) {
  const std::size_t dim = input.between(1, 9), centroids = input.between(1, 12);
  const std::size_t n = centroids + input.between(0, 60);
  const std::vector<float> rows = input.floats(n * dim);
  std::vector<float> out(centroids * dim), again(centroids * dim);
  const KMeans options{centroids, input.between(0, 6), input.between(0, 1) * n, input.take<std::uint8_t>(), 1};
  train_centroids({rows.data(), n, dim}, options, out.data());
  train_centroids({rows.data(), n, dim}, options, again.data());
  CHECK(std::memcmp(out.data(), again.data(), out.size() * sizeof(float)) == 0);
  std::vector<std::uint16_t> nearest(n);
  assign_centroids({rows.data(), n, dim}, {out.data(), centroids, dim}, nearest.data(), 1);
  for (const std::uint16_t each : nearest) CHECK(each < centroids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  try {
    switch (input.between(0, 2)) {
      case 0:
        codecs(input);
        break;
      case 1:
        exact(input);
        break;
      default:
        kmeans(input);
    }
  } catch (const Error&) {
  }
  return 0;
}
