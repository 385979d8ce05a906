// How ops that Python also defines reach the kernels without Python. An op takes a selection's
// number, and the block's ops a tensor of Triton's; kernels take the selection's properties.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "../check.h"
#include "op_schemas.h"

namespace mesm_ops {

using Boxed = void (*)(StableIValue*, uint64_t, uint64_t);

// The arguments of an op's schema.
constexpr std::string_view arguments_of(std::string_view op) {
  for (const std::string_view schema : kOpSchemas) {
    if (schema.starts_with(op) && schema[op.size()] == '(') return schema.substr(op.size());
  }
  return {};
}

// The position of an argument, such as "int selection", in an op's schema; -1 if there is none.
constexpr int position_of(std::string_view op, std::string_view argument) {
  const std::string_view arguments = arguments_of(op).substr(0, arguments_of(op).find(')'));
  const auto found = arguments.find(argument);
  if (found == std::string_view::npos) return -1;
  return static_cast<int>(std::ranges::count(arguments.substr(0, found), ','));
}

// An op whose selection is the argument at kSelection, and whose last argument (kTakesState) or
// last result (kGivesState) is Triton's state, which the kernel does without.
template <Boxed kernel, int kSelection, bool kTakesState = false, bool kGivesState = false>
void with_selection(StableIValue* stack, uint64_t inputs, uint64_t outputs) {
  static_assert(kSelection >= 0);
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  enum { kHard = 0, kWeighted = 1, kStraightThrough = 2 };  // mesm_ops.reference.Selection
  const auto selection = to<int64_t>(stack[kSelection]);
  if (kTakesState) to<torch::stable::Tensor>(stack[--inputs]);  // frees it
  std::vector<StableIValue> given(stack, stack + kSelection);
  given.push_back(from(selection == kWeighted));
  given.push_back(from(selection != kHard));
  given.insert(given.end(), stack + kSelection + 1, stack + inputs);
  const uint64_t made = outputs - (kGivesState ? 1 : 0);
  const uint64_t taken = given.size();
  given.resize(std::max<uint64_t>(taken, made));
  kernel(given.data(), taken, made);
  std::copy_n(given.begin(), made, stack);
  if (kGivesState) {
    const int64_t none[] = {0};
    stack[made] = from(torch::stable::empty({none, 1}, torch::headeronly::ScalarType::Int));
  }
}

}  // namespace mesm_ops
