#pragma once

#include <cohort/async_future.hpp>
#include <cohort/detail/awaitable.hpp>
#include <cohort/stop_token.hpp>
#include <cohort/task.hpp>

#include <functional>   // for std::reference_wrapper
#include <ranges>       // for std::ranges::range_reference_t
#include <type_traits>  // for std::decay_t
#include <utility>      // for std::forward
#include <variant>      // for std::monostate
#include <vector>       // for std::vector

namespace cohort::detail {

/// What a value of type T is where it must be an object.
template <class T>
struct BranchValueOf {
  using type = T;
};
template <class T>
struct BranchValueOf<T&> {
  using type = std::reference_wrapper<T>;
};
template <>
struct BranchValueOf<void> {
  using type = std::monostate;
};
template <class T>
using BranchValue = typename BranchValueOf<T>::type;

template <class T>
BranchValue<T> take_branch(StateBase& state) {
  if constexpr (std::is_void_v<T>) {
    take_result<T>(state);
    return {};
  } else {
    return take_result<T>(state);
  }
}

/// The same of one that shared its parent's scope, and is over then.
template <class T>
BranchValue<T> take_last_branch(Task<T>& branch) {
  StateBase& state = *TaskAccess::release(branch);
  if constexpr (std::is_void_v<T>) {
    take_last_result<T>(state);
    return {};
  } else {
    return take_last_result<T>(state);
  }
}

template <class A>
using AwaitedValue =
    std::conditional_t<std::is_rvalue_reference_v<AwaitResult<A>>, std::remove_cvref_t<AwaitResult<A>>, AwaitResult<A>>;

/// Something that can be made a task of: kept, if an rvalue or copyable, and awaited as an rvalue.
template <class A>
concept AwaitableAsTask = (is_task<A> && !std::is_lvalue_reference_v<A>) || (!is_task<A> && Awaitable<std::decay_t<A>>);

template <class A>
Task<AwaitedValue<A>> await_later(A awaitable) {
  if constexpr (std::is_void_v<AwaitResult<A>>) {
    co_await std::move(awaitable);
  } else {
    co_return co_await std::move(awaitable);
  }
}

template <class T>
void require_valid(const Task<T>& task) {
  if (!task.valid()) throw_invalid_argument("a task must not have been moved from, awaited or submitted already");
}

template <class A>
[[nodiscard]] auto as_task(A&& awaitable) {
  if constexpr (is_task<A>) {
    require_valid(awaitable);
    return std::remove_cvref_t<A>(std::forward<A>(awaitable));
  } else {
    return await_later<std::decay_t<A>>(std::forward<A>(awaitable));
  }
}

/// The elements of a range, as as_task() is given them: moved from if the range is an rvalue.
template <class Range>
using RangeElement = std::conditional_t<std::is_lvalue_reference_v<Range>, std::ranges::range_reference_t<Range>,
                                        std::ranges::range_rvalue_reference_t<Range>>;

/// Each element of a range made a task by `make`.
template <class Range, class Make>
[[nodiscard]] auto make_tasks(Range&& range, Make make) {
  std::vector<decltype(make(std::declval<RangeElement<Range>>()))> tasks;
  if constexpr (std::ranges::sized_range<Range>) tasks.reserve(static_cast<std::size_t>(std::ranges::size(range)));
  auto end = std::ranges::end(range);
  for (auto iterator = std::ranges::begin(range); iterator != end; ++iterator) {
    if constexpr (std::is_lvalue_reference_v<Range>) {
      tasks.push_back(make(*iterator));
    } else {
      tasks.push_back(make(std::ranges::iter_move(iterator)));
    }
  }
  return tasks;
}

/// A task that awaits a future; asked to stop, it asks the future's task, and still waits for it.
template <class T>
Task<T> await_or_cancel(AsyncFuture<T> future) {
  std::stop_token token = co_await get_stop_token();
  future.cancel_when(std::move(token));
  co_await Settled(FutureAccess::state(future), TimePoint::max(), Settled::Cancellable::no);
  co_return std::move(future).get();
}

/// As as_task(), for one of several of which only the first counts.
template <class A>
[[nodiscard]] auto as_stoppable_task(A&& awaitable) {
  if constexpr (is_future<A>) {
    return await_or_cancel(AsyncFuture(std::forward<A>(awaitable)));
  } else {
    return as_task(std::forward<A>(awaitable));
  }
}

}  // namespace cohort::detail
