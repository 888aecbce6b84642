#pragma once

#include <cohort/detail/as_task.hpp>
#include <cohort/detail/branches.hpp>
#include <cohort/detail/scope.hpp>
#include <cohort/task.hpp>

#include <cstddef>      // for std::size_t
#include <ranges>       // for std::ranges::input_range
#include <tuple>        // for std::tuple_element_t
#include <type_traits>  // for std::is_same_v
#include <utility>      // for std::in_place_index
#include <variant>      // for std::variant
#include <vector>       // for std::vector

namespace cohort {

/// Which awaitable was first, and what it gave.
template <class Value>
struct WhenAnyResult {
  std::size_t index;
  Value value;
};

namespace detail {

template <class First, class... Rest>
struct AnyValueOf {
  static constexpr bool is_same = (std::is_same_v<First, Rest> && ...);
  using type = std::conditional_t<is_same, BranchValue<First>, std::variant<BranchValue<First>, BranchValue<Rest>...>>;
};

/// The value of the branch that was first; throws its exception.
template <class... T, std::size_t... Index>
typename AnyValueOf<T...>::type take_any(StateBase* const* states, std::size_t first, std::index_sequence<Index...>) {
  using Value = typename AnyValueOf<T...>::type;
  if constexpr (AnyValueOf<T...>::is_same) {
    using Only = std::tuple_element_t<0, std::tuple<T...>>;
    return take_branch<Only>(*states[first]);
  } else {
    using Take = Value (*)(StateBase&);
    static constexpr Take take[] = {
        [](StateBase& state) { return Value(std::in_place_index<Index>, take_branch<T>(state)); }...};
    return take[first](*states[first]);
  }
}

template <class... Branches, std::size_t... Index>
Task<WhenAnyResult<typename AnyValueOf<typename Branches::value_type...>::type>> when_any_of(
    std::index_sequence<Index...> indices, Branches... branches) {
  StateBase* states[] = {TaskAccess::state(branches)...};
  const std::size_t first = co_await FirstOf(states, sizeof...(Branches));
  co_return WhenAnyResult<typename AnyValueOf<typename Branches::value_type...>::type>{
      first, take_any<typename Branches::value_type...>(states, first, indices)};
}

template <class T>
Task<WhenAnyResult<BranchValue<T>>> when_any_in(std::vector<Task<T>> branches) {
  std::vector<StateBase*> states;
  states.reserve(branches.size());
  for (const Task<T>& branch : branches) states.push_back(TaskAccess::state(branch));
  const std::size_t first = co_await FirstOf(states.data(), states.size());
  co_return WhenAnyResult<BranchValue<T>>{first, take_branch<T>(*states[first])};
}

}  // namespace detail

/// Awaits several things at once, until the first of them has ended: `index` and `value` of that one.
///
///     auto first = co_await cohort::when_any(fetch(1), fetch(2));   // first.index, first.value
///
/// The others are asked to stop, and it waits for them: one that does not listen to its stop token delays the result. A
/// future's task is asked too. `value` is a variant where types differ, with one alternative per argument. If the first
/// to end fails, its exception is thrown.
///
/// *Cancellation*: a stop of the awaiting task is passed on to all of them; each has a stop token of its own.
/// *Lifetime*, *Complexity*: as when_all().
template <class... Awaitables>
requires(sizeof...(Awaitables) > 0 && (detail::AwaitableAsTask<Awaitables> && ...))
    [[nodiscard]] auto when_any(Awaitables&&... awaitables) {
  return detail::when_any_of(std::index_sequence_for<Awaitables...>(),
                             detail::as_stoppable_task(std::forward<Awaitables>(awaitables))...);
}

/// The same for a range of awaitables of one type. An rvalue range is taken apart.
/// *Throws*: `std::invalid_argument` when it is empty, at the call.
template <std::ranges::input_range Range>
requires(detail::AwaitableAsTask<detail::RangeElement<Range>> && !detail::AwaitableAsTask<Range>)
    [[nodiscard]] auto when_any(Range&& range) {
  auto tasks = detail::make_tasks(std::forward<Range>(range), [](auto&& each) {
    return detail::as_stoppable_task(std::forward<decltype(each)>(each));
  });
  if (tasks.empty()) detail::throw_invalid_argument("when_any needs at least one awaitable");
  return detail::when_any_in(std::move(tasks));
}

}  // namespace cohort
