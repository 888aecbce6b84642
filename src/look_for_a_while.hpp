#pragma once

#include <cohort/detail/sync.hpp>
#include <cohort/detail/sync_thread.hpp>

#include <chrono>  // for std::chrono::microseconds

namespace cohort::detail {

// What a thread does before it sleeps: `look()` again and again, some twenty microseconds, until that is true. To
// sleep and to be woken costs both sides about as much. It yields in between, for the one it waits for may need this very
// processor; if that took long, others need it too.
template <class Look>
bool look_for_a_while(Look look) {
  if (look()) return true;
  const TimePoint end = sync::now() + std::chrono::microseconds(50);
  for (int again = 0; again < sync::looks_before_sleep && sync::now() < end; ++again) {
    sync::yield();
    if (look()) return true;
  }
  return false;
}

}  // namespace cohort::detail
