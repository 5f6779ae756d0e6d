// Turns f32 rows into the row formats of kernels/table_kernels.hpp. Reading them back is a kernel's job (gather).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "core/matrix.hpp"
#include "core/parallel.hpp"
#include "table_kernels.hpp"

namespace semblance {

using kernels::TableFormat;

// "f32" "f16" "bf16" "i8" "i4" "i2" "fp8"
const char* table_format_name(TableFormat format);
std::optional<TableFormat> find_table_format(std::string_view name);

// Encodes (n, dim) finite values into rows of table_row_bytes(format, dim), one after the other.
// Integer formats: bias is the row's least value rounded down to fp16, scale the least fp16 that reaches its largest,
// so every value is off by at most scale / 2. fp8: bias 0, scale the least fp16 that brings the row within e4m3's 448.
// Throws ArgumentError naming the row where a value is not finite or out of the format's range; `out` is then
// undefined.
void encode_table_rows(TableFormat format, Matrix<const float> rows, std::byte* out, std::size_t threads,
                       Monitor* monitor = nullptr);

}  // namespace semblance
