// The memory layout of DLPack's exchange structures, version 0.x (dmlc/dlpack): what __dlpack__ capsules hold.
#pragma once

#include <cstdint>

namespace semblance::bind {

inline constexpr std::int32_t kDlCpu = 1, kDlCuda = 2, kDlCudaHost = 3, kDlCudaManaged = 13;
inline constexpr std::uint8_t kDlInt = 0, kDlUInt = 1, kDlFloat = 2;

struct DlDevice {
  std::int32_t type, id;
};
struct DlType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct DlTensor {
  void* data;
  DlDevice device;
  std::int32_t ndim;
  DlType type;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements, null = C-contiguous
  std::uint64_t byte_offset;
};
struct DlManagedTensor {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManagedTensor*);
};

}  // namespace semblance::bind
