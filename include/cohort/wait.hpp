#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/completion_set.hpp>
#include <cohort/detail/future_range.hpp>
#include <cohort/duration.hpp>
#include <cohort/task.hpp>

#include <optional>  // for std::optional
#include <utility>   // for std::exchange
#include <vector>    // for std::vector

namespace cohort {

/// When wait() has waited long enough.
enum class WaitStrategy {
  all_completed,    ///< All futures are done.
  first_completed,  ///< At least one is.
  first_exception,  ///< At least one has failed or was cancelled; when none does: all are done.
};

/// How wait() waits.
struct WaitOptions {
  /// At most this long, from when it is awaited.
  std::optional<Duration> timeout = {};
  WaitStrategy return_when = WaitStrategy::all_completed;
};

/// What wait() gives: the futures, each once, in input order.
template <class T>
struct WaitResult {
  std::vector<AsyncFuture<T>> done;
  std::vector<AsyncFuture<T>> not_done;
};

namespace detail {

/// Waits as the options say; whether that was before the deadline.
Task<bool> wait_for_set(CompletionSet& set, WaitOptions options);

template <class T>
Task<WaitResult<T>> wait_for_futures(CompletionSetOwner set, WaitOptions options) {
  const bool in_time = co_await wait_for_set(*set, options);
  if (!in_time && options.return_when == WaitStrategy::all_completed)
    throw_timeout("not all futures were done in time");
  const bool all_done = options.return_when == WaitStrategy::all_completed;
  Handles handles = set->take_all();
  WaitResult<T> result;
  if (all_done) result.done.reserve(handles.states.size());
  for (StateBase*& handle : handles.states) {
    auto& futures = all_done || handle->done() ? result.done : result.not_done;
    futures.push_back(FutureAccess::adopt<T>(*std::exchange(handle, nullptr)));
  }
  co_return result;
}

}  // namespace detail

/// Waits for futures, by a strategy: `co_await cohort::wait(futures, {.return_when = WaitStrategy::first_completed})`.
///
/// Every future that is done at that moment is in `done`. The handles of an rvalue container are taken, others copied.
/// Waiting never cancels and can be done again; no futures: it returns at once.
/// *Throws*: at the call, `std::future_error(no_state)` for a future that is not valid. When awaited: with
/// `all_completed`, TimeoutError past the timeout; the other strategies return what there is.
/// *Cancellation*: a cancellation point; what is abandoned leaves nothing behind.
/// *Complexity*: O(1) per future.
template <detail::FutureRange Futures>
[[nodiscard]] Task<WaitResult<detail::FutureValue<Futures>>> wait(Futures&& futures, WaitOptions options = {}) {
  detail::CompletionSetOwner set(detail::CompletionSet::create(detail::handles_of(std::forward<Futures>(futures))));
  return detail::wait_for_futures<detail::FutureValue<Futures>>(std::move(set), options);
}

}  // namespace cohort
