// sparse_cross_modal_block on CUDA, in inference: attention, nucleus, two convolutions with folded
// norms on tensor cores, pool; bfloat16 and float16.
//
// Where a group of frames fits into shared memory, one kernel takes all of that, group by group,
// after what is done once for all frames: three kernels, four with lengths. Else nine, ten with
// lengths, whose tiles take rows of all frames, so that no tile is half empty and a weight is read
// once for kRows rows and not once for each group. All are on one stream, and nothing is copied to
// the host: outputs and launches are sized from shapes alone, so that a CUDA graph can capture the
// op.
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <tuple>

#include "sparse_cross_modal_block_group_launch.cuh"

namespace mesm_ops {
namespace {

// One allocation for all that lives no longer than the call.
class Workspace {
 public:
  // Twice: first to see how much it takes, then with the memory.
  template <class T>
  T* take(int64_t count) {
    constexpr int64_t kAlign = 256;
    char* at = base_ + used_;
    used_ += (count * static_cast<int64_t>(sizeof(T)) + kAlign - 1) / kAlign * kAlign;
    return reinterpret_cast<T*>(at);
  }
  int64_t used() const { return used_; }
  void restart(void* base) {
    base_ = static_cast<char*>(base);
    used_ = 0;
  }

 private:
  char* base_ = nullptr;
  int64_t used_ = 0;
};

void check_on_device(const char* name, const Tensor& t, const Tensor& features) {
  STD_TORCH_CHECK(is_beside(t, features), kOp, ": ", name, " must be on the features' device");
}

Tensor int32_tensor(const char* name, const Tensor& t, const Tensor& features) {
  check_int32(kOp, name, t, features);
  return torch::stable::contiguous(t);
}

Tensor parameter(const char* name, const Tensor& t, int64_t elements, const Tensor& features) {
  check_on_device(name, t, features);
  const ScalarType type = t.scalar_type();
  STD_TORCH_CHECK(
      type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half, kOp,
      ": ", name, " must be float32, bfloat16 or float16, got ", torch::headeronly::toString(type));
  STD_TORCH_CHECK(t.numel() == elements, kOp, ": ", name, " must have ", elements,
                  " elements, got ", t.numel());
  return torch::stable::contiguous(t);
}

Parameter reader(const Tensor& t) {
  const ScalarType type = t.scalar_type();
  return {t.const_data_ptr(), type == ScalarType::Float      ? Parameter::kFloat
                              : type == ScalarType::BFloat16 ? Parameter::kBfloat16
                                                             : Parameter::kFloat16};
}

// Rows that are copied in pieces of 16 bytes: in the features' type, contiguous and aligned.
Tensor rows_of(const char* name, const Tensor& t, int64_t columns, const Tensor& features) {
  check_on_device(name, t, features);
  STD_TORCH_CHECK(t.dim() == 2 && t.size(1) == columns && columns > 0 && columns % kPiece == 0, kOp,
                  ": ", name, " must be (rows, ", columns,
                  ") and the cuda kernels take channels that are a multiple of ", kPiece, ", got ",
                  t.dim() == 2 ? t.size(1) : -1);
  const Tensor held = torch::stable::contiguous(
      t.scalar_type() == features.scalar_type() ? t : torch::stable::to(t, features.scalar_type()));
  STD_TORCH_CHECK(held.numel() / kPiece <= INT32_MAX, kOp, ": ", name,
                  " must have fewer than 2^34 elements");
  const bool aligned = reinterpret_cast<uintptr_t>(held.const_data_ptr()) % sizeof(Piece) == 0;
  return aligned ? held : torch::stable::clone(held);
}

// A convolution and its norm as they come.
struct StageInputs {
  Tensor weight, norm_weight, norm_bias, mean, var;
  double eps;

  StageInputs(const Tensor& weight_in, const Tensor& norm_weight_in, const Tensor& norm_bias_in,
              const Tensor& mean_in, const Tensor& var_in, double eps_in, int64_t depth,
              const Tensor& features)
      : weight(weight_in),
        norm_weight(norm_weight_in),
        norm_bias(norm_bias_in),
        mean(mean_in),
        var(var_in),
        eps(eps_in) {
    STD_TORCH_CHECK(
        weight.dim() == 4 && weight.size(1) == depth && weight.size(2) == 3 && weight.size(3) == 3,
        kOp, ": weight must be (Cout, ", depth, ", 3, 3)");
    STD_TORCH_CHECK(columns() > 0 && columns() % kPiece == 0, kOp,
                    ": the cuda kernels take channels that are a multiple of ", kPiece, ", got ",
                    columns());
    weight = parameter("weight", weight, columns() * depth * kTaps, features);
    norm_weight = parameter("norm_weight", norm_weight, columns(), features);
    norm_bias = parameter("norm_bias", norm_bias, columns(), features);
    mean = parameter("running_mean", mean, columns(), features);
    var = parameter("running_var", var, columns(), features);
  }

