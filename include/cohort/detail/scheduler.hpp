#pragma once

#include <cohort/detail/node.hpp>
#include <cohort/duration.hpp>

#include <cstddef>    // for std::size_t
#include <exception>  // for std::exception_ptr

namespace cohort {
struct ExecutorSnapshot;
}

namespace cohort::detail {

class BlockingWait;
class Scope;
struct StateBase;
struct Timer;

/// A task that waits for the permit of its first attempt: nothing of what was submitted has begun.
struct Unbegun {
  Unbegun* next = nullptr;
  Unbegun* previous = nullptr;
  bool linked = false;
  Scope* scope = nullptr;
};

/// Where coroutines run: what tasks, futures and adaptors know of a pool.
///
/// A pool derives from it; ThreadPool, and ManualPool for tests.
/// Reference counted, since a task's last continuation may outlive the executor object: whoever calls in from a thread
/// that is not the scheduler's own holds a reference for as long.
///
/// *Thread safety*: all members from any thread. None of them runs the node, or any user code, before it returns.
class Scheduler {
 public:
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  virtual void add_reference() noexcept = 0;
  virtual void drop_reference() noexcept = 0;
  /// Adds a reference unless the last has been dropped and the scheduler is being destroyed.
  [[nodiscard]] virtual bool try_add_reference() noexcept = 0;

  /// Whether it has no threads of its own: it works while the thread that it belongs to blocks, and only then.
  [[nodiscard]] virtual bool driven() const noexcept = 0;

  /// Runs `node` soon on one of the scheduler's threads. The caller may not touch what holds the node afterwards.
  virtual void schedule(Node& node) noexcept = 0;

  /// The same for `count` tasks that have been forked together. Where a worker of this scheduler does it, the first of them
  /// is next to run there, and other workers begin with the last.
  virtual void schedule_all(StateBase* const* tasks, std::size_t count) noexcept = 0;

  /// The same for one, behind all that is waiting to run.
  virtual void schedule_last(Node& node) noexcept = 0;

  /// Asked by a worker that runs one task after the other without coming back to its loop: whether something else waits for
  /// it, from outside, or because its time has come. Then it comes first in the loop, and the worker should go back there.
  [[nodiscard]] virtual bool others_wait() noexcept = 0;

  /// What time it is here: for timers, and for what runs here.
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;

  /// A number in [0, 1), good enough to spread retries.
  [[nodiscard]] virtual double random_fraction() noexcept = 0;

  /// Tells `timer` on one of the scheduler's threads once its time has come, not before.
  virtual void arm(Timer& timer) noexcept = 0;

  /// Takes `timer` back; false when it was never armed or its time had come: then it fires, or has fired.
  virtual bool disarm(Timer& timer) noexcept = 0;

  /// From now on timers fire in time even while all the scheduler's threads are busy: then on another.
  virtual void watch_clock() noexcept = 0;

  /// A coroutine of another scheduler comes to run here, until guest_left().
  /// *Throws*: ExecutorShutdownError after shutdown.
  virtual void guest_entered() = 0;
  virtual void guest_left() noexcept = 0;

  /// A submitted task of this scheduler has been claimed to run, on whichever thread.
  virtual void task_started() noexcept = 0;

  /// It waits for its first permit, until remove_unbegun(): a shutdown that cancels what has not started asks it to stop.
  virtual void add_unbegun(Unbegun& task) noexcept = 0;
  virtual void remove_unbegun(Unbegun& task) noexcept = 0;

  /// It has ended, or was cancelled without having started. Told before its future shows it, so that whoever has the
  /// result finds it counted.
  virtual void task_ended(StateBase& task, bool had_started) noexcept = 0;

  /// The last touch of a task: its waiters have been told, and the scheduler may now end.
  virtual void task_left() noexcept = 0;

  /// Blocks the calling thread, one of the scheduler's own, until `wait` is over or its deadline has passed, with its work
  /// going on meanwhile. A driven one may also return when it has nothing left to do that could end it.
  virtual void block(BlockingWait& wait) noexcept = 0;

  /// An exception that no future can carry, from a callback.
  virtual void report(std::exception_ptr exception) noexcept = 0;

  /// See BasicAsyncExecutor::snapshot.
  [[nodiscard]] virtual ExecutorSnapshot snapshot() const = 0;

 protected:
  Scheduler() = default;
  ~Scheduler() = default;

  /// From now on futures can find out that it is there; by the constructor of the pool, last.
  void enlist();
  /// Not any more; by its destructor, first: whoever finds it may call it.
  void delist() noexcept;
};

}  // namespace cohort::detail
