#pragma once

#include <cohort/as_completed.hpp>
#include <cohort/async_future.hpp>
#include <cohort/detail/attempts.hpp>
#include <cohort/detail/call.hpp>
#include <cohort/detail/schedule.hpp>
#include <cohort/detail/submit.hpp>
#include <cohort/executor_snapshot.hpp>
#include <cohort/map.hpp>
#include <cohort/submit_options.hpp>
#include <cohort/task.hpp>
#include <cohort/thread_pool.hpp>
#include <cohort/wait.hpp>

#include <chrono>       // for std::chrono::duration
#include <cstddef>      // for std::size_t
#include <ranges>       // for std::ranges::input_range
#include <type_traits>  // for std::decay_t
#include <utility>      // for std::forward

namespace cohort {

/// Runs coroutines and functions on a pool of workers, and hands out futures for their results.
///
///     cohort::AsyncExecutor executor(5);
///     cohort::AsyncFuture<int> future = executor.submit(work, 10);   // work: a function, or a coroutine function
///
/// A submitted task that suspends holds no worker. What a task throws ends in its future. `Pool` is the seam: another
/// pool, such as ManualPool for tests, drops in without a change to tasks, futures or adaptors; see ThreadPool for its
/// part.
///
/// *Order*: tasks submitted from outside start in the order of submission. What a task submits starts newest first,
/// unless another worker takes it, oldest first. No order is promised between the two.
/// *Thread safety*: every member from any thread, from its own tasks too; the destructor as for any object.
/// *Lifetime*: the destructor is `shutdown()`: it waits for everything that was submitted. On one of the executor's own
/// workers, as the last task of all may find itself, it does not wait, and the workers end when their work has. Futures
/// may outlive it.
template <class Pool = ThreadPool>
class BasicAsyncExecutor {
 public:
  /// *Throws*: `std::invalid_argument` ("max_workers must be at least 1"); otherwise as below.
  explicit BasicAsyncExecutor(std::size_t max_workers)
      : BasicAsyncExecutor(ExecutorOptions{.max_workers = max_workers}) {}

  /// Returns when every worker has started and has run `on_worker_start`.
  /// *Throws*: `std::invalid_argument` for a limit of zero; an exception of `on_worker_start`; the `std::system_error`
  /// of a thread that cannot be started. Then nothing is left running.
  explicit BasicAsyncExecutor(ExecutorOptions options = {}) : pool_(Pool::create(std::move(options))) {}

  BasicAsyncExecutor(const BasicAsyncExecutor&) = delete;
  BasicAsyncExecutor& operator=(const BasicAsyncExecutor&) = delete;
  ~BasicAsyncExecutor() { pool_->close(); }

  /// Submits a task that has not started.
  ///
  /// *Returns* at once; never blocks and never runs the task inline.
  /// *Throws*: ExecutorShutdownError after shutdown; `std::invalid_argument` for a task that was moved from;
  /// `std::bad_alloc`. The task is destroyed then.
  template <class T>
  AsyncFuture<T> submit(Task<T> task) {
    return detail::submit_to(*pool_, std::move(task));
  }

  /// Submits a call of `f(args...)`: a coroutine function returning `Task<R>`, a plain function returning `R`, or a
  /// function returning `AsyncFuture<R>`. If `f` accepts a `std::stop_token` first, it is given the task's own.
  ///
  /// *Lifetime*: callable and arguments are copied, or moved, and live until the task ends, so that a capturing
  /// coroutine lambda and a coroutine that takes its arguments by reference are safe. They are destroyed before the
  /// future is ready.
  /// *Throws*: as above, and what copying or moving callable or arguments throws.
  template <class F, class... Args>
  requires(!detail::is_task<F> && !std::is_same_v<std::decay_t<F>, SubmitOptions>) auto submit(F&& f, Args&&... args) {
    return detail::submit_to(*pool_, detail::make_call(std::forward<F>(f), std::forward<Args>(args)...));
  }