  int64_t columns() const { return weight.size(0); }

  Stage stage(Workspace& workspace, const Tensor& mean_out, const Tensor& var_out) const {
    const int64_t depth = weight.size(1);
    return {reader(weight),
            reader(norm_weight),
            reader(norm_bias),
            reader(mean),
            reader(var),
            static_cast<float>(eps),
            static_cast<int>(columns()),
            static_cast<int>(depth),
            workspace.take<uint16_t>(kTaps * columns() * depth),
            workspace.take<float>(columns()),
            workspace.take<float>(columns()),
            mutable_data<float>(mean_out),
            mutable_data<float>(var_out)};
  }
};

// The environment may ask for one of both ways: for tests and benchmarks.
bool wants_group(const GroupPlan& plan) {
  constexpr const char* kVariable = "MESM_OPS_CUDA_BLOCK";
  const char* set = std::getenv(kVariable);
  const std::string_view asked = set == nullptr ? "auto" : set;
  STD_TORCH_CHECK(asked == "auto" || asked == "group" || asked == "launches", kOp, ": ", kVariable,
                  " must be auto, group or launches, got ", set == nullptr ? "" : set);
  const bool fits = plan.refusal == GroupRefusal::kNone;
  STD_TORCH_CHECK(fits || asked != "group", kOp, ": ", kVariable,
                  " asks for one kernel, which does not take this; `explain` says why");
  return fits && asked != "launches";
}

GroupPlan plan_on(int device, GroupCall call) {
  call.shared_limit = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  call.processors = device_attribute(cudaDevAttrMultiProcessorCount, device);
  return plan_group<Bfloat16>(call);  // float16 is as large
}

// Frames of a group that one kernel takes at once, or the GroupRefusal, below 0.
int64_t sparse_cross_modal_block_group(const Tensor& features, int64_t frames, int64_t height,
                                       int64_t width, int64_t middle, int64_t columns, double p,
                                       bool weighted) {
  const GroupPlan plan =
      plan_on(features.get_device_index(),
              {frames, height, width, features.size(1), middle, columns, p, weighted, 0, 0});
  return plan.refusal == GroupRefusal::kNone ? plan.shape.frames
                                             : -static_cast<int64_t>(plan.refusal);
}

using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                           Tensor, Tensor, Tensor, Tensor>;

Outputs sparse_cross_modal_block(
    const Tensor& features_in, const Tensor& sites_in, const Tensor& offsets_in, int64_t height,
    int64_t width, const Tensor& query_in, const std::optional<Tensor>& lengths_in,
    const Tensor& map_weight_in, const Tensor& map_bias_in, const Tensor& query_weight_in,
    const Tensor& score_weight_in, const Tensor& score_bias_in, const Tensor& weight1,
    const Tensor& norm_weight1, const Tensor& norm_bias1, const Tensor& running_mean1,
    const Tensor& running_var1, const Tensor& weight2, const Tensor& norm_weight2,
    const Tensor& norm_bias2, const Tensor& running_mean2, const Tensor& running_var2, double p,
    bool weighted, bool training, double eps1, double eps2, bool trim, bool keep) {
  STD_TORCH_CHECK(!training && !keep, kOp,
                  ": the cuda kernels are for inference: neither training ",
                  "nor what a backward pass needs");
  STD_TORCH_CHECK(!trim, kOp, ": trim waits for the device and is for the CPU only");
  const ScalarType dtype = features_in.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::BFloat16 || dtype == ScalarType::Half, kOp,
                  ": the cuda kernels take bfloat16 or float16 features, got ",
                  torch::headeronly::toString(dtype));
  STD_TORCH_CHECK(features_in.dim() == 2 && map_weight_in.dim() == 2 && query_in.dim() == 2, kOp,
                  ": features, map_weight and query must be of 2 dimensions");
  STD_TORCH_CHECK(p > 0, kOp, ": p must be in (0, 1], got ", p);
  STD_TORCH_CHECK(height >= 2 && width >= 2 && height <= INT16_MAX && width <= INT16_MAX, kOp,
                  ": maps must be at least 2 x 2 and at most 32767 a side");
  STD_TORCH_CHECK(offsets_in.numel() >= 1 && features_in.size(0) <= INT32_MAX, kOp,
                  ": offsets must not be empty, and rows at most 2^31 - 1");
  const torch::stable::accelerator::DeviceGuard guard(features_in.get_device_index());
  const int64_t rows = features_in.size(0);
  const int64_t channels = features_in.size(1);
  const int64_t frames = offsets_in.numel() - 1;
  const int64_t samples = query_in.size(0);
  const int64_t hidden = map_weight_in.size(0);
  const Tensor features = rows_of("features", features_in, channels, features_in);
  const Tensor sites = int32_tensor("sites", sites_in, features);
  const Tensor offsets = int32_tensor("offsets", offsets_in, features);
  STD_TORCH_CHECK(sites.numel() == rows, kOp, ": sites must have ", rows, " elements, got ",
                  sites.numel());
  const Tensor query = rows_of("query", query_in, query_in.size(1), features);
  const Tensor map_weight = rows_of("map_weight", map_weight_in, channels, features);
  const Tensor query_weight = rows_of("query_weight", query_weight_in, query.size(1), features);
  STD_TORCH_CHECK(hidden > 0 && query_weight.size(0) == hidden, kOp,
                  ": map_weight and query_weight must have equally many rows");
  const Tensor map_bias = parameter("map_bias", map_bias_in, hidden, features);
  const Tensor score_weight = parameter("score_weight", score_weight_in, hidden, features);
  const Tensor score_bias = parameter("score_bias", score_bias_in, 1, features);
  std::optional<Tensor> lengths;
  if (lengths_in.has_value()) {
    check_on_device("lengths", *lengths_in, features);
    STD_TORCH_CHECK((lengths_in->scalar_type() == ScalarType::Long ||
                     lengths_in->scalar_type() == ScalarType::Int) &&
                        lengths_in->numel() == samples,
                    kOp, ": lengths must be int64 or int32, one for each of ", samples, " queries");
    lengths = torch::stable::contiguous(*lengths_in);
  }
  STD_TORCH_CHECK(lengths.has_value() ? samples > 0 || frames == 0 : samples == frames, kOp,
                  ": there must be a query for each frame, or lengths");
  const StageInputs first(weight1, norm_weight1, norm_bias1, running_mean1, running_var1, eps1,
                          channels, features);
  const StageInputs second(weight2, norm_weight2, norm_bias2, running_mean2, running_var2, eps2,
                           first.columns(), features);

