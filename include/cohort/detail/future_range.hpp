#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/completion_set.hpp>
#include <cohort/detail/state.hpp>

#include <ranges>       // for std::ranges::forward_range
#include <type_traits>  // for std::remove_cvref_t
#include <vector>       // for std::vector

namespace cohort::detail {

/// A range of futures of one type.
template <class Range>
concept FutureRange = std::ranges::input_range<Range> && is_future<std::ranges::range_reference_t<Range>>;

template <FutureRange Range>
using FutureValue = typename std::remove_cvref_t<std::ranges::range_reference_t<Range>>::value_type;

/// Handles of a range's futures: theirs, if it is an rvalue that owns them and lets go of them, else copies. *Throws*:
/// `std::future_error(no_state)` for one that is not valid.
template <FutureRange Range>
[[nodiscard]] Handles handles_of(Range&& range) {
  constexpr bool owned = !std::is_lvalue_reference_v<Range> && !std::ranges::view<std::remove_cvref_t<Range>> &&
                         !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<Range>>>;
  Handles handles;
  // Where copies are made of handles that stay, those are two more for one that is in twice.
  if (!owned && std::ranges::forward_range<Range> && std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>>)
    handles.if_twice = 3;
  if constexpr (std::ranges::sized_range<Range>)
    handles.states.reserve(static_cast<std::size_t>(std::ranges::size(range)));
  for (auto&& future : range) {
    StateBase*& state = handles.states.emplace_back(nullptr);  // first: what may throw has nothing to lose
    if constexpr (owned) {
      state = &FutureAccess::release(std::move(future));
    } else {
      state = &FutureAccess::state(future);
      state->add_handle();
    }
  }
  return handles;
}

}  // namespace cohort::detail