  /// The same with retries, a limit, a timeout: see SubmitOptions.
  /// *Throws*: also `std::invalid_argument` for an option out of its range, and for retries of a call whose arguments
  /// cannot be copied.
  template <class F, class... Args>
  requires(!detail::is_task<F>) auto submit(SubmitOptions options, F&& f, Args&&... args) {
    auto task = detail::make_call_with_options(options, std::forward<F>(f), std::forward<Args>(args)...);
    if (options.name.empty()) return detail::submit_to(*pool_, std::move(task));
    return detail::submit_to(*pool_, std::move(task), options.name);
  }

  /// Applies `f` to the elements of the ranges, zipped up to the shortest, concurrently; results come in input order.
  /// See ResultStream.
  template <class F, std::ranges::input_range... Ranges>
  requires(sizeof...(Ranges) > 0 && !std::is_same_v<std::decay_t<F>, MapOptions>)
      [[nodiscard]] auto map(F&& f, Ranges&&... ranges) {
    return map(MapOptions{}, std::forward<F>(f), std::forward<Ranges>(ranges)...);
  }
  template <class F, std::ranges::input_range... Ranges>
  requires(sizeof...(Ranges) > 0) [[nodiscard]] auto map(MapOptions options, F&& f, Ranges&&... ranges) {
    pool_->require_open();
    return detail::make_map(*pool_, options, std::forward<F>(f), std::forward<Ranges>(ranges)...);
  }

  /// See cohort::as_completed.
  template <detail::FutureRange Futures>
  [[nodiscard]] auto as_completed(Futures&& futures) {
    return cohort::as_completed(std::forward<Futures>(futures));
  }
  template <detail::FutureRange Futures, class Rep, class Period>
  [[nodiscard]] auto as_completed(Futures&& futures, std::chrono::duration<Rep, Period> timeout) {
    return cohort::as_completed(std::forward<Futures>(futures), timeout);
  }

  /// See cohort::wait.
  template <detail::FutureRange Futures>
  [[nodiscard]] auto wait(Futures&& futures, WaitOptions options = {}) {
    return cohort::wait(std::forward<Futures>(futures), options);
  }

  /// `co_await executor.schedule()` continues the coroutine on this executor; it holds the executor open until it ends
  /// or moves on.
  ///
  /// *Throws*: ExecutorShutdownError after shutdown, unless it is there already.
  [[nodiscard]] detail::Schedule schedule() noexcept { return detail::Schedule(*pool_); }

  /// Refuses new work; with `cancel_futures` cancels what has not started; with `wait` waits until everything has ended
  /// and the workers are joined.
  ///
  /// What was accepted and not cancelled still runs, whether waited for or not. May be called again, and by several
  /// threads: each waiting call waits. From one of the executor's own workers it does all but the joining. Called in a
  /// task of another executor, it keeps that worker working. Do not hold a lock that the tasks need.
  void shutdown(ShutdownOptions options = {}) { pool_->shutdown(options); }

  [[nodiscard]] std::size_t max_workers() const noexcept { return pool_->max_workers(); }

  /// The pool, for what it has to offer beyond what all pools have: see ManualPool.
  [[nodiscard]] Pool& pool() noexcept { return *pool_; }

  /// Counts of what it has done; a task is counted before its future shows it. *Throws*: `std::bad_alloc`.
  [[nodiscard]] ExecutorStats stats() const { return pool_->stats(); }

  /// What goes on in it: its workers, its queues, and the unfinished tasks that have a name, with what they wait for. To
  /// be printed when nothing moves any more: see ExecutorSnapshot.
  ///
  /// *Throws*: `std::bad_alloc`.
  /// *Thread safety*: from any thread, at any time, also while everything hangs.
  [[nodiscard]] ExecutorSnapshot snapshot() const { return pool_->snapshot(); }

 private:
  Pool* pool_;  // one reference of it
};

/// The executor.
using AsyncExecutor = BasicAsyncExecutor<>;

}  // namespace cohort
