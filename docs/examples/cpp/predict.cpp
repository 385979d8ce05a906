// predict MODEL.pt2 CLIP.safetensors: the probability of each emotion, by a package of `mesm
// export` and without Python.
#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

at::ScalarType dtype_of(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "I64") return at::kLong;
  if (name == "BOOL") return at::kBool;
  throw std::runtime_error("no input of a model has the dtype " + name);
}

// The texts between quotation marks in a list in JSON.
std::vector<std::string> texts_of(const std::string& list) {
  static const std::regex kText("\"([^\"]*)\"");
  std::vector<std::string> found;
  for (std::sregex_iterator at(list.begin(), list.end(), kText), end; at != end; ++at)
    found.push_back((*at)[1]);
  return found;
}

// The value under a name, or an error that says what is there instead, and the mend.
template <typename Map>
auto& named(Map& all, const std::string& name, const std::string& file) {
  const auto found = all.find(name);
  if (found != all.end()) return found->second;
  std::string there;
  for (const auto& [other, _] : all) there += (there.empty() ? "" : ", ") + other;
  throw std::runtime_error(file + ": wanted " + name + ", got " + (there.empty() ? "none" : there) +
                           "; take both files from one mesm export --clip");
}

// A safetensors file: the length of its header, the header in JSON, and the tensors' bytes.
std::map<std::string, at::Tensor> read_tensors(const std::string& path) {
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

}  // namespace

int main(int count, char** words) try {
  if (count != 3) throw std::runtime_error("wanted predict MODEL.pt2 CLIP.safetensors");
  torch::inductor::AOTIModelPackageLoader model(words[1]);
  auto said = model.get_metadata();
  const auto clip = read_tensors(words[2]);
  std::vector<at::Tensor> inputs;
  for (const auto& name : texts_of(named(said, "inputs", words[1])))
    inputs.push_back(named(clip, name, words[2]));
  const at::Tensor probabilities = model.run(inputs).at(1);
  const auto emotions = texts_of(named(said, "emotions", words[1]));
  for (size_t i = 0; i < emotions.size(); ++i)
    std::printf("%s %.9f\n", emotions[i].c_str(), probabilities[0][i].item<double>());
  return 0;
} catch (const std::exception& error) {
  const std::string said = error.what();  // of LibTorch, with a trace of its calls
  std::fprintf(stderr, "predict: %s\n", said.substr(0, said.find('\n')).c_str());
  return 1;
}
