#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/state.hpp>

#include <ranges>       // for std::ranges::input_range
#include <type_traits>  // for std::remove_cvref_t
#include <vector>       // for std::vector

namespace cohort::detail {

/// A range of futures of one type.
template <class Range>
concept FutureRange = std::ranges::input_range<Range> && is_future<std::ranges::range_reference_t<Range>>;

template <FutureRange Range>
using FutureValue = typename std::remove_cvref_t<std::ranges::range_reference_t<Range>>::value_type;

/// The futures' states, with a handle of their own to each. *Throws*: `std::future_error(no_state)` for one that is not
/// valid.
template <FutureRange Range>
[[nodiscard]] std::vector<StateBase*> handles_of(Range&& range) {
  using Future = AsyncFuture<FutureValue<Range>>;
  std::vector<Future> futures;
  if constexpr (std::ranges::sized_range<Range>) futures.reserve(static_cast<std::size_t>(std::ranges::size(range)));
  for (auto&& future : range) {
    static_cast<void>(FutureAccess::state(future));
    futures.push_back(future);
  }
  std::vector<StateBase*> handles;
  handles.reserve(futures.size());
  for (Future& future : futures) handles.push_back(&FutureAccess::release(std::move(future)));
  return handles;
}

}  // namespace cohort::detail
