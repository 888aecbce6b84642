#pragma once

// What the calling thread has done that costs more than plain instructions.

#include <cstddef>  // for std::size_t

namespace costs {

struct Counts {
  std::size_t locked = 0;        // read-modify-writes and sequentially consistent stores
  std::size_t locks = 0;         // mutexes locked
  std::size_t system_calls = 0;  // waits and notifications, of which each may be one
  std::size_t allocations = 0;   // calls of operator new

  friend bool operator==(const Counts&, const Counts&) = default;
};

inline constinit thread_local Counts counts{};

}  // namespace costs
