// Emulated launches for tests of the emulator, and what goes wrong in them.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "check.hpp"

namespace semblance::test {

struct Launch {
  dim3 grid, block;
  std::size_t shared = 0;
};

template <class... Expected, class... Given>
void run(const Launch& launch, void (*kernel)(Expected...), Given... given) {
  cudaLaunchConfig_t config{};
  config.gridDim = launch.grid;
  config.blockDim = launch.block;
  config.dynamicSmemBytes = launch.shared;
  CHECK(cudaLaunchKernelEx(&config, kernel, given...) == cudaSuccess);
}

template <class... Expected, class... Given>
std::string fault(const Launch& launch, void (*kernel)(Expected...), Given... given) {
  try {
    run(launch, kernel, given...);
  } catch (const emulated::Fault& f) {
    return f.what();
  }
  return "";
}

// What races on purpose; where races are told, only for who asks for it: there the reports are what is looked at.
inline bool race_on_purpose = !emulated::races::kTold;

inline bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace semblance::test
