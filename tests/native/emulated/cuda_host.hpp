// The part of CUDA's runtime that launchers call: memory is the host's, streams do everything at once; cuda_cards.hpp
// remembers what belongs to which card and who waited for whom.
#pragma once

#include <cstdlib>
#include <cstring>
#include <tuple>

#include "../cuda_emulation.hpp"
#include "cuda_cards.hpp"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaDeviceAttr {
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
inline constexpr unsigned cudaHostAllocDefault = 0, cudaHostAllocMapped = 2, cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaHostRegisterDefault = 0, cudaHostRegisterMapped = 2, cudaHostRegisterReadOnly = 8;
inline constexpr unsigned cudaEventDisableTiming = 2;
using cudaStream_t = struct CUstream_st*;
struct CUevent_st {
  cudaStream_t recorded = nullptr;
};
using cudaEvent_t = CUevent_st*;

namespace semblance::emulated {

// Tests set these: the next allocations fail; a card of so many multiprocessors. Those of Python find the visible ones.
[[gnu::visibility("default")]] inline std::size_t memory_left = SIZE_MAX;
inline int multiprocessors = 4;
inline constexpr std::size_t kSharedLimit = 227 * 1024;  // what a block of sm_90 may ask for

inline cudaError_t allocate(void** p, std::size_t bytes, Owner owner) {
  *p = nullptr;
  if (bytes > memory_left) return cudaErrorMemoryAllocation;
  *p = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*p == nullptr) return cudaErrorMemoryAllocation;
  addresses.add(*p, bytes, owner);
  return cudaSuccess;
}
inline cudaError_t release(void* p) {
  addresses.remove(p);
  std::free(p);
  return cudaSuccess;
}

}  // namespace semblance::emulated

template <class T>
cudaError_t cudaMalloc(T** p, std::size_t bytes) {
  semblance::emulated::calls.add("malloc");
  return semblance::emulated::allocate(reinterpret_cast<void**>(p), bytes, semblance::emulated::Owner::card);
}
template <class T>
cudaError_t cudaMallocAsync(T** p, std::size_t bytes, cudaStream_t stream) {
  semblance::emulated::calls.add("malloc_async", stream);
  return semblance::emulated::allocate(reinterpret_cast<void**>(p), bytes, semblance::emulated::Owner::card);
}
template <class T>
cudaError_t cudaMallocHost(T** p, std::size_t bytes) {
  return semblance::emulated::allocate(reinterpret_cast<void**>(p), bytes, semblance::emulated::Owner::pinned);
}
template <class T>
cudaError_t cudaHostAlloc(T** p, std::size_t bytes, unsigned) {
  return cudaMallocHost(p, bytes);
}
inline cudaError_t cudaFree(void* p) {
  semblance::emulated::calls.add("free");
  return semblance::emulated::release(p);
}
inline cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  semblance::emulated::calls.add("free_async", stream);
  return semblance::emulated::release(p);
}
inline cudaError_t cudaFreeHost(void* p) { return semblance::emulated::release(p); }
inline cudaError_t cudaHostRegister(void* p, std::size_t bytes, unsigned) {
  semblance::emulated::addresses.add(p, bytes, semblance::emulated::Owner::pinned);
  return cudaSuccess;
}
inline cudaError_t cudaHostUnregister(void* p) {
  semblance::emulated::addresses.remove(p);
  return cudaSuccess;
}
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  const semblance::emulated::Place place = semblance::emulated::addresses.find(p);
  *attributes = {static_cast<cudaMemoryType>(place.owner), place.card, const_cast<void*>(p), nullptr};
  return cudaSuccess;
}
template <class T>
cudaError_t cudaHostGetDevicePointer(T** device, void* host, unsigned) {
  *device = static_cast<T*>(host);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t stream = nullptr) {
  semblance::emulated::calls.add("copy", stream);
  if (bytes) std::memmove(to, from, bytes);
  ++semblance::emulated::under_way;
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind);
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t = nullptr) {
  if (bytes) std::memset(to, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemset(void* to, int value, std::size_t bytes) { return cudaMemsetAsync(to, value, bytes); }
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = std::min<std::size_t>(semblance::emulated::memory_left, std::size_t{1} << 34);
  *total = std::size_t{1} << 34;
  return cudaSuccess;
}

using cudaMemPool_t = struct CUmemPoolHandle_st*;
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
inline cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  *pool = nullptr;
  return cudaSuccess;
}
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  semblance::emulated::calls.add("pool");
  return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  semblance::emulated::calls.add("synchronize", stream);
  semblance::emulated::under_way = 0;
  return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned = 0) {
  semblance::emulated::calls.add("wait", stream, event->recorded);
  return cudaSuccess;
}
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr) {
  event->recorded = stream;
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 0;
  return cudaSuccess;
}

inline cudaError_t cudaGetDevice(int* device) {
  *device = semblance::emulated::current_card;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= semblance::emulated::cards) return cudaErrorInvalidDevice;
  semblance::emulated::current_card = device;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = semblance::emulated::cards;
  return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const bool shared =
      attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin || attribute == cudaDevAttrMaxSharedMemoryPerMultiprocessor;
  *value = shared                                            ? static_cast<int>(semblance::emulated::kSharedLimit)
           : attribute == cudaDevAttrMaxSharedMemoryPerBlock ? 48 * 1024
           : attribute == cudaDevAttrMultiProcessorCount     ? semblance::emulated::multiprocessors
           : attribute == cudaDevAttrComputeCapabilityMajor  ? 9
                                                             : 0;
  return cudaSuccess;
}
struct cudaDeviceProp {
  char name[256] = "emulated card";
  std::size_t totalGlobalMem = std::size_t{1} << 34;
  int major = 9, minor = 0, multiProcessorCount = 4;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  return cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F*, cudaFuncAttribute, int bytes) {
  return bytes <= static_cast<int>(semblance::emulated::kSharedLimit) ? cudaSuccess : cudaErrorInvalidValue;
}
template <class F>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, F*, int, std::size_t) {
  *blocks = 2;
  return cudaSuccess;
}

namespace semblance::emulated {
inline cudaError_t last_error = cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return std::exchange(semblance::emulated::last_error, cudaSuccess); }
inline cudaError_t cudaPeekAtLastError() { return semblance::emulated::last_error; }
inline const char* cudaGetErrorName(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaError";
}
inline const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "out of memory" : "invalid";
}

struct cudaLaunchAttribute {};
struct cudaLaunchConfig_t {
  semblance::emulated::Dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

// Throws semblance::emulated::Fault where the kernel's threads cannot go on.
template <class... Expected, class... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), Given&&... given) {
  using semblance::emulated::kMaxThreads, semblance::emulated::kSharedLimit;
  if (config->gridDim.volume() == 0 || config->blockDim.volume() == 0 || config->blockDim.volume() > kMaxThreads ||
      config->gridDim.y > 65535 || config->gridDim.z > 65535 || config->dynamicSmemBytes > kSharedLimit)
    return semblance::emulated::last_error = cudaErrorInvalidConfiguration;
  const std::tuple<Expected...> arguments(std::forward<Given>(given)...);
  semblance::emulated::launch([&] { std::apply(kernel, arguments); }, config->gridDim, config->blockDim,
                              config->dynamicSmemBytes);
  return cudaSuccess;
}
