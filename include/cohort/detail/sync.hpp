#pragma once

#include <cohort/duration.hpp>

#include <atomic>              // for std::atomic
#include <chrono>              // for std::chrono::steady_clock
#include <condition_variable>  // for std::condition_variable
#include <mutex>               // for std::mutex

/// What threads meet in, and the clock: the library's atomics, mutexes and condition variables are these, and its
/// threads those of sync_thread.hpp.
///
/// They are the standard's. A test that decides which thread takes the next step compiles the library with headers of
/// its own in place of these two, the same names in them, by putting them first in the include path.
namespace cohort::detail::sync {

using std::atomic;
using std::condition_variable;
using std::mutex;

/// The time.
[[nodiscard]] inline TimePoint now() noexcept { return std::chrono::steady_clock::now(); }

}  // namespace cohort::detail::sync
