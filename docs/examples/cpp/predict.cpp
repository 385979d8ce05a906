// predict MODEL.pt2 CLIP.safetensors: the probability of each emotion, by a package of `mesm
// export` and without Python.
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cctype>
#include <cstdio>
#include <exception>
#include <sstream>

#include "safetensors.h"

namespace {

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

[[noreturn]] void throw_unlike(const std::string& line, const at::Tensor& got,
                               const std::string& file) {
  std::ostringstream said;
  said << file << ": wanted " << line << ", got " << got.scalar_type() << ' ' << got.sizes();
  if (line.find('=') != std::string::npos) said << " of " << got.sum().item<double>() << " in all";
  throw std::runtime_error(said.str());
}

// The input that a line "NAME DTYPE SIZE..." describes. A size is a number or a name, which stands
// for one size everywhere, at least 1 unless it ends in *; after a = for the sum of the values.
// A package checks nothing itself: it would read beyond a tensor that is too small.
at::Tensor checked(const std::string& line, std::map<std::string, at::Tensor>& clip,
                   std::map<std::string, int64_t>& sizes, const std::string& file) {
  std::istringstream words(line);
  std::string name, dtype, size;
  words >> name >> dtype;
  const at::Tensor tensor = named(clip, name, file);
  bool fits = tensor.scalar_type() == dtype_of(dtype);
  int64_t axis = 0;
  while (fits && words >> size) {
    const bool sum = size[0] == '=';
    const std::string key = size.substr(sum);
    if (!sum && axis == tensor.dim()) throw_unlike(line, tensor, file);
    const int64_t got = sum ? tensor.sum().item<int64_t>() : tensor.size(axis++);
    const int64_t wanted =
        std::isdigit(key[0]) ? std::stoll(key) : sizes.emplace(key, got).first->second;
    fits = got == wanted && got >= (key.back() == '*' ? 0 : 1) &&
           (!sum || tensor.ge(0).all().item<bool>());
  }
  if (!fits || axis != tensor.dim()) throw_unlike(line, tensor, file);
  return tensor;
}

}  // namespace

int main(int count, char** words) try {
  if (count != 3) throw std::runtime_error("wanted predict MODEL.pt2 CLIP.safetensors");
  torch::inductor::AOTIModelPackageLoader model(words[1]);
  auto said = model.get_metadata();
  auto clip = read_tensors(words[2]);
  std::vector<at::Tensor> inputs;
  std::map<std::string, int64_t> sizes;
  for (const auto& line : texts_of(named(said, "sizes", words[1])))
    inputs.push_back(checked(line, clip, sizes, words[2]));
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
