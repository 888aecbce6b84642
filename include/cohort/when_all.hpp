#pragma once

#include <cohort/detail/as_task.hpp>
#include <cohort/detail/branches.hpp>
#include <cohort/task.hpp>

#include <cstddef>   // for std::size_t
#include <iterator>  // for std::make_move_iterator
#include <ranges>    // for std::ranges::input_range
#include <tuple>     // for std::tuple
#include <utility>   // for std::index_sequence
#include <vector>    // for std::vector

namespace cohort {

namespace detail {

template <class... Branches, std::size_t... Index>
Task<std::tuple<BranchValue<typename Branches::value_type>...>> when_all_of(std::index_sequence<Index...>,
                                                                            Branches... branches) {
  StateBase* states[] = {TaskAccess::state(branches)...};
  co_await AllOf(states, sizeof...(Branches));
  co_return std::tuple<BranchValue<typename Branches::value_type>...>(
      take_branch<typename Branches::value_type>(*states[Index])...);
}

template <class T>
Task<std::vector<BranchValue<T>>> when_all_in(std::vector<Task<T>> branches) {
  std::vector<StateBase*> states;
  states.reserve(branches.size());
  for (const Task<T>& branch : branches) states.push_back(TaskAccess::state(branch));
  co_await AllOf(states.data(), states.size());
  std::vector<BranchValue<T>> values;
  values.reserve(states.size());
  for (StateBase* state : states) values.push_back(take_branch<T>(*state));
  co_return values;
}

}  // namespace detail

/// Awaits several things at once: `auto [a, b] = …` of a tuple of their values, in the order given.
///
///     auto both = co_await cohort::when_all(fetch(1), fetch(2));   // std::tuple
///
/// They run concurrently on the current executor. It waits for all of them, and then throws the exception that came
/// first, if any did. Void becomes `std::monostate`, a reference `std::reference_wrapper`.
///
/// *Cancellation*: the children share the awaiting task's stop token.
/// *Lifetime*: awaitables given as rvalues are kept; futures given as lvalues are copied.
/// *Complexity*: one small coroutine around it, and one around each awaitable that is not a Task.
template <class... Awaitables>
requires(sizeof...(Awaitables) > 0 && (detail::AwaitableAsTask<Awaitables> && ...))
    [[nodiscard]] auto when_all(Awaitables&&... awaitables) {
  return detail::when_all_of(std::index_sequence_for<Awaitables...>(),
                             detail::as_task(std::forward<Awaitables>(awaitables))...);
}

/// Of nothing: an empty tuple.
[[nodiscard]] inline Task<std::tuple<>> when_all() { co_return std::tuple<>(); }

/// The same for a range of awaitables of one type; a vector of their values. An rvalue range is taken apart.
template <std::ranges::input_range Range>
requires(detail::AwaitableAsTask<detail::RangeElement<Range>> && !detail::AwaitableAsTask<Range>)
    [[nodiscard]] auto when_all(Range&& range) {
  return detail::when_all_in(detail::make_tasks(
      std::forward<Range>(range), [](auto&& each) { return detail::as_task(std::forward<decltype(each)>(each)); }));
}

}  // namespace cohort
