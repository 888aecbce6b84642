#pragma once

#include <thread>  // for std::jthread

/// The threads that go with sync.hpp: apart from it, since the public headers need none.
namespace cohort::detail::sync {

using std::jthread;

/// Lets other threads run.
inline void yield() noexcept { std::this_thread::yield(); }

}  // namespace cohort::detail::sync
