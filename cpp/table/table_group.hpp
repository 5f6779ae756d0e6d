// Many tables read in one call, side by side into one output: one example a row, one field a run of columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "table/table.hpp"

namespace semblance {

struct GroupField {
  const Table* table;
  std::span<const std::int64_t> keys;
  std::span<const std::int64_t> offsets;  // batch + 1, or empty: one key an example
  const float* weights;
  Pooling pooling;
  std::size_t column;  // where this field starts in an output row
};

// Work is shared out by (field, range of examples); rows are prefetched ahead across fields. Keys and offsets have been
// checked against their tables.
void lookup_group(std::span<const GroupField> fields, std::size_t batch, OutputRows out, std::size_t threads,
                  Monitor* monitor);

}  // namespace semblance
