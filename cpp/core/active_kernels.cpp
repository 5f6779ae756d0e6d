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
  return require_table("SEMBLANCE_ISA", kernels::requested_isa());
}

const kernels::KernelTable& require_table(const std::string& where, const std::string& isa) {
  kernels::Isa known{};
  const bool exists = kernels::find_isa(isa.c_str(), known);
  if (const auto* table = exists ? kernels::table_for(known) : nullptr) return *table;
  const std::string message = expected(where, "one of " + names_of_available(), "'" + isa + "'");
  if (!exists) throw ArgumentError(message);
  throw UnsupportedError(message + ", which this build or this processor lacks");
}

}  // namespace semblance
