#include "index/linking_rows.hpp"

#include "core/parallel.hpp"

namespace semblance {
namespace {

constexpr std::size_t kEncodeGrain = 64;
constexpr std::size_t kLeastRoughDim = 128;  // below it halves of codes read hardly fewer cache lines

}  // namespace

LinkingRows::LinkingRows(const RowSet& rows, std::size_t n, bool draft, const IndexParams& params, std::size_t threads,
                         Monitor* monitor)
    : exact_(&rows.precise()), prepared_(resolve_threads(threads)) {
  if (!draft) return;
  const bool in_i8 = exact_->codec->name() == "i8";
  const bool exact = (rows.links || exact_ != &rows.codes) && (!in_i8 || !rows.codes.own);
  if (!exact && !in_i8) return;  // links are decided by the very rows that searches walk on
  const auto make = [&](const char* name) {
    auto codes = std::make_unique<CodeRows>(make_codec(name, params.dim, params.metric));
    codes->arena.grow(n);
    return codes;
  };
  if (exact) exact_draft_ = make("i8");
  if (rows.codes.codec->name() == "i4") {
    rough_ = &rows.codes;
  } else if (params.dim >= kLeastRoughDim) {
    rough_draft_ = make("i4");
    rough_ = rough_draft_.get();
  }
  encode_drafts(n, threads, monitor);
  if (exact) exact_ = exact_draft_.get();
}

// Of the rows that are exact so far.
void LinkingRows::encode_drafts(std::size_t n, std::size_t threads, Monitor* monitor) {
  if (!exact_draft_ && !rough_draft_) return;
  const auto body = [&](std::size_t begin, std::size_t end, std::size_t) {
    AlignedVector<std::byte> row(exact_->codec->input_bytes());
    for (std::size_t i = begin; i < end; ++i) {
      exact_->codec->decode(exact_->arena.row(i), 1, row.data());
      for (const CodeRows* draft : {exact_draft_.get(), rough_draft_.get()})
        if (draft != nullptr) draft->codec->encode(row.data(), 1, draft->arena.row(i));
    }
  };
  parallel_for(n, threads, kEncodeGrain, body, monitor);
}

Scorer LinkingRows::of(std::uint32_t row, std::size_t worker) {
  exact_->codec->prepare_row(exact_->arena.row(row), prepared_[worker]);
  return exact_->scorer(prepared_[worker].query);
}

// A query made of i8 codes serves i4 rows too, with zeros behind the codes.
Scorer LinkingRows::leading(std::uint32_t row, std::size_t worker) {
  const Scorer exact = of(row, worker);
  if (rough_ == nullptr) return exact;
  PreparedQuery& own = prepared_[worker];
  own.values.resize(2 * kernels::i4_plane_bytes(rough_->codec->dim()));
  own.query.values = own.values.data();
  return rough_->scorer(own.query);
}

}  // namespace semblance
