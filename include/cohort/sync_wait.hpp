#pragma once

#include <cohort/async_executor.hpp>
#include <cohort/detail/as_task.hpp>
#include <cohort/task.hpp>
#include <cohort/thread_pool.hpp>

#include <utility>  // for std::forward

namespace cohort {

/// Blocks the calling thread until an awaitable is done, and gives its value or throws its exception.
///
/// For as long, the calling thread is a pool of one: the coroutine starts and continues there, timers and `when_all`
/// included, until it is done or moves itself with `co_await executor.schedule()`. On a worker of an executor, another
/// thread takes the worker's place meanwhile. On the thread of a ManualExecutor, that runs it.
///
/// What is ready does not suspend: a long loop over ready things keeps the others waiting, unless it awaits yield().
///
/// *Throws*: what the awaitable throws; `std::bad_alloc`.
/// *Lifetime*: a future given as an lvalue is copied, and its value taken as `std::move(future).get()` takes it.
template <class A>
requires detail::AwaitableAsTask<A>
auto sync_wait(A&& awaitable) -> typename decltype(detail::as_task(std::forward<A>(awaitable)))::value_type {
  auto task = detail::as_task(std::forward<A>(awaitable));
  detail::StateBase& state = *detail::TaskAccess::state(task);
  ThreadPool::run_to_end(state);
  return detail::take_result<typename decltype(task)::value_type>(state);
}

/// For `main`: runs a task on a fresh executor with default options; waits for it, and for all that it submitted there
/// through other means; gives its value or throws its exception.
template <class T>
T run(Task<T> task) {
  AsyncExecutor executor;
  return executor.submit(std::move(task)).get();
}

}  // namespace cohort
