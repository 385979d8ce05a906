// Checks on which memory safety depends, allocation and threads, for every torch-facing file. The
// public Python functions have checked shapes and dtypes before, with errors for users.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <vector>

#include "../check.h"
#include "kernels/bfloat16.h"

namespace mesm_ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// f(i) for i in [0, count), spread over torch's threads. f must not throw.
template <class F>
void parallel(int64_t count, const F& f) {
  if (count == 0) return;
  torch::stable::parallel_for(0, count, 1, [&f](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// f(begin, end) over chunks of fixed size: a chunk's sum does not depend on the threads.
template <class F>
void parallel_chunks(int64_t count, int64_t chunk, const F& f) {
  parallel((count + chunk - 1) / chunk,
           [&](int64_t i) { f(i * chunk, std::min(count, (i + 1) * chunk)); });
}

inline Tensor empty(std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::empty(torch::headeronly::IntHeaderOnlyArrayRef(sizes.begin(), sizes.size()),
                              dtype);
}

inline Tensor zeros(std::initializer_list<int64_t> sizes, ScalarType dtype) {
  Tensor out = empty(sizes, dtype);
  if (out.numel() > 0) std::memset(out.mutable_data_ptr(), 0, out.numel() * out.element_size());
  return out;
}

inline Tensor as_contiguous(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

// t as a contiguous tensor of `dtype`.
inline Tensor as_dtype(const Tensor& t, ScalarType dtype) {
  return as_contiguous(t.scalar_type() == dtype ? t : torch::stable::to(t, dtype));
}

// The data as T, whatever torch calls the type: BFloat16 here is another struct of the same bits.
template <class T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <class T>
T* mutable_data(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

template <class T>
void zero_rows(T* data, int64_t begin, int64_t end, int64_t columns) {
  if (end > begin) std::memset(data + begin * columns, 0, sizeof(T) * (end - begin) * columns);
}

// Columns of a buffer that vector stores may write whole: the next multiple of 16.
inline int64_t padded_columns(int64_t columns) { return (columns + 15) / 16 * 16; }

// Rows padded with zero columns to a stride that vector loads and stores may use whole.
inline Tensor padded(const Tensor& rows) {
  const int64_t columns = rows.size(1);
  if (padded_columns(columns) == columns) return rows;
  Tensor out = zeros({rows.size(0), padded_columns(columns)}, rows.scalar_type());
  Tensor view = torch::stable::narrow(out, 1, 0, columns);
  torch::stable::copy_(view, rows);
  return out;
}

inline Tensor unpadded(Tensor rows, int64_t columns) {
  if (rows.size(1) == columns) return rows;
  return as_contiguous(torch::stable::narrow(rows, 1, 0, columns));
}

// torch's name for T.
template <class T>
constexpr ScalarType scalar_type_of();
template <>
constexpr ScalarType scalar_type_of<float>() {
  return ScalarType::Float;
}
template <>
constexpr ScalarType scalar_type_of<double>() {
  return ScalarType::Double;
}
template <>
constexpr ScalarType scalar_type_of<BFloat16>() {
  return ScalarType::BFloat16;
}

// The type of sums and parameters.
inline ScalarType compute_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline void check_features(const char* op, const Tensor& features) {
  MESM_CHECK(features.dim() == 2, op, ": features must be (rows, channels), got ", features.dim(),
             " dimensions");
  MESM_CHECK(features.is_cpu(), op, ": features must be on the CPU");
  const ScalarType dtype = features.scalar_type();
  MESM_CHECK(
      dtype == ScalarType::Float || dtype == ScalarType::BFloat16 || dtype == ScalarType::Double,
      op, ": the cpp kernels take float32, bfloat16 or float64 features, got ",
      torch::headeronly::toString(dtype));
}

// A floating-point operand of this many elements and of the features' dtype.
inline void check_operand(const char* op, const char* name, const Tensor& t, int64_t elements,
                          ScalarType dtype) {
  MESM_CHECK(t.is_cpu(), op, ": ", name, " must be on the CPU");
  MESM_CHECK(t.scalar_type() == dtype, op, ": ", name, " must be ",
             torch::headeronly::toString(dtype), ", got ",
             torch::headeronly::toString(t.scalar_type()));
  MESM_CHECK(t.numel() == elements, op, ": ", name, " must have ", elements, " elements, got ",
             t.numel());
}

inline void check_int32(const char* op, const char* name, const Tensor& t) {
  MESM_CHECK(t.is_cpu() && t.dim() == 1 && t.scalar_type() == ScalarType::Int, op, ": ", name,
             " must be a 1-d int32 tensor on the CPU");
}

// Frames of rows: frame f has rows [offsets[f], offsets[f + 1]).
struct Frames {
  Tensor owner;  // keeps offsets alive
  const int32_t* offsets;
  int64_t count;
  int64_t active;  // rows that belong to a frame; the rows after are padding
};

inline Frames check_offsets(const char* op, const Tensor& offsets, int64_t rows) {
  check_int32(op, "offsets", offsets);
  MESM_CHECK(offsets.numel() >= 1, op, ": offsets must have frames + 1 elements, got none");
  MESM_CHECK(rows <= INT32_MAX, op, ": at most 2^31 - 1 rows, got ", rows);
  Frames frames{as_contiguous(offsets), nullptr, offsets.numel() - 1, 0};
  frames.offsets = data<int32_t>(frames.owner);
  MESM_CHECK(frames.offsets[0] == 0, op, ": offsets must begin with 0, got ", frames.offsets[0]);
  for (int64_t f = 0; f < frames.count; ++f) {
    MESM_CHECK(frames.offsets[f + 1] >= frames.offsets[f], op, ": offsets must not descend, got ",
               frames.offsets[f], " before ", frames.offsets[f + 1], " at frame ", f);
  }
  frames.active = frames.offsets[frames.count];
  MESM_CHECK(frames.active <= rows, op, ": offsets end at ", frames.active, " but there are only ",
             rows, " rows");
  return frames;
}

// Contiguous sites, each inside height * width and ascending inside its frame.
inline Tensor check_sites(const char* op, const Tensor& sites, const Frames& frames, int64_t rows,
                          int64_t height, int64_t width) {
  check_int32(op, "sites", sites);
  MESM_CHECK(sites.numel() == rows, op, ": sites must have ", rows,
             " elements, one per row of features, got ", sites.numel());
  MESM_CHECK(height >= 0 && width >= 0 && height <= INT32_MAX && width <= INT32_MAX &&
                 height * width <= INT32_MAX,
             op, ": height * width must be from 0 to 2^31 - 1, got ", height, " * ", width);
  const Tensor contiguous = as_contiguous(sites);
  const int32_t* site = data<int32_t>(contiguous);
  const int64_t area = height * width;
  std::atomic<int64_t> wrong{-1};
  parallel_chunks(frames.count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      int64_t before = -1;
      bool fits = true;
      for (int64_t row = frames.offsets[f]; row < frames.offsets[f + 1]; ++row) {
        fits = fits && site[row] > before;
        before = site[row];
      }
      if (!fits || before >= area) wrong.store(f);
    }
  });
  MESM_CHECK(wrong.load() < 0, op, ": sites of frame ", wrong.load(),
             " must ascend and be from 0 to ", area - 1, " (height ", height, ", width ", width,
             ")");
  return contiguous;
}

}  // namespace mesm_ops
