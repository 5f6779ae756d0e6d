// What every launcher shares: errors that name the kernel and the cause, and launches that are checked.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "api.hpp"

namespace semblance::cuda {

// Throws Failure where `error` is one. An error that CUDA reports once is taken off, so that later calls work.
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  const Cause cause =
      error == cudaErrorMemoryAllocation ? Cause::out_of_memory
      : error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver || error == cudaErrorNoKernelImageForDevice
          ? Cause::no_device
          : Cause::failed;
  throw Failure(cause, std::string(what) + ": expected success, got " + cudaGetErrorName(error) + ": " +
                           cudaGetErrorString(error));
}

inline cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream); }

// Where and with how much a kernel runs; `name` is what an error calls it.
struct Launch {
  const char* name;
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  Stream stream = nullptr;
};

inline std::size_t device_attribute(cudaDeviceAttr attribute) {
  int current = 0, value = 0;
  check(cudaGetDevice(&current), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&value, attribute, current), "cudaDeviceGetAttribute");
  return static_cast<std::size_t>(value);
}
inline std::size_t multiprocessors() { return device_attribute(cudaDevAttrMultiProcessorCount); }
// Bytes of shared memory that a block may have.
inline std::size_t shared_limit() { return device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }

inline constexpr std::size_t kSharedWithoutAsking = 48 * 1024;

#ifdef __CUDACC__
// Lets a kernel have all the shared memory there is, once: were each launch to ask for its own bytes, another thread's
// launch of the same kernel could find less than it needs.
inline void allow_all_shared(const void* kernel, const char* name) {
  static std::mutex mutex;
  static std::set<std::pair<const void*, int>> asked;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard lock(mutex);
  if (asked.count({kernel, device}) != 0) return;
  cudaFuncAttributes own{};
  check(cudaFuncGetAttributes(&own, kernel), name);
  const auto most = static_cast<int>(shared_limit() - own.sharedSizeBytes);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most), name);
  asked.insert({kernel, device});
}
#endif

// Launches `kernel` and checks that it was accepted. An empty grid is no launch.
template <class... Parameters, class... Arguments>
void launch(const Launch& how, void (*kernel)(Parameters...), const Arguments&... arguments) {
  if (how.grid.x == 0 || how.grid.y == 0) return;
#ifdef __CUDACC__
  if (how.shared_bytes > kSharedWithoutAsking) allow_all_shared(reinterpret_cast<const void*>(kernel), how.name);
  kernel<<<how.grid, how.block, how.shared_bytes, stream_of(how.stream)>>>(static_cast<Parameters>(arguments)...);
  check(cudaGetLastError(), how.name);
#else  // tests: the emulator's header, which names CUDA's words, has this too
  emulated::launch([&] { kernel(static_cast<Parameters>(arguments)...); }, {how.grid.x, how.grid.y, how.grid.z},
                   {how.block.x, how.block.y, how.block.z}, how.shared_bytes);
#endif
}

inline unsigned blocks_for(std::size_t items, std::size_t items_a_block) {
  return static_cast<unsigned>((items + items_a_block - 1) / items_a_block);
}

}  // namespace semblance::cuda
