#pragma once

#include <cstddef>  // for std::size_t

namespace cohort::detail {

/// What different threads write lies so far apart, or each write takes from the others what they read. Not
/// `std::hardware_destructive_interference_size`: that changes with the compiler's flags, and every layout with it.
inline constexpr std::size_t cache_line_size = 64;

}  // namespace cohort::detail
