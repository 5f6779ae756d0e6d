#include "core/active_kernels.hpp"

#include <string>

#include "core/error.hpp"

namespace semblance {
namespace {

std::string names_of_available() {
  std::string names;
  for (std::size_t i = 0; i < kernels::kIsas; ++i) {
    const auto* table = kernels::table_for(static_cast<kernels::Isa>(i));
    if (table != nullptr) names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  return names;
}

}  // namespace

const kernels::KernelTable& require_table() {
  if (const auto* table = kernels::active_table()) return *table;
  const std::string named = kernels::requested_isa();
  kernels::Isa isa{};
  const std::string message = expected(
      "SEMBLANCE_ISA", "one of " + names_of_available() + " (or nothing, for the best of them)", "'" + named + "'");
  if (!kernels::find_isa(named.c_str(), isa)) throw ArgumentError(message);
  throw UnsupportedError(message + ", which this build or this machine does not have");
}

}  // namespace semblance
