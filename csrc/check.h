// Refusals that users see: no file or function is named, as STD_TORCH_CHECK does.
#pragma once

#include <sstream>
#include <stdexcept>

namespace mesm_ops {

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream text;
  ((text << parts), ...);
  throw std::runtime_error(text.str());
}

}  // namespace mesm_ops

// MESM_CHECK(rows >= 0, op, ": rows must not be negative, got ", rows)
#define MESM_CHECK(condition, ...)                     \
  do {                                                 \
    if (!(condition)) ::mesm_ops::refuse(__VA_ARGS__); \
  } while (false)
