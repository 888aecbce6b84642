#pragma once

#include <cohort/async_executor.hpp>
#include <cohort/detail/scheduler.hpp>
#include <cohort/detail/state.hpp>
#include <cohort/duration.hpp>
#include <cohort/thread_pool.hpp>

#include <chrono>       // for std::chrono::duration
#include <cstddef>      // for std::size_t
#include <cstdint>      // for std::uint64_t
#include <exception>    // for std::exception_ptr
#include <memory>       // for std::unique_ptr
#include <string_view>  // for std::string_view

namespace cohort {

/// A pool without threads, for tests: it runs tasks when it is told to, in an order that can be repeated, and its time is
/// not the clock's but moves when the test says so.
///
///     cohort::ManualExecutor executor;
///     auto future = executor.submit(fetch_with_timeout, 30s);
///     executor.pool().run_until_idle();       // all that can be done now
///     executor.pool().advance(30s);           // and half a minute later
///
/// Nothing runs but in the calls of the thread that has made the executor: in `run_one()`, `run_until_idle()` and
/// `advance()`, and in whatever blocks. A `get()`, `wait()`, loop over a stream, `sync_wait`, `shutdown()` or the
/// destructor runs what can be run, and when there is nothing, moves the time to the next timer: code that was not
/// written for this pool works on it, and its sleeps take no time.
///
/// *Order*: without a seed, first in, first out. With one, each time the next to run is drawn from all that could be;
/// the same program with the same seed takes the same course on every machine and with every compiler.
/// *Time*: `now()`, in steps of a nanosecond, begins at the steady clock's and is shared by the tasks and by the thread
/// that made the executor. Timers are exact. A thing to run takes no time; but when a million have been run at the same
/// instant and no task has ended, time moves on although there is more to run, so that a loop of `yield()` does not stop it.
/// *Throws*: a wait for something that nothing is left to bring about: `std::system_error`
/// (resource_deadlock_would_occur), at once.
/// *Cancellation*: `shutdown()` and the destructor ask the tasks that cannot end by themselves to stop. See shutdown().
/// *Thread safety*: futures, promises, semaphores and `submit` from any thread, as always; but what other threads do, and
/// when, is not repeatable, and time does not wait for it: see patience(). Elsewhere a `get()` blocks until the thread
/// that made the executor has brought it so far. The members marked "test's part" are that thread's alone.
/// *Lifetime*: destroyed on the thread that made it, which can have one such executor at a time, and makes it in plain
/// code: not in a task of another.
///
/// A task that blocks, in a `get()` rather than a `co_await`, has others run on top of it, and goes on when those have
/// returned or suspended.
class ManualPool final : public detail::Scheduler {
 public:
  /// Test's part: from now on draws what to run next, from a sequence that `seed` begins; and the jitter of retries.
  void seed(std::uint64_t seed) noexcept;

  /// Test's part: how long, by the real clock, a wait with nothing left to run and no timer set stays for other threads
  /// before it fails. Zero to begin with: nobody else is expected, unless a task awaits the future of another executor.
  template <class Rep, class Period>
  void patience(std::chrono::duration<Rep, Period> duration) noexcept {
    set_patience(detail::saturate(duration));
  }

  /// Test's part: runs one thing, that is a task, or the rest of one, up to where it suspends; false when there is none.
  /// *Throws*: InvalidStateError on another thread, here and below.
  bool run_one();

  /// Test's part: runs until there is nothing more to run at this time; how many things it was. Time stands still.
  ///
  /// It ends, too, when a million have been run and no task has ended.
  std::size_t run_until_idle();

  /// Test's part: lets `duration` pass, and runs on the way what can be run, stopping at each timer; how many things it
  /// was. Zero or less: as run_until_idle().
  template <class Rep, class Period>
  std::size_t advance(std::chrono::duration<Rep, Period> duration) {
    return advance_by(detail::saturate(duration));
  }

  /// What time it is: that of the last timer, but for what advance() and waits with a timeout have added.
  [[nodiscard]] TimePoint now() const noexcept override;

  // The pool's part: see ThreadPool.
  [[nodiscard]] static ManualPool* create(ExecutorOptions options);
  void submit(detail::StateBase& task) { submit(task, {}); }
  void submit(detail::StateBase& task, std::string_view name);
  void require_open() const;

  /// Refuses new work; with `cancel_futures` cancels what has not started; with `wait` runs until everything has ended.
  ///
  /// Tasks that wait for what nobody brings about any more are asked to stop, and so are those that go on for two million
  /// steps without any ending: then a loop that serves requests, or sleeps and sleeps again, ends like all others.
  /// *Throws*: `std::system_error` (resource_deadlock_would_occur) when there are tasks that do not end even so; from the
  /// destructor, that is a line on stderr, and what they hold is never freed.
  void shutdown(ShutdownOptions options);
  void close() noexcept;
  [[nodiscard]] std::size_t max_workers() const noexcept { return 1; }
  [[nodiscard]] ExecutorStats stats() const;

  void add_reference() noexcept override;
  void drop_reference() noexcept override;
  [[nodiscard]] bool try_add_reference() noexcept override;
  [[nodiscard]] bool driven() const noexcept override { return true; }
  void schedule(detail::Node& node) noexcept override;
  void schedule_all(detail::StateBase* const* tasks, std::size_t count) noexcept override;
  void schedule_last(detail::Node& node) noexcept override { schedule(node); }
  [[nodiscard]] double random_fraction() noexcept override;
  [[nodiscard]] bool others_wait() noexcept override { return true; }  // everything goes through its loop
  void arm(detail::Timer& timer) noexcept override;
  bool disarm(detail::Timer& timer) noexcept override;
  void watch_clock() noexcept override {}
  void guest_entered() override;
  void guest_left() noexcept override;
  void task_started() noexcept override;
  void add_unbegun(detail::Unbegun& task) noexcept override;
  void remove_unbegun(detail::Unbegun& task) noexcept override;
  void task_ended(detail::StateBase& task, bool had_started) noexcept override;
  void task_left() noexcept override;
  void block(detail::BlockingWait& wait) noexcept override;
  void report(std::exception_ptr exception) noexcept override;
  [[nodiscard]] ExecutorSnapshot snapshot() const override;

 private:
  struct Core;
  class Driving;

  explicit ManualPool(ExecutorOptions options);
  ~ManualPool();

  void set_patience(Duration duration) noexcept;
  std::size_t advance_by(Duration duration);
  [[nodiscard]] bool on_own_thread() const noexcept;
  void require_own_thread() const;

  enum class Eager : bool { no, yes };  // to run more, although it may be time that should move

  [[nodiscard]] detail::Node* take_next(Eager eager) noexcept;
  bool step(Eager eager) noexcept;
  [[nodiscard]] bool restless() const noexcept;
  std::size_t run_instant() noexcept;
  [[nodiscard]] TimePoint first_timer() const noexcept;
  void move_to(TimePoint time) noexcept;
  bool wait_for_others(bool elsewhere, TimePoint limit) noexcept;
  void leave() noexcept;

  [[nodiscard]] bool drained() const noexcept;
  bool run_to_end() noexcept;
  void cancel_unstarted() noexcept;
  void finish() noexcept;

  std::unique_ptr<Core> core_;
};

/// An executor for tests: see ManualPool, which is its `pool()`.
using ManualExecutor = BasicAsyncExecutor<ManualPool>;

}  // namespace cohort
