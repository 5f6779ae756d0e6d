// Many tables read in one call, side by side into one output: one example a row, one field a run of columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "table/table.hpp"

namespace semblance {

struct GroupField {
  const Table* table = nullptr;
  std::span<const std::int64_t> keys;
  std::span<const std::int64_t> offsets;  // batch + 1, or empty: one key an example
  const float* weights = nullptr;
  Pooling pooling = Pooling::sum;
  std::size_t column = 0;  // where this field starts in an output row
};

// `Table::check_keys` for each field.
void check_group_keys(std::span<const GroupField> fields);

// Work is shared out by (field, range of examples); rows are prefetched ahead across fields. Keys and offsets have been
// checked against their tables.
void lookup_group(std::span<const GroupField> fields, std::size_t batch, OutputRows out, std::size_t threads,
                  Monitor* monitor);

// The same for keys (batch, tables), one a table and example, where every table has `plain_rows` and every key is a
// row: keys are read where they lie. False, and nothing is done, where that is not so.
bool lookup_matrix(std::span<const Table* const> tables, const std::int64_t* keys, std::size_t batch, OutputRows out,
                   std::size_t threads, Monitor* monitor);

}  // namespace semblance
