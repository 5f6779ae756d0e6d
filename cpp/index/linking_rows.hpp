// Stored rows as linking reads them: a thousand times each, so that codes made for it alone pay off where it reads
// many.
#pragma once

#include <memory>
#include <vector>

#include "codec/codec.hpp"
#include "index/hnsw.hpp"
#include "index/rows.hpp"

namespace semblance {

class LinkingRows final : public RowScorers {
 public:
  // Of the first `n` rows. `draft`: makes codes for linking alone, where the stored ones are slower to compare.
  LinkingRows(const RowSet& rows, std::size_t n, bool draft, const IndexParams& params, std::size_t threads,
              Monitor* monitor);

  Scorer of(std::uint32_t row, std::size_t worker) override;
  Scorer leading(std::uint32_t row, std::size_t worker) override;

 private:
  void encode_drafts(std::size_t n, std::size_t threads, Monitor* monitor);

  std::unique_ptr<CodeRows> exact_draft_, rough_draft_;
  const CodeRows* exact_;                // what links are decided by
  const CodeRows* rough_ = nullptr;      // i4 beside i8, what walks are led by; null: the exact ones
  std::vector<PreparedQuery> prepared_;  // one a worker
};

}  // namespace semblance
