// The two register-tiled products every dense inner loop of the kernels is made of, both over rows
// named by lists, never gathered:
//   multiply_rows:  y[to[i]]  += x[from[i]] * W           (a panel of W's columns at a time)
//   outer_product:  dW        += sum_i x[from[i]]^T y[to[i]]
#pragma once

#include <stdint.h>

#include "vec.h"

namespace mesm_ops::MESM_ISA {
namespace {

// A panel is two vectors of columns; the last is one vector where no more are left.
template <class T>
constexpr int kPanel = 2 * kLanes<T>;

template <class T>
inline int64_t panels_of(int64_t columns) {
  return (columns + kPanel<T> - 1) / kPanel<T>;
}

template <class T>
inline int vectors_of(int64_t columns, int64_t panel) {
  return columns - panel * kPanel<T> > kLanes<T> ? 2 : 1;
}

template <class T, int R, int V>
void multiply_tile(const T* x, int64_t x_stride, const int32_t* from, T* y, int64_t y_stride,
                   const int32_t* to, const T* w, int64_t depth) {
  const T* in[R];
  Vec<T> acc[R][V];
  for (int r = 0; r < R; ++r) {
    in[r] = x + from[r] * x_stride;
    for (int v = 0; v < V; ++v) acc[r][v] = load_vec(y + to[r] * y_stride + v * kLanes<T>);
  }
  for (int64_t k = 0; k < depth; ++k, w += V * kLanes<T>) {
    Vec<T> weight[V];
    for (int v = 0; v < V; ++v) weight[v] = load_vec(w + v * kLanes<T>);
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) acc[r][v] += weight[v] * in[r][k];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store_vec(y + to[r] * y_stride + v * kLanes<T>, acc[r][v]);
  }
}

template <class T, int R, int V>
void outer_tile(const T* x, int64_t x_stride, const int32_t* from, const T* y, int64_t y_stride,
                const int32_t* to, int64_t count, T* dw, int64_t dw_stride) {
  Vec<T> acc[R][V] = {};
  for (int64_t i = 0; i < count; ++i) {
    const T* in = x + from[i] * x_stride;
    const T* out = y + to[i] * y_stride;
    Vec<T> grad[V];
    for (int v = 0; v < V; ++v) grad[v] = load_vec(out + v * kLanes<T>);
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) acc[r][v] += grad[v] * in[r];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      T* at = dw + r * dw_stride + v * kLanes<T>;
      store_vec(at, load_vec(at) + acc[r][v]);
    }
  }
}

template <class T>
using MultiplyTile = void (*)(const T*, int64_t, const int32_t*, T*, int64_t, const int32_t*,
                              const T*, int64_t);
template <class T>
using OuterTile = void (*)(const T*, int64_t, const int32_t*, const T*, int64_t, const int32_t*,
                           int64_t, T*, int64_t);

// Tiles by their number of rows and of vectors.
template <class T, int V, int R = kTileRows>
inline MultiplyTile<T> multiply_tile_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return multiply_tile_of<T, V, R - 1>(rows);
  }
  return multiply_tile<T, R, V>;
}
template <class T, int V, int R = kTileRows>
inline OuterTile<T> outer_tile_of(int64_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return outer_tile_of<T, V, R - 1>(rows);
  }
  return outer_tile<T, R, V>;
}

// Cuts count into the fewest tiles, as equal as can be: 13 is 7 and 6, not 12 and 1.
struct Tiles {
  int64_t number, small, larger;
};
inline Tiles tiles_of(int64_t count) {
  const int64_t number = (count + kTileRows - 1) / kTileRows;
  return {number, number > 0 ? count / number : 0, number > 0 ? count % number : 0};
}

// y: first column of the panel; w: [depth][vectors * lanes].
template <class T>
inline void multiply_rows(const T* x, int64_t x_stride, const int32_t* from, T* y, int64_t y_stride,
                          const int32_t* to, int64_t count, const T* w, int64_t depth,
                          int vectors) {
  const Tiles tiles = tiles_of(count);
  const auto of = [vectors](int64_t rows) {
    return vectors == 2 ? multiply_tile_of<T, 2>(rows) : multiply_tile_of<T, 1>(rows);
  };
  int64_t at = 0;
  for (int64_t tile = 0; tile < tiles.number; ++tile) {
    const int64_t rows = tiles.small + (tile < tiles.larger ? 1 : 0);
    of(rows)(x, x_stride, from + at, y, y_stride, to + at, w, depth);
    at += rows;
  }
}

// y, dw: first column of the panel. A partial sum over these rows is formed before it is added.
template <class T>
inline void outer_product(const T* x, int64_t x_stride, const int32_t* from, int64_t depth,
                          const T* y, int64_t y_stride, const int32_t* to, int64_t count, T* dw,
                          int64_t dw_stride, int vectors) {
  if (count == 0) return;
  const Tiles tiles = tiles_of(depth);
  const auto of = [vectors](int64_t rows) {
    return vectors == 2 ? outer_tile_of<T, 2>(rows) : outer_tile_of<T, 1>(rows);
  };
  int64_t at = 0;
  for (int64_t tile = 0; tile < tiles.number; ++tile) {
    const int64_t rows = tiles.small + (tile < tiles.larger ? 1 : 0);
    of(rows)(x + at, x_stride, from, y, y_stride, to, count, dw + at * dw_stride, dw_stride);
    at += rows;
  }
}

}  // namespace
}  // namespace mesm_ops::MESM_ISA
