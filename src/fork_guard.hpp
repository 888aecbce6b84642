#pragma once

#include <cstdint>  // for std::uint64_t

namespace cohort::detail {

// How many forks lie between the first process and this one. A pool of an earlier generation has no threads here.
[[nodiscard]] std::uint64_t fork_generation() noexcept;

}  // namespace cohort::detail
