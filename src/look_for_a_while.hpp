#pragma once

#include <cohort/detail/sync.hpp>
#include <cohort/detail/sync_thread.hpp>

#include <chrono>  // for std::chrono::microseconds

namespace cohort::detail {

// What a thread does before it sleeps: `look()` again and again, some twenty microseconds, until it gives something. To
// sleep and to be woken costs both sides about as much. It yields in between, for the one it waits for may need this very
// processor; if that took long, others need it too.
template <class Look>
auto look_for_a_while(Look look) -> decltype(look()) {
  auto found = look();
  if (found) return found;
  const TimePoint end = sync::now() + std::chrono::microseconds(50);
  for (int again = 0; again < sync::looks_before_sleep && sync::now() < end; ++again) {
    sync::yield();
    found = look();
    if (found) break;
  }
  return found;
}

}  // namespace cohort::detail
