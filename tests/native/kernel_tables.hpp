// Every kernel table that this machine has, for tests that run one body over them.
#pragma once

#include <cstdio>
#include <vector>

#include "check.hpp"
#include "kernel_table.hpp"

namespace semblance::test {

inline std::vector<const kernels::KernelTable*> all_tables() {
  std::vector<const kernels::KernelTable*> tables;
  for (std::size_t i = 0; i < kernels::kIsas; ++i) {
    const auto isa = static_cast<kernels::Isa>(i);
    const auto* table = kernels::table_for(isa);
    if (table == nullptr) continue;
    CHECK(table->isa == isa);
    std::printf("tables: %s\n", table->name);
    tables.push_back(table);
  }
  CHECK(!tables.empty() && tables.front()->isa == kernels::Isa::scalar);
  return tables;
}

}  // namespace semblance::test
