// A set of byte strings with a number each, for finding the longest one that a text begins with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace semblance {

// Nodes are numbers; the edges of all nodes share one open-addressing table, 8 bytes an edge, at most half full.
class PieceTrie {
 public:
  static constexpr std::uint32_t kNoPiece = ~0U;
  struct Match {
    std::size_t size = 0;  // bytes
    std::uint32_t id = kNoPiece;
  };

  PieceTrie();
  // A piece that was added before gets the new id. Throws CapacityError beyond 2^24 nodes. Not safe against readers.
  void add(std::string_view piece, std::uint32_t id);
  Match longest(std::string_view text) const;

 private:
  static constexpr std::uint32_t kNoNode = 0;  // the root is nobody's child
  struct Edge {
    std::uint32_t key = 0;  // node << 8 | byte, plus one; 0 is an empty place
    std::uint32_t child = kNoNode;
  };

  static std::uint32_t key_of(std::uint32_t node, char byte) {
    return (node << 8 | static_cast<std::uint8_t>(byte)) + 1;
  }
  std::size_t place(std::uint32_t key) const { return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15U) >> shift_); }
  std::uint32_t child(std::uint32_t node, char byte) const;
  std::uint32_t add_child(std::uint32_t node, char byte);
  void insert(Edge edge);
  void grow();

  std::vector<Edge> edges_;
  std::vector<std::uint32_t> ids_;  // of each node
  unsigned shift_;
};

}  // namespace semblance
