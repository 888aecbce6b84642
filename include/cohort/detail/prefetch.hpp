#pragma once

#include <cohort/detail/cache_line.hpp>

namespace cohort::detail {

/// Has the cache lines of the bytes from `begin` to `end` around `place` fetched, while something else is done. The place
/// may be nothing, or gone.
template <int begin, int end>
void prefetch(const void* place) noexcept {
  if (place == nullptr) return;
  for (int offset = begin; offset < end; offset += static_cast<int>(cache_line_size))
    __builtin_prefetch(static_cast<const char*>(place) + offset);
}

}  // namespace cohort::detail