  const int64_t capacity = std::min(rows, frames * height * width);
  const int64_t out_rows = std::min(rows, frames * ((height / 2) * (width / 2)));
  const int64_t columns = second.columns();
  STD_TORCH_CHECK(capacity * (std::max(first.columns(), columns) / kPiece) <= INT32_MAX, kOp,
                  ": a convolution's result must have fewer than 2^34 elements");
  const auto moments = [&](const StageInputs& s) {
    return empty(features, {s.columns()}, ScalarType::Float);
  };
  const Tensor mean1 = moments(first), var1 = moments(first);
  const Tensor mean2 = moments(second), var2 = moments(second);
  const Tensor out = empty(features, {out_rows, columns}, dtype);
  const Tensor out_sites = empty(features, {out_rows}, ScalarType::Int);
  const Tensor out_offsets = empty(features, {frames + 1}, ScalarType::Int);
  const Tensor kept_rows_out = empty(features, {rows}, ScalarType::Int);
  const Tensor kept_offsets = empty(features, {frames + 1}, ScalarType::Int);
  const Maps maps{data<int32_t>(sites),         data<int32_t>(offsets),     frames, rows,
                  static_cast<int32_t>(height), static_cast<int32_t>(width)};
  const GroupPlan plan =
      plan_on(features.get_device_index(),
              {frames, height, width, channels, first.columns(), columns, p, weighted, 0, 0});
  const bool grouped = wants_group(plan);
  uint64_t* words = nullptr;  // of the look-back
  const int64_t words_bytes = (frames + 2) * static_cast<int64_t>(sizeof(uint64_t));
  const int depth = static_cast<int>(channels);
  const int query_depth = static_cast<int>(query.size(1));
  Workspace workspace;
  // What lies between the launches; one kernel has nothing there.
  const auto take = [&]<class T>(T, int64_t count) {
    return workspace.take<T>(grouped ? 0 : count);
  };
  const auto plan_call = [&]() -> Call {
    Call call{};
    if (grouped) words = workspace.take<uint64_t>(words_bytes / 8);
    call.stages[0] = first.stage(workspace, mean1, var1);
    call.stages[1] = second.stage(workspace, mean2, var2);
    const Tensor* vectors[kVectors] = {&map_bias, &score_weight, &score_bias};
    for (int v = 0; v < kVectors; ++v) {
      call.vectors.from[v] = reader(*vectors[v]);
      call.vectors.count[v] = vectors[v]->numel();
      call.vectors.to[v] = workspace.take<float>(vectors[v]->numel());
    }
    float* asked = workspace.take<float>(samples * hidden);
    call.asked = {make_product(data<uint16_t>(query), data<uint16_t>(query_weight), query_depth,
                               static_cast<int>(hidden)),
                  call.vectors.to[0], samples, asked};
    call.lengths = lengths.has_value() ? &*lengths : nullptr;
    call.ends = lengths.has_value() ? workspace.take<int32_t>(samples) : nullptr;
    call.select = {maps,
                   make_product(data<uint16_t>(features), data<uint16_t>(map_weight), depth,
                                static_cast<int>(hidden)),
                   asked,
                   call.vectors.to[1],
                   call.vectors.to[2],
                   call.ends,
                   samples,
                   p,
                   weighted,
                   take(int32_t(), rows),
                   take(float(), rows),
                   take(int32_t(), frames),
                   take(int32_t(), frames)};
    const int32_t* number = mutable_data<int32_t>(kept_offsets) + frames;
    call.places = {maps,
                   data<uint16_t>(features),
                   depth,
                   out_rows,
                   call.select.kept,
                   call.select.scale,
                   mutable_data<int32_t>(kept_offsets),
                   mutable_data<int32_t>(out_offsets),
                   weighted,
                   mutable_data<int32_t>(kept_rows_out),
                   take(uint16_t(), capacity * channels),
                   take(int32_t(), capacity * kTaps),
                   take(int32_t(), out_rows * 4),
                   mutable_data<int32_t>(out_sites)};
    const int64_t slots = (capacity + kPlanRows - 1) / kPlanRows * kPlanRows;
    call.plan = {call.places.neighbours, number, capacity, take(int32_t(), slots),
                 take(uint32_t(), slots / kSubtile)};
    call.convolved[0] = take(uint16_t(), capacity * first.columns());
    call.convolved[1] = take(uint16_t(), capacity * columns);
    call.pool = {
        call.convolved[1], call.places.windows,       mutable_data<int32_t>(out_offsets) + frames,
        out_rows,          static_cast<int>(columns), mutable_data<uint16_t>(out)};
    call.device = features.get_device_index();
    call.processors = device_attribute(cudaDevAttrMultiProcessorCount, call.device);
    call.shared_limit = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, call.device);
    call.stream = current_stream(features);
    return call;
  };
  plan_call();
  const Tensor memory = empty(features, {workspace.used()}, ScalarType::Byte);
  workspace.restart(memory.mutable_data_ptr());
  const Call call = plan_call();
  if (grouped) check_cuda("memory", cudaMemsetAsync(words, 0, words_bytes, call.stream));
  const auto launch_all = [&](auto element) {
    using E = decltype(element);
    launch_prepare<E>(call);
    if (grouped) return launch_group<E>(call, plan, words);
    launch<E>(call);
  };
  if (dtype == ScalarType::BFloat16) {
    launch_all(Bfloat16());
  } else {
    launch_all(Float16());
  }
  check_launch(kOp, "forward");
  const auto none = [&](ScalarType type) { return empty(features, {0}, type); };
  return {out,         out_sites,   out_offsets,          mean1,        var1,
          mean2,       var2,        kept_rows_out,        kept_offsets, none(ScalarType::Float),
          none(dtype), none(dtype), none(ScalarType::Int)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mesm_ops_cuda, CUDA, m) {
  m.impl("sparse_cross_modal_block", TORCH_BOX(&sparse_cross_modal_block));
  m.impl("sparse_cross_modal_block_group", TORCH_BOX(&sparse_cross_modal_block_group));
}

}  // namespace mesm_ops
