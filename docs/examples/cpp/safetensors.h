// Reads tensors from a safetensors file.
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

inline at::ScalarType dtype_of(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "I64") return at::kLong;
  if (name == "BOOL") return at::kBool;
  throw std::runtime_error("no input of a model has the dtype " + name);
}

// A safetensors file: the length of its header, the header in JSON, and the tensors' bytes.
inline std::map<std::string, at::Tensor> read_tensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  if (all.size() < 8) throw std::runtime_error(path + ": no safetensors file");
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(all[i]);
  if (length > all.size() - 8) throw std::runtime_error(path + ": cut off");
  const std::string header = all.substr(8, length);
  const std::string bytes = all.substr(8 + length);
  static const std::regex kTensor(
      "\"([^\"]+)\":\\{\"dtype\":\"(\\w+)\",\"shape\":\\[([\\d,]*)\\],"
      "\"data_offsets\":\\[(\\d+),(\\d+)\\]\\}");
  static const std::regex kNumber("\\d+");
  std::map<std::string, at::Tensor> tensors;
  for (std::sregex_iterator at(header.begin(), header.end(), kTensor), end; at != end; ++at) {
    const std::string shape = (*at)[3];
    std::vector<int64_t> sizes;
    for (std::sregex_iterator n(shape.begin(), shape.end(), kNumber), last; n != last; ++n)
      sizes.push_back(std::stoll(n->str()));
    at::Tensor tensor = at::empty(sizes, dtype_of((*at)[2]));
    const uint64_t begin = std::stoull((*at)[4]), stop = std::stoull((*at)[5]);
    if (stop > bytes.size() || begin > stop || stop - begin != tensor.nbytes())
      throw std::runtime_error(path + ": cut off");
    std::copy(bytes.begin() + begin, bytes.begin() + stop, static_cast<char*>(tensor.data_ptr()));
    tensors[(*at)[1]] = tensor;
  }
  return tensors;
}
