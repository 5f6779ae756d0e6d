// Rows that never move: address space for the most rows is reserved at once and memory is committed as rows come, so a
// reader's pointer stays good while a writer appends.
#pragma once

#include <atomic>
#include <cstddef>

namespace semblance {

class Arena {
 public:
  explicit Arena(std::size_t row_bytes) : row_bytes_(row_bytes) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Room for `rows` rows, zero filled. Throws CapacityError and changes nothing where there is no memory for them.
  void grow(std::size_t rows);

  // Serves `rows` rows of somebody else's read-only memory, which must outlive the arena; the first `grow` copies them.
  void borrow(const std::byte* data, std::size_t rows);
  bool borrowed() const { return borrowed_rows_ != 0; }

  std::byte* data() const { return data_.load(std::memory_order_acquire); }
  std::byte* row(std::size_t i) const { return data() + i * row_bytes_; }
  template <class T>
  T* as(std::size_t i = 0) const {
    return reinterpret_cast<T*>(row(i));
  }
  std::size_t row_bytes() const { return row_bytes_; }
  std::size_t committed_bytes() const { return committed_; }

 private:
  void reserve(std::size_t at_least);

  const std::size_t row_bytes_;
  std::atomic<std::byte*> data_{nullptr};
  std::byte* region_ = nullptr;  // own address space; null until the first grow
  std::size_t reserved_ = 0;     // bytes of it
  std::size_t committed_ = 0;    // bytes of it that may be touched
  std::size_t borrowed_rows_ = 0;
};

}  // namespace semblance
