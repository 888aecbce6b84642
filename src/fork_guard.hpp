#pragma once

#include <cstdint>  // for std::uint64_t

namespace cohort::detail {

// pthread_atfork, where there is such a thing: who is called before a process forks, and after it in each of the two, from
// now on and for ever. Its constructor throws std::bad_alloc, the only thing that can be wrong: where it is a static the next
// call tries again.
struct AtFork {
  AtFork(void (*before)(), void (*in_parent)(), void (*in_child)());
};

// How many forks lie between the first process and this one. A pool of an earlier generation has no threads here.
[[nodiscard]] std::uint64_t fork_generation() noexcept;

// The same, for who is made now and will ask: from now on forks are counted. Throws std::bad_alloc.
[[nodiscard]] std::uint64_t watch_fork_generation();

}  // namespace cohort::detail
