#include <cohort/as_completed.hpp>
#include <cohort/wait.hpp>

#include <string>  // for std::to_string

namespace cohort::detail {

void throw_unfinished(std::size_t unfinished, std::size_t total) {
  throw TimeoutError(std::to_string(unfinished) + " (of " + std::to_string(total) + ") futures unfinished");
}

Task<bool> wait_for_set(CompletionSet& set, WaitOptions options) {
  const TimePoint deadline = options.timeout.has_value() ? deadline_after(*options.timeout) : TimePoint::max();
  if (set.size() == 0) co_return true;
  if (options.return_when != WaitStrategy::first_exception) {
    const std::size_t wanted = options.return_when == WaitStrategy::all_completed ? set.size() : 1;
    const bool in_time = co_await CompletionSet::Ready(set, wanted, deadline);
    co_return in_time;
  }
  while (!set.exhausted()) {
    const bool in_time = co_await CompletionSet::Ready(set, 1, deadline);
    if (!in_time) co_return false;
    const Outcome outcome = set.look().outcome.load(std::memory_order_relaxed);  // relaxed: it is done
    if (outcome == Outcome::exception || outcome == Outcome::cancelled) co_return true;
  }
  co_return true;
}

}  // namespace cohort::detail
