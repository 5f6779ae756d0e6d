// Memory for what look-ups read at random: rows, and the buckets of keys.
#pragma once

#include <cstddef>
#include <memory>

namespace semblance {

// Uninitialised, at the start of a cache line, so that a bucket of keys is one line and not two. In huge pages, whose
// addresses stay at hand, from a quarter of a megabyte on; blocks too small for one of their own share one, which goes
// when the last of them does. Throws std::bad_alloc.
std::shared_ptr<std::byte> table_memory(std::size_t bytes);

// Whether a block of so many bytes shares a huge page, or fills few: what other allocators leave in small pages.
bool needs_table_memory(std::size_t bytes);

}  // namespace semblance
