#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/bind.hpp"
#include "bind/bound_table.hpp"
#include "text/text_pooling.hpp"

namespace semblance::bind {
namespace {

// The texts of a list where Python keeps them. Strings never change, and the tuple keeps them alive without the GIL.
class HeldTexts {
 public:
  explicit HeldTexts(const py::object& texts) : held_(texts) {
    views_.reserve(held_.size());
    for (std::size_t i = 0; i < held_.size(); ++i) views_.push_back(view(held_[i], i));
  }
  std::span<const TextView> views() const { return views_; }

 private:
  static TextView view(const py::object& text, std::size_t position) {
    PyObject* const object = text.ptr();
    if (!PyUnicode_Check(object))
      throw ArgumentError(expected("texts", "str items",
                                   std::string(Py_TYPE(object)->tp_name) + " at position " + std::to_string(position)));
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(object) != 0) throw py::error_already_set();
#endif
    return {PyUnicode_DATA(object), static_cast<std::size_t>(PyUnicode_GET_LENGTH(object)),
            static_cast<std::uint8_t>(PyUnicode_KIND(object))};
  }

  py::tuple held_;
  std::vector<TextView> views_;
};

std::u32string points_of(const py::handle& text) {
  const auto size = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text.ptr()));
  std::u32string points(size, U'\0');
  if (PyUnicode_AsUCS4(text.ptr(), reinterpret_cast<Py_UCS4*>(points.data()), static_cast<py::ssize_t>(size), 0) ==
      nullptr)
    throw py::error_already_set();
  return points;
}

std::shared_ptr<WordPiece> make(const py::dict& vocabulary, const py::dict& added, const std::string& prefix,
                                const std::string& unknown, std::size_t max_word_points,
                                const std::vector<std::string>& steps) {
  const auto has = [&](const char* step) { return std::find(steps.begin(), steps.end(), step) != steps.end(); };
  if (!vocabulary.contains(unknown)) throw ArgumentError(expected("unknown", "a piece of the vocabulary", unknown));
  WordPieceRules rules;
  rules.clean_text = has("clean_text");
  rules.chinese = has("handle_chinese_chars");
  rules.strip_accents = has("strip_accents");
  rules.lowercase = has("lowercase");
  rules.max_word_points = max_word_points;
  rules.prefix = prefix;
  rules.unknown = vocabulary[unknown.c_str()].cast<std::uint32_t>();
  auto made = std::make_shared<WordPiece>(rules);
  for (const auto& [piece, id] : vocabulary) made->add_piece(piece.cast<std::string>(), id.cast<std::uint32_t>());
  for (const auto& [content, id] : added) made->add_token({points_of(content), id.cast<std::uint32_t>()});
  return made;
}

py::tuple ids(const WordPiece& self, const py::object& texts, std::size_t max_tokens, std::size_t max_points,
              std::size_t threads) {
  const HeldTexts held(texts);
  JaggedIds found = monitored(py::none(), [&](Monitor* monitor) {
    return encode_texts(self, held.views(), {max_tokens, max_points}, threads, monitor);
  });
  return py::make_tuple(take_vector(std::move(found.values)), take_vector(std::move(found.offsets)));
}

void pool(const WordPiece& self, const BoundTable& table, const py::object& texts, std::size_t max_tokens,
          std::size_t max_points, std::int64_t empty_id, py::array out, std::size_t threads) {
  const HeldTexts held(texts);
  const std::size_t dim = table.table().dim();
  float* data = writable("out", out, {static_cast<py::ssize_t>(held.views().size()), static_cast<py::ssize_t>(dim)});
  monitored(py::none(), [&](Monitor* monitor) {
    pool_texts({self, table.table(), empty_id}, held.views(), {max_tokens, max_points}, {data, dim}, threads, monitor);
  });
}

}  // namespace

void register_text(py::module_& root) {
  py::module_ m = root.def_submodule("text");
  py::class_<WordPiece, std::shared_ptr<WordPiece>>(m, "WordPiece")
      .def(py::init(&make), py::arg("vocabulary"), py::arg("added"), py::arg("prefix"), py::arg("unknown"),
           py::arg("max_word_points"), py::arg("steps"))
      .def("ids", ids, py::arg("texts"), py::arg("max_tokens"), py::arg("max_points"), py::arg("threads"))
      .def("pool", pool, py::arg("table"), py::arg("texts"), py::arg("max_tokens"), py::arg("max_points"),
           py::arg("empty_id"), py::arg("out"), py::arg("threads"));
}

}  // namespace semblance::bind
