#pragma once

#include <cohort/detail/as_task.hpp>
#include <cohort/detail/branches.hpp>
#include <cohort/task.hpp>

#include <array>     // for std::array
#include <cstddef>   // for std::size_t
#include <iterator>  // for std::make_move_iterator
#include <ranges>    // for std::ranges::input_range
#include <tuple>     // for std::tuple
#include <utility>   // for std::index_sequence
#include <vector>    // for std::vector

namespace cohort {

namespace detail {

/// What `when_all()` returns: awaits all of `Tasks` and gives a tuple.
template <class... Tasks>
class [[nodiscard]] WhenAll {
 public:
  using Value = std::tuple<BranchValue<typename Tasks::value_type>...>;

  class Awaiter : public AllOf::Awaiter {
   public:
    Awaiter(WhenAll& all, StateBase& parent) noexcept
        : AllOf::Awaiter(all.states_.data(), sizeof...(Tasks), parent), all_(&all) {}
    Value await_resume() {
      AllOf::Awaiter::await_resume();
      return all_->take(std::index_sequence_for<Tasks...>());
    }

   private:
    WhenAll* all_;
  };

  explicit WhenAll(Tasks... branches)
      : branches_(std::move(branches)...),
        states_(std::apply([](const auto&... each) { return States{TaskAccess::state(each)...}; }, branches_)) {}

  [[nodiscard]] Awaiter bind(StateBase* parent) && noexcept { return Awaiter(*this, *parent); }
  /// For a stranger's coroutine, and for those who want a Task.
  [[nodiscard]] TaskAwaiter<Value> operator co_await() && { return Task<Value>(std::move(*this)).operator co_await(); }
  operator Task<Value>() && { return await_later<WhenAll>(std::move(*this)); }  // NOLINT: not explicit, as it was one

 private:
  using States = std::array<StateBase*, sizeof...(Tasks)>;

  template <std::size_t... Index>
  Value take(std::index_sequence<Index...>) {
    return Value(take_last_branch(std::get<Index>(branches_))...);
  }

  std::tuple<Tasks...> branches_;
  States states_;
};

template <class T>
Task<std::vector<BranchValue<T>>> when_all_in(std::vector<Task<T>> branches) {
  std::vector<StateBase*> states;
  states.reserve(branches.size());
  for (const Task<T>& branch : branches) states.push_back(TaskAccess::state(branch));
  co_await AllOf(states.data(), states.size());
  std::vector<BranchValue<T>> values;
  values.reserve(states.size());
  for (Task<T>& branch : branches) values.push_back(take_last_branch(branch));
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
/// *Complexity*: allocates nothing; but for one small coroutine around each awaitable that is not a Task.
template <class... Awaitables>
requires(sizeof...(Awaitables) > 0 && (detail::AwaitableAsTask<Awaitables> && ...))
    [[nodiscard]] auto when_all(Awaitables&&... awaitables) {
  return detail::WhenAll(detail::as_task(std::forward<Awaitables>(awaitables))...);
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

/// The same; a vector of tasks is taken as it is.
template <class T>
[[nodiscard]] auto when_all(std::vector<Task<T>>&& tasks) {
  for (const Task<T>& task : tasks) detail::require_valid(task);
  return detail::when_all_in(std::move(tasks));
}

}  // namespace cohort
