#include "text/piece_trie.hpp"

#include <bit>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace semblance {
namespace {

constexpr std::size_t kFirstEdges = 1024;
constexpr std::size_t kMaxNodes = (1U << 24) - 1;

unsigned shift_for(std::size_t places) { return static_cast<unsigned>(64 - std::countr_zero(places)); }

}  // namespace

PieceTrie::PieceTrie() : edges_(kFirstEdges), ids_(1, kNoPiece), shift_(shift_for(kFirstEdges)) {}

std::uint32_t PieceTrie::child(std::uint32_t node, char byte) const {
  const std::uint32_t key = key_of(node, byte);
  for (std::size_t at = place(key);; at = (at + 1) & (edges_.size() - 1)) {
    if (edges_[at].key == key) return edges_[at].child;
    if (edges_[at].key == 0) return kNoNode;
  }
}

void PieceTrie::insert(Edge edge) {
  std::size_t at = place(edge.key);
  while (edges_[at].key != 0) at = (at + 1) & (edges_.size() - 1);
  edges_[at] = edge;
}

void PieceTrie::grow() {
  const std::vector<Edge> old = std::exchange(edges_, std::vector<Edge>(2 * edges_.size()));
  shift_ = shift_for(edges_.size());
  for (const Edge& edge : old)
    if (edge.key != 0) insert(edge);
}

std::uint32_t PieceTrie::add_child(std::uint32_t node, char byte) {
  if (ids_.size() == kMaxNodes)
    throw CapacityError(expected("vocabulary", "at most " + std::to_string(kMaxNodes) + " distinct prefixes", "more"));
  if (2 * ids_.size() >= edges_.size()) grow();
  const auto made = static_cast<std::uint32_t>(ids_.size());
  ids_.push_back(kNoPiece);
  insert({key_of(node, byte), made});
  return made;
}

void PieceTrie::add(std::string_view piece, std::uint32_t id) {
  std::uint32_t node = 0;
  for (const char byte : piece) {
    const std::uint32_t next = child(node, byte);
    node = next != kNoNode ? next : add_child(node, byte);
  }
  ids_[node] = id;
}

PieceTrie::Match PieceTrie::longest(std::string_view text) const {
  Match best;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    node = child(node, text[i]);
    if (node == kNoNode) break;
    if (ids_[node] != kNoPiece) best = {i + 1, ids_[node]};
  }
  return best;
}

}  // namespace semblance
