#pragma once

#include <thread>  // for std::jthread

/// The threads that go with sync.hpp: apart from it, since the public headers need none.
namespace cohort::detail::sync {

using std::jthread;

/// Lets other threads run.
inline void yield() noexcept { std::this_thread::yield(); }

/// How often a thread that is about to sleep looks again: see look_for_a_while.hpp.
inline constexpr int looks_before_sleep = 50;

}  // namespace cohort::detail::sync
