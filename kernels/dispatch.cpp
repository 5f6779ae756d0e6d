// Which table serves: what the processor has, what the operating system saves, what the user forces.
#include <cstdlib>
#include <cstring>

#include "kernel_table.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace semblance::kernels {

extern const KernelTable kScalarTable;
#if defined(__x86_64__)
extern const KernelTable kAvx2Table, kAvx512Table, kAvx512VnniTable;
#elif defined(__aarch64__)
extern const KernelTable kNeonTable;
#endif

namespace {

#if defined(__x86_64__)

constexpr bool has_all(std::uint32_t value, std::uint32_t bits) { return (value & bits) == bits; }

struct Features {
  bool avx2 = false, avx512 = false, vnni = false;
};

// Bits as in the Intel SDM, volume 2, CPUID. A register file that the system does not save across context switches is
// as good as absent, so XCR0 is asked too: bits 1-2 for ymm, 5-7 for zmm and the mask registers.
Features detect() {
  constexpr std::uint32_t kFma = 1U << 12, kXsave = 1U << 27, kAvx = 1U << 28, kF16c = 1U << 29;
  constexpr std::uint32_t kAvx2 = 1U << 5, kFDqBwVl = 1U << 16 | 1U << 17 | 1U << 30 | 1U << 31, kVnni = 1U << 11;
  constexpr std::uint32_t kYmmState = 0x06, kZmmState = 0xE6;
  Features found;
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !has_all(c, kFma | kXsave | kAvx | kF16c)) return found;
  std::uint32_t state = 0, state_high = 0;
  __asm__("xgetbv" : "=a"(state), "=d"(state_high) : "c"(0));
  if (!has_all(state, kYmmState) || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  found.avx2 = has_all(b, kAvx2);
  found.avx512 = found.avx2 && has_all(state, kZmmState) && has_all(b, kFDqBwVl);
  found.vnni = found.avx512 && has_all(c, kVnni);
  return found;
}

const KernelTable* find_table(Isa isa) {
  const Features found = detect();
  switch (isa) {
    case Isa::scalar:
      return &kScalarTable;
    case Isa::avx2:
      return found.avx2 ? &kAvx2Table : nullptr;
    case Isa::avx512:
      return found.avx512 ? &kAvx512Table : nullptr;
    case Isa::avx512vnni:
      return found.vnni ? &kAvx512VnniTable : nullptr;
    default:
      return nullptr;
  }
}

#elif defined(__aarch64__)

const KernelTable* find_table(Isa isa) {
  if (isa == Isa::scalar) return &kScalarTable;
  return isa == Isa::neon ? &kNeonTable : nullptr;  // part of the architecture
}

#else

const KernelTable* find_table(Isa isa) { return isa == Isa::scalar ? &kScalarTable : nullptr; }

#endif

constexpr const char* kNames[kIsas] = {"scalar", "neon", "avx2", "avx512", "avx512vnni"};  // by Isa

struct Tables {
  const KernelTable* of[kIsas];
  Tables() {
    for (std::size_t i = 0; i < kIsas; ++i) of[i] = find_table(static_cast<Isa>(i));
  }
};

const Tables& tables() {
  static const Tables found;
  return found;
}

struct Choice {
  char requested[64] = {};
  const KernelTable* table = nullptr;

  Choice() {
    if (const char* named = std::getenv("SEMBLANCE_ISA")) std::strncpy(requested, named, sizeof requested - 1);
    Isa isa{};
    if (requested[0] != '\0') {
      table = find_isa(requested, isa) ? table_for(isa) : nullptr;
      return;
    }
    for (const KernelTable* each : tables().of)  // from the narrowest to the widest
      if (each != nullptr) table = each;
  }
};

const Choice& choice() {
  static const Choice made;
  return made;
}

}  // namespace

const KernelTable* active_table() noexcept { return choice().table; }

const KernelTable* table_for(Isa isa) noexcept {
  const auto i = static_cast<std::size_t>(isa);
  return i < kIsas ? tables().of[i] : nullptr;
}

const char* requested_isa() noexcept { return choice().requested; }

const char* isa_name(Isa isa) noexcept {
  const auto i = static_cast<std::size_t>(isa);
  return i < kIsas ? kNames[i] : "unknown";
}

bool find_isa(const char* name, Isa& isa) noexcept {
  for (std::size_t i = 0; i < kIsas; ++i) {
    if (std::strcmp(name, kNames[i]) != 0) continue;
    isa = static_cast<Isa>(i);
    return true;
  }
  return false;
}

}  // namespace semblance::kernels
